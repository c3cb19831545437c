"""A few steps on tools and on instructions, through to answers of the published model."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import torch

from adamss_core.fileio.hashing import sha256_of
from adamss_core.published import load_published
from adamss_core.training.request import PublishedModel
from adamss_core.training.run import run
from tests.adamss_core.training.chats import build_llama, generation_job
from tests.adamss_core.training.support import Recorder, request
from tests.adamss_core.training.tasks.test_text_generation_tools import ALPACA, CALLING, FIELDS, TOOLS, WITH_TOOLS

pytestmark = pytest.mark.slow

TALK: dict[str, Any] = {"messages": CALLING, "tools": json.dumps(TOOLS)}


@pytest.mark.parametrize(
    ("template", "row", "fields", "given", "is_chat"),
    [
        (WITH_TOOLS, TALK, {"messages": "messages", "tools": "tools"}, {"messages": CALLING[:3], "tools": TOOLS}, True),
        (WITH_TOOLS, ALPACA, FIELDS, {"prompt": "Name it.", "system": "Be short."}, True),
        (None, ALPACA, FIELDS, {"prompt": "Name it."}, False),
    ],
)
def test_a_published_model_answers_as_it_was_trained(
    template: str | None,
    row: dict[str, Any],
    fields: dict[str, Any],
    given: dict[str, Any],
    is_chat: bool,
    tmp_path: Path,
) -> None:
    spec = generation_job(
        dataset={"train": "ds_" + "a" * 12, **fields},
        training={"max_steps": 3, "max_length": 128, "sample_prompts": int("tools" in fields)},
        artifacts=["merged"],
    )
    asked = request(build_llama(tmp_path / "model", template=template), tmp_path / "run", [row] * 20, spec=spec)
    recorder = Recorder()
    run(asked, recorder)
    (archive,) = asked.folder.rglob("merged.zip")
    with zipfile.ZipFile(archive) as published:
        manifest = json.loads(published.read("manifest.json"))
        card = published.read("README.md").decode()
    assert (manifest["is_chat"], "apply_chat_template" in card) == (is_chat, is_chat)
    loaded = load_published(
        PublishedModel(archive, sha256_of(archive)), str(asked.model), None, Path(mkdtemp(dir=tmp_path))
    )
    task: Any = loaded.task  # with the options of text generation
    with torch.inference_mode():
        (answer,) = task.predict(loaded.model, loaded.processor, [given], loaded.limit, max_new_tokens=4)
    assert 1 <= answer["tokens"] <= 4

"""Each kind of file in docs/formats.md is read, previewed and trained on for three steps, by what its data suggest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from adamss_core.spec import JobSpec
from adamss_core.training.preview import PreviewOrder, preview
from adamss_core.training.request import RunRequest
from adamss_core.training.run import run
from service.datasets.catalogue import KINDS
from service.datasets.convert import IMAGES, ROWS
from service.datasets.left_out import complete
from service.shared.database.tables import Dataset
from tests.adamss_core.training.chats import build_llama
from tests.adamss_core.training.support import Recorder, build_model
from tests.adamss_core.training.tasks.support import build_vit
from tests.marks import compat
from tests.service.datasets.format_examples import EXAMPLES
from tests.service.datasets.test_corpus import read

pytestmark = pytest.mark.slow

ALWAYS = ("Spreadsheet", "One word a row", "Images with metadata")  # those on chats take ten times as long
CASES = [kind.name if kind.name in ALWAYS else compat(kind.name) for kind in KINDS]
CUT = {"name": "example", "adamss": {"r": 4, "num_subspaces": 2}, "artifacts": ["adapter"]}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """A tiny model for the tasks on texts, on chats, and on images."""
    folder = tmp_path_factory.mktemp("models")
    text = build_model(folder / "bert")
    return {
        "text-classification": text,
        "token-classification": text,
        "text-generation": build_llama(folder / "llama"),
        "image-classification": build_vit(folder / "vit"),
    }


@pytest.mark.parametrize("name", CASES)
def test_example_is_previewed_and_trained_on(name: str, models: Mapping[str, Path], tmp_path: Path) -> None:
    result, _ = read(tmp_path, *EXAMPLES[name])
    rows = (tmp_path / ROWS).rename(tmp_path / f"{IMAGES}.jsonl")  # images lie beside the rows, under their name
    training = {"max_steps": 3, "batch_size": 4, "precision": "fp32", "logging_steps": 1}
    block = {"train": "ds_unused22", "eval_fraction": 0.2}
    spec = JobSpec.model_validate({**CUT, "base_model": "tiny", "dataset": block, "training": training})
    spec = complete(spec, cast(Dataset, SimpleNamespace(id="ds_unused22", **result))).spec
    model = str(models[spec.task])
    shown = preview(PreviewOrder(spec=spec, rows=rows, model=model, revision=None, count=2))
    assert len(shown["examples"]) == 2
    recorder = Recorder()
    request = RunRequest(
        job_id="job_test",
        spec=spec,
        train_file=rows,
        eval_file=None,
        model=model,
        revision=None,
        folder=tmp_path / "run",
        cache=tmp_path / "cache",
    )
    (tmp_path / "run").mkdir()
    run(request, recorder)
    assert recorder.steps[-1]["step"] == 3
    losses = [values["loss"] for kind, _, values in recorder.rows if kind == "train"]
    assert losses
    assert all(loss is not None and math.isfinite(loss) for loss in losses)

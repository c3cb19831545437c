"""Rows as the model will see them: tokens, and which of them are trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from transformers import ViTConfig, ViTImageProcessorPil

from adamss_core.spec import JobSpec
from adamss_core.spec.tasks import register, unregister
from adamss_core.training.errors import TrainingError
from adamss_core.training.preview import PreviewOrder, preview
from tests.service.support import build_model
from tests.toy_task.record import NAME, RECORDS

CHAT = [{"role": "user", "content": "good"}, {"role": "assistant", "content": "bad"}]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of eight words."""
    return build_model(tmp_path_factory.mktemp("model") / "tiny")


def shown(folder: Path, model: Path, rows: list[dict[str, Any]], **spec: Any) -> dict[str, Any]:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    block = {"train": "ds_unused22", **spec.pop("dataset", {})}
    job = JobSpec.model_validate({"name": "x", "base_model": "tiny", "dataset": block, **spec})
    return preview(PreviewOrder(spec=job, rows=file, model=str(model), revision=None, count=2))


def test_words_show_which_tokens_have_a_tag(tmp_path: Path, model: Path) -> None:
    rows = [{"tokens": ["good", "film"], "tags": ["B-X", "O"]}, {"tokens": ["bad"], "tags": ["O"]}]
    first = shown(tmp_path, model, rows, task="token-classification")["examples"][0]
    assert first["target"] == ["B-X", "O"]
    assert [token["trained"] for token in first["tokens"]] == [True, True]


def test_several_classes_are_a_list(tmp_path: Path, model: Path) -> None:
    rows = [{"text": "good", "label": ["b", "a"]}, {"text": "bad", "label": []}]
    found = shown(tmp_path, model, rows, problem_type="multi_label_classification")
    assert [example["target"] for example in found["examples"]] == [["a", "b"], []]


def test_a_completion_is_what_is_trained_on(tmp_path: Path, model: Path) -> None:
    found = shown(tmp_path, model, [{"prompt": "good film", "completion": " bad plot"}], task="text-generation")
    (first,) = found["examples"]
    trained = {token["token"]: token["trained"] for token in first["tokens"]}
    assert trained == {"good": False, "film": False, "bad": True, "plot": True}
    assert (first["trained_tokens"], first["text"], first["target"]) == (2, "good film bad plot", None)


def test_a_chat_is_shown_through_the_models_template(tmp_path: Path, model: Path) -> None:
    with pytest.raises(TrainingError) as caught:
        shown(tmp_path, model, [{"messages": CHAT}], task="text-generation")
    assert (caught.value.code, caught.value.where) == ("missing_chat_template", "dataset.messages")
    chatty = tmp_path / "chatty"
    build_model(chatty)
    template = "{% for m in messages %}{{ 'film ' if m.role == 'user' else 'plot ' }}{{ m.content }} {% endfor %}"
    (chatty / "chat_template.jinja").write_text(template)
    first = shown(tmp_path, chatty, [{"messages": CHAT}], task="text-generation")["examples"][0]
    assert [token["token"] for token in first["tokens"]] == ["film", "good", "plot", "bad"]
    assert [token["trained"] for token in first["tokens"]][:2] == [False, False]
    assert first["tokens"][3]["trained"] is True


def test_images_are_shown_by_their_size(tmp_path: Path) -> None:
    vit = tmp_path / "vit"
    ViTConfig(image_size=16, patch_size=8).save_pretrained(vit)
    ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(vit)
    (tmp_path / "rows").mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (40, 30)).save(tmp_path / "rows" / name)
    rows = [{"image": "a.png", "label": "cat"}, {"image": "b.png", "label": "dog"}]
    found = shown(tmp_path, vit, rows, task="image-classification")
    assert found["examples"][0] == {"row": 1, "target": "cat", "image": "a.png", "pixels": [3, 16, 16]}


def test_rows_without_what_is_needed_are_an_error(tmp_path: Path, model: Path) -> None:
    with pytest.raises(TrainingError, match="None of the first rows"):
        shown(tmp_path, model, [{"text": "", "label": 1}])


def test_a_task_of_its_own_is_shown_by_its_training_half(tmp_path: Path, model: Path) -> None:
    register(RECORDS)
    try:
        (first,) = shown(tmp_path, model, [{"text": "good film"}], task=NAME)["examples"]
    finally:
        unregister(NAME)
    assert (first["text"], first["target"], first["trained_tokens"]) == ("good film", None, 0)

"""The head of a base that is a classifier already, and of `init_from`: taken over by the names of its classes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BertForSequenceClassification,
    BertForTokenClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    ViTForImageClassification,
)

from adamss_core.spec import JobSpec
from adamss_core.training.run import run
from adamss_core.training.tasks import task_of
from tests.adamss_core.training.support import FinishedRun, Recorder, build_tokenizer, job, request, texts, write_rows
from tests.adamss_core.training.tasks.support import build_vit, card_answers, draw_images, tagged, task_job
from tests.marks import compat

pytestmark = pytest.mark.slow

TASKS = {"tags": "token-classification", "vit": "image-classification"}
BIASES = {"roberta": "classifier.out_proj.bias"}
NAMES = ["blue", "amber", "cyan"]  # in an order that no sorting gives
STILL = {"max_steps": 1, "learning_rate": 1e-9, "head_learning_rate": 1e-9}  # what is measured is the start


def save_classifier(kind: str, body: Path, folder: Path, names: Sequence[str]) -> Path:
    """A classifier with a head of large weights, so that it answers all kinds of things."""
    torch.manual_seed(1)
    label: dict[str, Any] = {"num_labels": len(names), "id2label": dict(enumerate(names))}
    if kind == "roberta":
        config = RobertaConfig(
            hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48, pad_token_id=0,
            vocab_size=len(build_tokenizer()), max_position_embeddings=48, initializer_range=0.3, **label,
        )  # fmt: skip
        model: Any = RobertaForSequenceClassification(config)
    else:
        classes: dict[str, Any] = {
            "bert": BertForSequenceClassification,
            "tags": BertForTokenClassification,
            "vit": ViTForImageClassification,
        }
        model = classes[kind].from_pretrained(body, **label)
    for name, parameter in model.named_parameters():
        if name.startswith("classifier") and parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=2.0)
    model.save_pretrained(folder)
    if kind == "vit":
        build_vit(folder.parent / "processor")
        (folder / "preprocessor_config.json").write_bytes(
            (folder.parent / "processor" / "preprocessor_config.json").read_bytes()
        )
    else:
        build_tokenizer().save_pretrained(folder)
    return folder


def rename_classes(folder: Path, names: Sequence[str]) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
    (folder / "config.json").write_text(json.dumps(config))


def labelled(kind: str, spec: JobSpec, folder: Path) -> list[dict[str, Any]]:
    """Rows labelled by what the classifier answers, once its bias is such that it answers all kinds of things."""
    task, images = task_of(spec), folder.parent / "rows"
    raw = {"vit": lambda: draw_images(images, 24), "tags": lambda: tagged(40)}.get(kind, lambda: texts(60))()
    rows = task.read(write_rows(images.with_suffix(".jsonl"), raw))
    processor = task.read_processor(folder)
    model = task.auto_model.from_pretrained(folder).eval()
    with torch.no_grad():
        logits = model(**task.probe(processor, rows, 40)).logits
        dict(model.named_parameters())[BIASES.get(kind, "classifier.bias")] -= logits.flatten(0, -2).mean(0)
    model.save_pretrained(folder)
    answers = task.predict(model, processor, task.inputs(rows), 40)
    field = "tags" if kind == "tags" else "label"
    return [row | {field: answer.get(field, answer.get("value"))} for row, answer in zip(raw, answers, strict=True)]


def started(folder: Path, work: Path, rows: list[dict[str, Any]], spec: JobSpec) -> tuple[Any, dict[str, str]]:
    """The result before any training, and the events about heads."""
    work.mkdir()
    (work / "train").symlink_to(folder.parent / "rows")
    recorder = Recorder()
    result = run(request(folder, work, rows, spec=spec), recorder).result
    return result, {name: text for name, text, _ in recorder.events if name.startswith("head_")}


@pytest.mark.parametrize("kind", ["bert", "tags", "vit", compat("roberta")])
def test_the_classes_of_a_classifier_are_matched_by_name(kind: str, model: Path, tmp_path: Path) -> None:
    """Taken over by position, hardly one of its answers was right."""
    body = build_vit(tmp_path / "body") if kind == "vit" else model
    folder = save_classifier(kind, body, tmp_path / "base", NAMES)
    spec = task_job(TASKS.get(kind, "text-classification"), training=STILL, artifacts=["adapter"])
    rows = labelled(kind, spec, folder)
    result, events = started(folder, tmp_path / "same", rows, spec)
    assert (result["labels"], result["eval_accuracy"]) == (sorted(NAMES), 1.0)
    assert list(events) == ["head_taken_over"]


def test_a_head_for_other_classes_starts_afresh(model: Path, tmp_path: Path) -> None:
    folder = save_classifier("bert", model, tmp_path / "base", NAMES)
    spec = task_job("text-classification", training=STILL, artifacts=["adapter"])
    rows = labelled("bert", spec, folder)
    rename_classes(folder, ["one", "two", "three"])
    result, events = started(folder, tmp_path / "job", rows, spec)
    assert result["eval_accuracy"] < 1.0
    assert "has a head for 'one', 'two', 'three', but this job's classes are" in events["head_started_afresh"]


def test_a_head_of_another_size_starts_afresh_on_the_card_too(model: Path, tmp_path: Path) -> None:
    """The code on the card could not load a base whose own head has another size, such as one for ImageNet."""
    folder = save_classifier("bert", model, tmp_path / "base", NAMES)
    spec = task_job("text-classification", training=STILL, artifacts=["adapter", "lora"])
    asked, recorder = request(folder, tmp_path / "job", texts(40), spec=spec), Recorder()
    outcome = run(asked, recorder)
    assert "head_started_afresh" in recorder.event_types()
    for printed in card_answers(asked, outcome, tmp_path):
        assert set(printed) == {"bad", "good"}


def test_numbers_of_classes_mean_what_the_files_say(model: Path, tmp_path: Path) -> None:
    """LABEL_1 is the class 1, and of no meaning for classes with names."""
    folder = save_classifier("bert", model, tmp_path / "base", ["LABEL_0", "LABEL_1"])
    spec = task_job("text-classification", training=STILL, artifacts=["adapter"])
    rows = labelled("bert", spec, folder)
    numbered = [row | {"label": int(row["label"][-1])} for row in rows]
    assert started(folder, tmp_path / "numbers", numbered, spec)[0]["eval_accuracy"] == 1.0
    named = [row | {"label": {"LABEL_0": "good", "LABEL_1": "bad"}[row["label"]]} for row in rows]
    _, events = started(folder, tmp_path / "names", named, spec)
    assert "set id2label in the config.json" in events["head_started_afresh"]


def test_a_regressor_keeps_its_bias(model: Path, tmp_path: Path) -> None:
    """The mean of the numbers is a better start than chance, and a worse one than a trained head."""
    folder = save_classifier("bert", model, tmp_path / "base", ["LABEL_0"])
    spec = task_job("text-classification", training=STILL, artifacts=["adapter"], problem_type="regression")
    rows = [row | {"label": 0.5} for row in texts(8)]
    regressor = task_of(spec).auto_model.from_pretrained(folder).eval()
    answers = task_of(spec).predict(regressor, task_of(spec).read_processor(folder), rows, 40)
    rows = [row | {"label": answer["value"] + 5.0} for row, answer in zip(rows, answers, strict=True)]
    assert started(folder, tmp_path / "job", rows, spec)[0]["eval_loss"] == pytest.approx(25.0, abs=1e-2)


def test_a_run_takes_over_the_head_of_another_by_name(finished: FinishedRun, model: Path, tmp_path: Path) -> None:
    """The same classes, written so that they are sorted the other way."""
    adapter = next(artifact.path for artifact in finished.outcome.artifacts if artifact.name == "adapter")
    spec = job(adamss={"use_asa": False}, training=STILL, init_from="job_before12")
    rows = texts(208, labels=("bad", "Good"))
    recorder = Recorder()
    result = run(request(model, tmp_path, rows, spec=spec, init_from=adapter), recorder).result
    assert result["labels"] == ["Good", "bad"]
    assert result["eval_accuracy"] == finished.outcome.result["eval_accuracy"]
    assert "head_started_afresh" not in recorder.event_types()


@pytest.mark.parametrize("labels", [("no", "yes"), ("bad", "good", "neither")])
def test_a_run_on_other_classes_keeps_the_body_of_another(
    finished: FinishedRun, model: Path, tmp_path: Path, labels: tuple[str, ...]
) -> None:
    adapter = next(artifact.path for artifact in finished.outcome.artifacts if artifact.name == "adapter")
    spec = job(adamss={"use_asa": False}, training=STILL, init_from="job_before12")
    rows = [row | {"label": labels[i % len(labels)]} for i, row in enumerate(texts(60))]
    recorder = Recorder()
    result = run(request(model, tmp_path, rows, spec=spec, init_from=adapter), recorder).result
    assert len(result["labels"]) == len(labels)
    (message,) = [text for name, text, _ in recorder.events if name == "head_started_afresh"]
    assert "init_from" in message
    assert "use data with the same classes" in message

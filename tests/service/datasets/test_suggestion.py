"""What a data set would do for is found from its profile, and said to be certain only where nothing else fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adamss_core.spec import JobSpec
from service.datasets.left_out import complete, suggest
from service.shared.database.tables import Dataset
from tests.service.datasets.corpus import class_folders, json_lines, zip_of
from tests.service.datasets.test_corpus import read

LONG = "the film was of a length that"
Rows = list[dict[str, Any]]


def dataset_of(rows: Rows | bytes, folder: Path, name: str = "a.jsonl") -> Dataset:
    content = rows if isinstance(rows, bytes) else json_lines(*rows)
    return Dataset(id="ds_aaaaaaaaaa", project_id="p", name=name, **read(folder, name, content)[0])


def rows_of(count: int = 40, **columns: Any) -> Rows:
    """Make rows; a column is a function of the row's number."""
    return [{name: value(n) for name, value in columns.items()} for n in range(count)]


def text(n: int) -> str:
    return f"{LONG} {n}"


def two(n: int) -> str:
    return ("pos", "neg")[n % 2]


KINDS: dict[str, tuple[Rows, tuple[str, str | None, dict[str, Any], str]]] = {
    "classes": (
        rows_of(text=text, label=two),
        ("text-classification", None, {"text": "text", "label": "label"}, "certain"),
    ),
    "usual names in other letters": (
        rows_of(Review=text, Sentiment=two),
        ("text-classification", None, {"text": "Review", "label": "Sentiment"}, "certain"),
    ),
    "names that nobody knows": (
        rows_of(was_sagt_er=text, art=two),
        ("text-classification", None, {"text": "was_sagt_er", "label": "art"}, "likely"),
    ),
    "few texts, in several rows each": (
        rows_of(text=lambda n: f"film {n % 8}", label=lambda n: two(n) if n < 35 else None),
        ("text-classification", None, {"text": "text", "label": "label"}, "certain"),
    ),
    "two labels": (
        rows_of(text=text, label=two, category=lambda n: "abc"[n % 3]),
        ("text-classification", None, {"text": "text", "label": "label"}, "likely"),
    ),
    "numbers": (
        rows_of(text=text, score=lambda n: n / 7),
        ("text-classification", "regression", {"text": "text", "label": "score"}, "certain"),
    ),
    "many whole numbers": (
        rows_of(60, text=text, rating=lambda n: n),
        ("text-classification", "regression", {"text": "text", "label": "rating"}, "likely"),
    ),
    "several labels": (
        rows_of(text=text, labels=lambda n: [two(n), "x"]),
        ("text-classification", "multi_label_classification", {"text": "text", "label": "labels"}, "certain"),
    ),
    "pairs": (
        rows_of(premise=text, hypothesis=lambda n: f"{text(n)}!", label=two),
        (
            "text-classification",
            None,
            {"text": "premise", "text_pair": "hypothesis", "label": "label"},
            "certain",
        ),
    ),
    "chats": (
        rows_of(
            id=lambda n: n,
            dialog=lambda n: [{"role": "user", "content": text(n)}, {"role": "assistant", "content": "yes"}],
        ),
        ("text-generation", None, {"messages": "dialog"}, "certain"),
    ),
    "completions": (
        rows_of(question=text, answer=lambda n: f"because of {n}"),
        ("text-generation", None, {"prompt": ["question"], "completion": "answer"}, "certain"),
    ),
    "completions that may be classes": (
        rows_of(question=text, answer=two),
        ("text-generation", None, {"prompt": ["question"], "completion": "answer"}, "likely"),
    ),
    "completions that are numbers": (
        rows_of(prompt=lambda n: f"{n} plus {n + 1} equals", completion=lambda n: 2 * n + 1),
        ("text-generation", None, {"prompt": "prompt", "completion": "completion"}, "certain"),
    ),
    "questions on a passage": (
        rows_of(
            context=text,
            question=lambda n: f"Where is number {n}?",
            answers=lambda n: {"text": [f"number {n}"] if n else [], "answer_start": [n]},
        ),
        ("text-generation", None, {"prompt": ["question", "context"], "completion": "answer"}, "certain"),
    ),
    "a question, an answer and a label": (
        rows_of(question=text, answer=lambda n: f"because of {n}", label=two),
        ("text-classification", None, {"text": "question", "label": "label"}, "certain"),
    ),
    "words": (
        rows_of(tokens=lambda n: ["a"] * (n % 3 + 1), ner_tags=lambda n: ["O"] * (n % 3 + 1)),
        ("token-classification", None, {"tokens": "tokens", "tags": "ner_tags"}, "certain"),
    ),
    "words with two kinds of tags": (
        rows_of(
            tokens=lambda n: ["a"] * (n % 3 + 1), pos=lambda n: ["X"] * (n % 3 + 1), tags=lambda n: ["O"] * (n % 3 + 1)
        ),
        ("token-classification", None, {"tokens": "tokens", "tags": "tags"}, "likely"),
    ),
    "texts": (rows_of(text=text), ("text-generation", None, {"text": "text"}, "certain")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_found(kind: str, tmp_path: Path) -> None:
    rows, expected = KINDS[kind]
    found = suggest(dataset_of(rows, tmp_path))[0]
    assert (found.task, found.problem_type, found.dataset, found.confidence) == expected
    assert found.reason


def test_texts_beside_what_nobody_knows_are_no_texts_alone(tmp_path: Path) -> None:
    found = suggest(dataset_of(rows_of(prompt=text, verlauf=lambda n: n), tmp_path))[0]
    assert (found.dataset, found.confidence) == ({"text": "prompt"}, "likely")
    assert "no other column" not in found.reason


def test_images_are_found(tmp_path: Path) -> None:
    found = suggest(dataset_of(zip_of(class_folders()), tmp_path, "a.zip"))[0]
    assert (found.task, found.dataset) == ("image-classification", {"image": "image", "label": "label"})


@pytest.mark.parametrize("rows", [rows_of(a=lambda n: n, b=lambda n: n % 2), rows_of(x=two, y2=two)])
def test_what_could_be_anything_is_no_suggestion(rows: Rows, tmp_path: Path) -> None:
    assert suggest(dataset_of(rows, tmp_path)) == []


# --- what a spec leaves out -------------------------------------------------------------------------------------------


def spec(**fields: Any) -> JobSpec:
    block = {"train": "ds_aaaaaaaaaa", **fields.pop("dataset", {})}
    return JobSpec.model_validate({"name": "a", "base_model": "minilm", "dataset": block, **fields})


def test_task_and_columns_are_taken(tmp_path: Path) -> None:
    completed = complete(spec(), dataset_of(rows_of(review=text, stars=lambda n: n / 3), tmp_path))
    assert completed.spec.task == "text-classification"
    assert completed.spec.problem_type == "regression"
    assert (completed.spec.dataset.text, completed.spec.dataset.label) == ("review", "stars")
    assert completed.taken == ("task", "problem_type", "dataset.text", "dataset.label")
    assert completed.warnings() == []


def test_a_likely_suggestion_is_a_warning(tmp_path: Path) -> None:
    [warning] = complete(spec(), dataset_of(rows_of(was=text, art=two), tmp_path)).warnings()
    assert "leaves out task, dataset.text and dataset.label" in warning
    assert "dataset.text 'was', dataset.label 'art'" in warning


def test_what_the_spec_names_is_kept(tmp_path: Path) -> None:
    dataset = dataset_of(rows_of(text=text, title=lambda n: f"{text(n)}?", label=two, mood=two), tmp_path)
    completed = complete(spec(dataset={"text": "title", "label": "mood"}), dataset)
    assert (completed.spec.dataset.text, completed.spec.dataset.label) == ("title", "mood")
    assert completed.taken == ("task",)
    completed = complete(spec(dataset={"label": "mood"}), dataset)
    assert (completed.spec.dataset.text, completed.spec.dataset.label) == ("text", "mood")


def test_a_task_that_is_named_is_kept(tmp_path: Path) -> None:
    dataset = dataset_of(rows_of(text=text, label=two), tmp_path)
    completed = complete(spec(task="text-generation"), dataset)
    assert (completed.spec.task, completed.spec.dataset.text, completed.taken) == ("text-generation", "text", ())


def test_columns_of_a_named_task_are_taken_where_the_usual_ones_are_missing(tmp_path: Path) -> None:
    dataset = dataset_of(rows_of(review=text, verdict=two), tmp_path)
    completed = complete(spec(task="text-classification"), dataset)
    assert completed.taken == ("dataset.text", "dataset.label")
    assert (completed.spec.dataset.text, completed.spec.dataset.label) == ("review", "verdict")


def test_fields_of_another_task_keep_a_suggestion_out(tmp_path: Path) -> None:
    dataset = dataset_of(rows_of(question=text, answer=lambda n: f"because of {n}"), tmp_path)
    completed = complete(spec(training={"class_weights": "balanced"}), dataset)
    assert completed.spec.task == "text-classification"
    assert completed.suggestion is None


def test_a_column_that_one_task_alone_has_implies_the_task() -> None:
    assert spec(dataset={"messages": "dialog"}).task == "text-generation"
    assert spec(dataset={"tags": "ner"}).task == "token-classification"
    assert spec(dataset={"text": "a", "label": "b"}).task == "text-classification"

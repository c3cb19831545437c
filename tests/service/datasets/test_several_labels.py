"""Several labels in a cell are found from the data and become a list; nothing is split that may be one name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from service.datasets.left_out import suggest
from tests.service.datasets.corpus import csv_of, image, json_lines, parquet_of, zip_of
from tests.service.datasets.test_corpus import read
from tests.service.datasets.test_dialects import notices
from tests.service.datasets.test_suggestion import dataset_of

SETS = [["pos", "long"], ["neg", "short"], ["pos", "short"], ["neg", "long"]] * 5


def rows_of(cells: Sequence[Any]) -> list[dict[str, Any]]:
    return [{"text": f"text {n}", "labels": cell} for n, cell in enumerate(cells)]


@pytest.mark.parametrize("separator", [",", ", ", ";", "|"])
@pytest.mark.parametrize("container", ["csv", "jsonl", "parquet"])
def test_separated_labels_become_lists(separator: str, container: str, tmp_path: Path) -> None:
    rows = rows_of([separator.join(labels) for labels in SETS])
    content = {
        "csv": lambda: csv_of(*(f'{row["text"]},"{row["labels"]}"' for row in rows), header="text,labels"),
        "jsonl": lambda: json_lines(*rows),
        "parquet": lambda: parquet_of({name: [row[name] for row in rows] for name in rows[0]}),
    }[container]()
    result, kept = read(tmp_path, f"a.{container}", content)
    assert [row["labels"] for row in kept] == SETS
    assert "(20 rows)" in notices(result)["several_labels"]


@pytest.mark.parametrize("form", ['["{}", "{}"]', "['{}', '{}']", "['{}' '{}']"])
def test_lists_as_text_become_lists(form: str, tmp_path: Path) -> None:
    result, kept = read(tmp_path, "a.jsonl", json_lines(*rows_of([form.format(*labels) for labels in SETS])))
    assert [row["labels"] for row in kept] == SETS
    assert "20 rows" in notices(result)["lists_from_text"]


@pytest.mark.parametrize(
    "cells",
    [
        ["Paris, France", "Lyon, France", "Rome, Italy", "Oslo, Norway"] * 5,
        ["Arts, Crafts", "Books", "Games", "Toys"] * 5,
        ["a,b"] * 20,
    ],
)
def test_names_with_a_comma_stay_and_are_said(cells: list[str], tmp_path: Path) -> None:
    result, kept = read(tmp_path, "a.jsonl", json_lines(*rows_of(cells)))
    assert [row["labels"] for row in kept] == cells
    assert "dataset.label_separator" in notices(result)["labels_unclear"]


@pytest.mark.parametrize("cells", [["pos", "neg"] * 10, ["1,5", "2,5", "1,2"] * 7])
def test_one_label_is_no_list(cells: list[str], tmp_path: Path) -> None:
    result, kept = read(tmp_path, "a.jsonl", json_lines(*rows_of(cells)))
    assert [row["labels"] for row in kept] == cells
    assert "several_labels" not in notices(result)


def test_text_among_lists_is_a_bad_row(tmp_path: Path) -> None:
    cells = [*(['["a", "b"]'] * 120), "[a"]
    result, _ = read(tmp_path, "a.jsonl", json_lines(*rows_of(cells)))
    assert [problem["row"] for problem in result["profile"]["problems"]] == [121]


@pytest.mark.parametrize("values", [("0", "1"), ("true", "false"), ("True", "False")])
def test_columns_of_classes_are_named(values: tuple[str, str], tmp_path: Path) -> None:
    lines = [f"text {n},{values[n % 2]},{values[n % 3 > 0]}" for n in range(12)]
    result, _ = read(tmp_path, "a.csv", csv_of(*lines, header="text,positive,long"))
    assert "'positive', 'long'" in notices(result)["one_hot"]


def test_a_label_beside_columns_of_two_values_is_the_label(tmp_path: Path) -> None:
    lines = [f"text {n},{n % 2},{n % 3 > 1:d},a" for n in range(12)]
    result, _ = read(tmp_path, "a.csv", csv_of(*lines, header="text,seen,long,label"))
    assert "one_hot" not in notices(result)


@pytest.mark.parametrize(
    ("header", "cell", "problem_type", "label"),
    [
        ("file_name,label", lambda n: f'"{",".join(SETS[n])}"', "multi_label_classification", "label"),
        ("file_name,cat,dog", lambda n: f"{n % 2},{int(n % 3 > 0)}", "multi_label_classification", ["cat", "dog"]),
        ("file_name,score", lambda n: f"{n / 7:.3f}", "regression", "score"),
        ("file_name,label", lambda n: "ab"[n % 2], None, "label"),
    ],
    ids=["lists", "columns", "numbers", "classes"],
)
def test_images_have_labels_of_every_kind(
    header: str, cell: Callable[[int], str], problem_type: str | None, label: Any, tmp_path: Path
) -> None:
    metadata = csv_of(*(f"{n}.png,{cell(n)}" for n in range(20)), header=header)
    content = zip_of({f"{n}.png": image() for n in range(20)} | {"metadata.csv": metadata})
    found = suggest(dataset_of(content, tmp_path, "a.zip"))[0]
    assert (found.task, found.problem_type) == ("image-classification", problem_type)
    assert found.dataset == {"image": "image", "label": label}


VECTORS = [[1, 0, 1], [0, 0, 1], [0, 0, 0]] * 7


@pytest.mark.parametrize(
    ("container", "form"),
    [
        ("jsonl", list),
        ("parquet", list),
        ("jsonl", lambda row: [entry == 1 for entry in row]),
        ("jsonl", lambda row: [entry * 0.013 + n / 100 for n, entry in enumerate(row)]),
        ("csv", lambda row: f"[{row[0]}, {row[1]}, {row[2]}]"),
        ("csv", lambda row: f"[{row[0]} {row[1]} {row[2]}]"),
        ("csv", lambda row: ";".join(map(str, row))),
        ("csv", lambda row: ",".join(map(str, row))),
        ("csv", lambda row: " ".join(map(str, row))),
    ],
)
def test_vectors_are_no_lists_of_class_names(container: str, form: Callable[[Any], Any], tmp_path: Path) -> None:
    rows = [{"text": f"a film that is number {n}", "labels": form(row)} for n, row in enumerate(VECTORS)]
    content = {
        "csv": lambda: csv_of(*(f'{row["text"]},"{row["labels"]}"' for row in rows), header="text,labels"),
        "jsonl": lambda: json_lines(*rows),
        "parquet": lambda: parquet_of({name: [row[name] for row in rows] for name in rows[0]}),
    }[container]()
    dataset = dataset_of(content, tmp_path, f"a.{container}")
    assert dataset.profile["columns"][1]["type"] == "vector"
    assert "lists of 3 numbers" in notices({"profile": dataset.profile})["vectors"]
    found = suggest(dataset)[0]
    assert (found.problem_type, found.confidence) == ("multi_label_classification", "likely")
    assert "no task reads" in found.reason


@pytest.mark.parametrize(
    "cells", [[["1", "0"], ["1"]] * 10, [[1], [0]] * 10, [[1, 2], [2, 3]] * 10, ["0.5", "1"] * 10, ["0 1", "1 0"] * 10]
)
def test_other_lists_of_numbers_are_no_vectors(cells: list[Any], tmp_path: Path) -> None:
    result, kept = read(tmp_path, "a.jsonl", json_lines(*rows_of(cells)))
    assert [row["labels"] for row in kept] == cells
    assert result["profile"]["columns"][1]["type"] != "vector"


def test_lists_among_single_labels_are_several_labels(tmp_path: Path) -> None:
    cells: list[Any] = [["a", "b"], "a", "b", "c"] * 10
    found = suggest(dataset_of(rows_of(cells), tmp_path))[0]
    assert (found.problem_type, found.confidence) == ("multi_label_classification", "likely")

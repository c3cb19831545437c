"""A class has one name however it is written; names that may be the same by mistake are found."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adamss_core.spec import JobSpec, reader_of
from adamss_core.spec.cells import label_set
from adamss_core.spec.labels import class_name, null_words, variants

DATA = {"train": "ds_abcdefgh"}


@pytest.mark.parametrize(
    ("written", "name"),
    [
        (["1", "1.0", "1.00", " 1 ", 1, 1.0], "1"),
        (["-3", "-3.0", -3, -3.0], "-3"),
        (["0", "0.0", "-0.0", 0, 0.0, -0.0], "0"),
        (["true", "True", "TRUE", " true ", True], "true"),
        (["false", "False", "FALSE", False], "false"),
        (["0.5", 0.5], "0.5"),
    ],
)
def test_a_class_has_one_name_in_csv_and_in_json(written: list[Any], name: str) -> None:
    assert [class_name(value) for value in written] == [name] * len(written)
    assert class_name(name) == name


@pytest.mark.parametrize(
    "name", ["01.0", "1.10", "1.", ".0", "1e0", "1.0.0", "v1.0", "+1.0", "007", "truetrue", "Pos", "y"]
)
def test_other_names_stay_as_they_are(name: str) -> None:
    assert class_name(name) == name


def spec_of(**fields: Any) -> JobSpec:
    return JobSpec.model_validate({"name": "x", "base_model": "tiny", **fields, "dataset": DATA | fields["dataset"]})


def test_each_task_reads_labels_by_that_name() -> None:
    read = reader_of(spec_of(dataset={}))
    assert {read({"text": "a", "label": label})["label"] for label in ("1.0", 1, "1", 1.0)} == {"1"}
    read = reader_of(spec_of(task="image-classification", dataset={}))
    assert {read({"image": "a.png", "label": label})["label"] for label in ("True", True, "true")} == {"true"}
    assert label_set("1.0; True ;b", ";") == label_set(["b", True, 1.0], None) == ("1", "b", "true")
    read = reader_of(spec_of(task="token-classification", dataset={}))
    words = ["1.0", "True", "x"]
    for tags in ([1.0, True, "O"], ["1", "true", "O"], "1.0 True O"):
        assert read({"tokens": words, "tags": tags}) == {"tokens": words, "tags": ["1", "true", "O"]}


def test_variants_differ_in_case_blanks_or_encoding_only() -> None:
    names = ["pos", "Pos", "very good", "very  good", "caf\u00e9", "cafe\u0301", "neg", "1", "10"]
    assert variants(names) == [["pos", "Pos"], ["very good", "very  good"], ["caf\u00e9", "cafe\u0301"]]
    assert variants(["a", "a"]) == []
    assert variants(["1", "0", "true", "false"]) == [["1", "true"], ["0", "false"]]
    assert variants(["neg", "neg\u200b", "pos"]) == [["neg", "neg\u200b"]]


def test_words_for_a_missing_value() -> None:
    assert null_words(["nan", "null", "None", "N/A", "NA", "no", "nano"]) == ["nan", "null", "None", "N/A", "NA"]


def test_a_name_survives_json() -> None:
    assert class_name(json.loads(json.dumps(class_name("2.0")))) == "2"

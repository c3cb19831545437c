"""Rows that say the same thing in different ways come into the columns that tasks read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from service.datasets.dialects import Translated
from service.datasets.rows import NumberedRow, Problem
from service.shared.errors import TooLarge
from tests.service.datasets.corpus import json_lines, parquet_of
from tests.service.datasets.test_corpus import read

META = [{"id": n, "meta": {"lang": "en", "from": {"year": 2000 + n}}, "text": f"text {n}"} for n in range(12)]


def notices(result: dict[str, Any]) -> dict[str, str]:
    return {notice["code"]: notice["message"] for notice in result["profile"]["notices"]}


@pytest.mark.parametrize("container", ["jsonl", "parquet"])
def test_objects_become_columns(container: str, tmp_path: Path) -> None:
    content = json_lines(*META) if container == "jsonl" else parquet_of({k: [r[k] for r in META] for k in META[0]})
    result, kept = read(tmp_path, f"a.{container}", content)
    assert kept[1] == {"id": 1, "meta.lang": "en", "meta.from.year": 2001, "text": "text 1"}
    assert result["rows"] == 12
    assert "'meta.lang', 'meta.from.year'" in notices(result)["nested_column"]


def test_lists_of_objects_are_left_out_and_said(tmp_path: Path) -> None:
    rows = [{"text": f"text {n}", "boxes": [{"x": 1, "y": n}]} for n in range(12)]
    result, kept = read(tmp_path, "a.jsonl", json_lines(*rows))
    assert kept[3] == {"text": "text 3"}
    assert "'boxes' is left out" in notices(result)["column_left_out"]
    assert "(12 rows)" in notices(result)["column_left_out"]


def test_an_object_where_others_have_text_is_a_bad_row(tmp_path: Path) -> None:
    rows = [*({"text": f"text {n}"} for n in range(20)), {"text": {"de": "Text"}}, {"text": "x", "n": 1}]
    result, kept = read(tmp_path, "a.jsonl", json_lines(*rows))
    assert [problem["row"] for problem in result["profile"]["problems"]] == [21]
    assert len(kept) == 21


def test_a_part_under_the_name_of_a_column_is_a_bad_row(tmp_path: Path) -> None:
    rows = [{"text": f"text {n}", "meta": {"lang": "en"}} for n in range(20)]
    result, _ = read(tmp_path, "a.jsonl", json_lines(*rows, {"text": "a", "meta": {"lang": "en"}, "meta.lang": "de"}))
    assert "has 'meta.lang' twice" in result["profile"]["problems"][0]["message"]


def test_what_is_said_counts_every_row_once() -> None:
    """The first rows are read twice, to recognise dialects, and counted once."""
    items = iter([NumberedRow(n, None, {"boxes": [{"x": n}], "n": n}) for n in range(3)])
    translated = Translated(items, is_checked=False)
    assert not any(isinstance(item, Problem) for item in translated)
    assert [notice.message.count("(3 rows)") for notice in translated.notices()] == [1]


def test_a_dictionary_within_an_object_is_counted_unpacked(tmp_path: Path) -> None:
    """One long text, named by each row, is tiny in the file; so it is in an object's part."""
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 4_000, pa.int32()), pa.array(["a" * 1_000]))
    column = pa.StructArray.from_arrays([texts], ["text"])
    with pytest.raises(TooLarge):
        read(tmp_path, "a.parquet", parquet_of({"meta": column}), limit=1_000_000)

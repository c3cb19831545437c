"""Tables that are easily mistaken for others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from service.datasets import rows
from service.shared.errors import TooLarge
from tests.service.datasets.corpus import parquet_of
from tests.service.datasets.test_corpus import read
from tests.service.datasets.workbooks import SHEET, sheet_xml, with_parts, workbook_of

TABLE: list[list[Any]] = [["text", "label"], *[[f"text {n}", n % 2] for n in range(20)]]
CHAT = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
WORDS = {"tokens": ["a", "b"], "tags": ["O", "O"]}


@pytest.mark.parametrize(("name", "row"), [("a.jsonl", CHAT), ("a.json", CHAT), ("a.jsonl", WORDS)])
def test_one_row_of_lists_stays_a_row(name: str, row: dict[str, object], tmp_path: Path) -> None:
    """Seen to fail: a data set of one chat became one of its turns."""
    assert read(tmp_path, name, json.dumps(row).encode())[1] == [row]


def test_rows_under_any_name_are_read(tmp_path: Path) -> None:
    """Seen to fail: `count` was the only row."""
    texts = [{"text": f"text {n}"} for n in range(3)]
    assert read(tmp_path, "a.json", json.dumps({"reviews": texts, "count": 3}).encode())[1] == texts


def test_name_that_is_a_class_too_stays_a_name(tmp_path: Path) -> None:
    """Seen to fail: the header became a row."""
    below = "".join(f"a message no {n},{('spam', 'ham')[n % 2]}\n" for n in range(20))
    _, kept = read(tmp_path, "a.csv", f"sms,spam\n{below}".encode())
    assert (len(kept), list(kept[0])) == (20, ["sms", "spam"])


@pytest.mark.parametrize(
    ("name", "cells", "kept"),
    [
        ("labels", ["1,3", "2,4", "1,2", "3"], ["1,3", "2,4", "1,2", "3"]),  # seen to fail: 1.3
        ("rating", ["3,5", "4,0", "2,5", "nan"], ["3.5", "4.0", "2.5", None]),  # seen to fail: text, because of the nan
        ("price", ["1.234,5", "999,00", "1.000", "5,5"], ["1234.5", "999.00", "1000", "5.5"]),  # seen to fail: text
    ],
)
def test_decimal_commas(name: str, cells: list[str], kept: list[str | None], tmp_path: Path) -> None:
    content = f"text;{name}\n" + "".join(f"text {n};{cell}\n" for n, cell in enumerate(cells * 3))
    assert [row[name] for row in read(tmp_path, "a.csv", content.encode())[1]] == kept * 3


def test_sheet_of_notes_is_no_table(tmp_path: Path) -> None:
    """Seen to fail: the workbook had no rows."""
    assert len(read(tmp_path, "a.xlsx", workbook_of({"Notes": [["about this file"]], "Data": TABLE}))[1]) == 20


def test_errors_of_cells_are_listed(tmp_path: Path) -> None:
    """Seen to fail: #DIV/0! was a text among numbers."""
    result, kept = read(tmp_path, "a.xlsx", workbook_of({"a": [["text", "n"], ["a", 1], ["b", "#DIV/0!"]]}))
    assert [row["n"] for row in kept] == [1, None]
    assert "holds #DIV/0!" in result["profile"]["problems"][0]["message"]


def test_struct_of_bytes_and_path_without_bytes_is_no_image(tmp_path: Path) -> None:
    """Seen to fail: a TypeError, when the number was written as an image."""
    _, kept = read(tmp_path, "a.parquet", parquet_of({"image": [{"bytes": n, "path": n} for n in range(3)]}))
    assert kept == [{"image.bytes": n, "image.path": n} for n in range(3)]


@pytest.mark.timeout(60)
def test_row_far_below_counts_as_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail: each row above it was made, for hours."""
    monkeypatch.setattr(rows, "MAX_ROWS", 1_000)
    cells = "".join(f'<row r="{n}"><c r="A{n}"><v>1</v></c></row>' for n in (1, 10**15))
    with pytest.raises(TooLarge, match="rows"):
        read(tmp_path, "a.xlsx", with_parts({SHEET: sheet_xml(cells)}))

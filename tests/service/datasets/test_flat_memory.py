"""Memory that a reader takes does not grow with its file."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.datasets.formats import open_rows
from service.datasets.image_store import ImageStore
from service.datasets.plain_text import read_text
from service.datasets.repeated_rows import first_pairs
from service.datasets.row_hashes import RowHashes, RowHashWriter
from service.datasets.text_file import open_text

MEGABYTE = 1_000_000
COUNT = 1_500
TEXTS = [f"{n} {'a film ' * 1_120}" for n in range(COUNT)]  # 12 MB
LABELS = [n % 2 for n in range(COUNT)]
ROWS = [{"text": text, "label": label} for text, label in zip(TEXTS, LABELS, strict=True)]
LINES = "\n".join(map(json.dumps, ROWS))
SPLIT = {"columns": ["text", "label"], "data": [list(row.values()) for row in ROWS]}


def csv_text() -> str:
    return "text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in ROWS)


FILES = {
    "CSV": ("a.csv", csv_text().encode()),
    "JSON lines": ("a.jsonl", LINES.encode()),
    "JSON lines, the first one broken": ("a.jsonl", b'{"text": x}\n' + LINES.encode()),
    "a list": ("a.json", json.dumps(ROWS).encode()),
    "rows under a name": ("a.json", json.dumps({"data": ROWS}).encode()),
    "columns": ("a.json", json.dumps({"text": TEXTS, "label": LABELS}).encode()),
    "columns, with a letter of four bytes": (
        "a.json",
        json.dumps({"text": ["\U0001f600", *TEXTS[1:]], "label": LABELS}, ensure_ascii=False).encode(),
    ),
    "names beside cells": ("a.json", json.dumps(SPLIT).encode()),
    "columns by index": ("a.json", json.dumps({"text": dict(enumerate(TEXTS)), "n": dict(enumerate(LABELS))}).encode()),
    "rows by index": ("a.json", json.dumps(dict(enumerate(ROWS))).encode()),
}


def read(folder: Path, name: str, content: bytes) -> tuple[int, float]:
    """Return the number of rows, and the peak of Python and Arrow together, in MB."""
    file, before = io.BytesIO(content), pa.total_allocated_bytes()
    tracemalloc.start()
    rows = arrow = 0
    for _ in open_rows(file, name, ImageStore(folder), 2**30).rows:
        rows += 1
        arrow = max(arrow, pa.total_allocated_bytes() - before)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return rows, (peak + arrow) / MEGABYTE


@pytest.mark.parametrize("kind", FILES)
def test_rows_are_read_one_by_one(kind: str, tmp_path: Path) -> None:
    rows, peak = read(tmp_path, *FILES[kind])
    assert rows == COUNT + ("broken" in kind)
    assert peak < 14


def test_a_group_of_rows_is_read_page_by_page(tmp_path: Path) -> None:
    file, count = io.BytesIO(), 48_000
    table = pa.table({"text": [f"{n} {'a film ' * 35}" for n in range(count)]})  # 12 MB
    pq.write_table(table, file, compression="none", use_dictionary=False, row_group_size=count)
    rows, peak = read(tmp_path, "a.parquet", file.getvalue())
    assert rows == count
    assert peak < 10


def test_lines_of_a_text_are_not_counted_in_memory() -> None:
    text = open_text(io.BytesIO(b"a\n\n" * 100_000))
    tracemalloc.start()
    first = deque(islice(read_text(text, ".txt", []), 3), maxlen=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert first.pop().values == {"text": "a"}
    assert peak / MEGABYTE < 3


def test_a_section_without_end_is_not_held_in_memory() -> None:
    text = open_text(io.BytesIO(b"# One\n" + (b"x" * 50_000 + b"\n") * 800))  # 40 MB
    tracemalloc.start()
    [row] = read_text(text, ".md", [])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(row.values["text"]) > 10 * 2**20  # too long for a row, so that it is left out
    assert peak / MEGABYTE < 40


def test_repeated_rows_are_found_in_a_few_bytes_a_row(tmp_path: Path) -> None:
    rows = 100_000
    with RowHashWriter(tmp_path) as writer:
        for number in _twice(rows // 2):
            writer.add({"n": number})
        writer.finish(tmp_path / "hashes")
    tracemalloc.start()
    pairs = first_pairs(RowHashes(tmp_path / "hashes"), ["n"], 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pairs == [(rows // 2 + n, n) for n in range(3)]
    assert peak < 60 * rows


def _twice(count: int) -> Iterator[int]:
    yield from range(count)
    yield from range(count)

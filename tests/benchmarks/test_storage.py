"""Ratios of the benchmark of stores; how fast something is belongs to no test."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import storage
from benchmarks.start import DOCS
from benchmarks.storage import BEFORE, FOLDER, HOME, S3, Measured

ROUND = Measured(upload=1.0, training=10.0, publishing=2.0, job=16.0, cpu=12.0, download=0.5)


def test_ratios_are_of_the_same_round() -> None:
    slower = replace(ROUND, training=12.0)
    measured = {BEFORE: [ROUND] * 3, HOME: [ROUND, slower, ROUND], FOLDER: [ROUND, slower, ROUND], S3: [slower] * 3}
    section = storage.section_of(measured, 640, 20.0)
    rows = {row[0]: row[1:] for row in section.rows}
    assert rows[HOME] == [1.0, 10.0, 2.0, 16.0, 12.0, 0.5]
    assert rows[f"{FOLDER} / {HOME}"] == [1.0] * 6
    assert rows[f"{S3} / {HOME}"] == pytest.approx([1.0, 1.2, 1.0, 1.0, 1.0, 1.0])
    assert [limit.name for limit in section.limits if not limit.ok] == [f"{S3} / {HOME}, training"]
    without = storage.section_of({name: measured[name] for name in (HOME, FOLDER, S3)}, 640, 20.0)
    assert not any(BEFORE in row[0] for row in without.rows)


def test_the_table_has_its_size_and_its_place_in_the_docs(tmp_path: Path) -> None:
    storage.write_table(tmp_path / "table.csv", 0.3)
    assert (tmp_path / "table.csv").stat().st_size >= 300_000
    with (tmp_path / "table.csv").open(newline="") as file:
        numbers = [row["number"] for row in csv.DictReader(file)]
    assert numbers == [str(number) for number in range(len(numbers))]
    text = (DOCS / "benchmarks.md").read_text()
    assert text.index("<!-- storage: written by its benchmark -->") < text.index("<!-- storage: end -->")

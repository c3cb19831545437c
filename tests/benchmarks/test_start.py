"""What the benchmark of starting writes and reads; how fast something is belongs to no test."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import start
from benchmarks.documents import as_markdown, replace_table
from benchmarks.report import Section

TABLES = Section("numbers", ["what", "seconds"], [["import", 0.1234567], ["rows", 1200]])


def test_a_table_replaces_its_own_alone(tmp_path: Path) -> None:
    document = tmp_path / "benchmarks.md"
    marks = "<!-- {0}: written by its benchmark -->\nold\n<!-- {0}: end -->\n"
    document.write_text(f"# Numbers\n\n{marks.format('start')}\nbetween\n\n{marks.format('job')}")
    for _ in range(2):  # the second time over the first
        replace_table(document, "start", as_markdown(TABLES))
    table = "| what | seconds |\n| --- | --- |\n| import | 0.123 |\n| rows | 1,200 |\n"
    new = marks.format("start").replace("old\n", table)
    assert document.read_text() == f"# Numbers\n\n{new}\nbetween\n\n{marks.format('job')}"


def test_a_document_without_marks_is_left_alone(tmp_path: Path) -> None:
    document = tmp_path / "benchmarks.md"
    document.write_text("<!-- start: end -->\n<!-- start: written by its benchmark -->\n")
    with pytest.raises(ValueError, match="no marks"):
        replace_table(document, "start", "table")
    assert "table" not in document.read_text()


def test_docs_have_the_place_of_the_tables() -> None:
    text = (start.DOCS / "benchmarks.md").read_text()
    assert text.index("<!-- start: written by its benchmark -->") < text.index("<!-- start: end -->")


def test_sections_compare_the_later_jobs_with_the_goals() -> None:
    jobs = [{"fork": seconds, start.TOTAL: 2 * seconds} for seconds in (9.0, 0.5, 0.7, 1.5)]
    section = start.first_step_section(jobs)
    assert section.rows == [["fork", 9.0, 0.7, 1.5], [start.TOTAL, 18.0, 1.4, 3.0]]
    assert [limit.ok for limit in section.limits] == [True]
    predictions = start.prediction_section([[7.0, 0.1], [1.6, 0.2], [1.8, 0.2]])
    assert predictions.rows[0] == ["first of a model", 7.0, pytest.approx(1.7), 1.8]
    assert [limit.ok for limit in predictions.limits] == [False]


def test_a_command_is_measured() -> None:
    wall, cpu = start.command_seconds(["-c", "sum(range(2_000_000))"], 1)
    assert 0 < cpu <= wall + 0.02  # CPU times come in hundredths of a second

"""What the benchmark of several devices computes and writes; how fast something is belongs to no test."""

from __future__ import annotations

import pytest

from benchmarks import scaling


def test_a_rank_that_is_busier_than_the_others_counts() -> None:
    """Two rounds: twice as fast as one process, and at two thirds of that."""
    one = [[{"cpu_seconds": 4.0}], [{"cpu_seconds": 4.0}]]
    two = [[{"cpu_seconds": 2.0}, {"cpu_seconds": 1.0}], [{"cpu_seconds": 1.0}, {"cpu_seconds": 3.0}]]
    assert scaling.of_ideal(one, one, "cpu_seconds") == 1
    assert scaling.of_ideal(one, two, "cpu_seconds") == pytest.approx((1 + 2 / 3) / 2)


def test_on_paper_parts_take_less_memory_and_never_less_time() -> None:
    section = scaling.paper_section()
    rows = [dict(zip(section.columns, row, strict=True)) for row in section.rows]
    assert [(row["base"], row["GPUs"]) for row in rows] == [(b, n) for b in ("8 B", "70 B") for n in (1, 8, 64)]
    for row in rows:
        assert row["GB each, parts"] <= row["GB each, copies"]
        assert row["of ideal, parts"] <= row["of ideal, copies"] <= 1


def test_docs_have_the_place_of_the_tables() -> None:
    text = (scaling.DOCS / "benchmarks.md").read_text()
    assert text.index("<!-- scaling: written by its benchmark -->") < text.index("<!-- scaling: end -->")

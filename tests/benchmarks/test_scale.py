"""The benchmark of a full database at a tiny size: that every call works, and that sizes are what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.scale import __main__ as scale
from benchmarks.scale.filling import Size
from benchmarks.scale.mlflow_peer import find_mlflow, percentile

TINY = Size(jobs=300, rows_per_job=5, events_per_job=2, long=700)


def test_sizes_and_percentiles(tmp_path: Path) -> None:
    assert scale.SMALL.rows == 20_000
    assert scale.LARGE.rows == 10_000_000
    assert scale.shrunk(scale.LARGE, 0.01) == Size(jobs=1_000, rows_per_job=98, events_per_job=10, long=5_000)
    assert percentile([float(number) for number in range(100)], 0.99) == 99.0
    assert find_mlflow(tmp_path / "python") is None


@pytest.mark.compat
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_every_call_works_on_both_databases(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "SMALL", TINY)
    monkeypatch.setattr(scale, "LARGE", TINY)
    document = tmp_path / "benchmarks.md"
    document.write_text("<!-- scale: written by its benchmark -->\n<!-- scale: end -->\n")
    options = ["--databases", kind, "--repeats", "1", "--mlflow", str(tmp_path / "none"), "--document", str(document)]
    scale.main([*options, "--json", str(tmp_path / "scale.json")])
    (section,) = json.loads((tmp_path / "scale.json").read_text())["sections"]
    assert all(row["small, ms"] > 0 and row["large, ms"] > 0 for row in section["rows"])
    assert "| GET /metrics (Prometheus) |" in document.read_text()

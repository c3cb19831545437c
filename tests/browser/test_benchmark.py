"""The page's benchmark at a tiny size: the measured events are seen; speed is not asserted."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks import page
from tests.browser import chromium


@pytest.mark.compat
@pytest.mark.skipif(chromium.find() is None, reason=chromium.MISSING)
def test_benchmark_sees_rows_steps_and_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "OPENED", 2)
    monkeypatch.setattr(page, "LISTED_SECONDS", 3)
    arguments = ["--steps", "60", "--rows", "3", "--jobs", "8", "--json", str(tmp_path / "page.json")]
    monkeypatch.setattr(sys, "argv", ["page", *arguments])
    with ThreadPoolExecutor(1) as pool:  # Playwright takes one a thread, and other tests' may be open in this one
        pool.submit(page.main).result()
    opened, drawn, listed = json.loads((tmp_path / "page.json").read_text())["sections"]
    assert len(opened["rows"]) == 3
    assert all(row["min"] > 0 for row in opened["rows"])
    assert drawn["rows"][0]["rows"] == 3
    assert drawn["rows"][0]["min"] > 0
    assert listed["rows"][0]["kB each second"] > 0

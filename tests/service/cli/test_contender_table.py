"""How the terminal shows a job's adapter beside its contenders."""

from __future__ import annotations

from typing import Any

import pytest

from service.cli import jobs
from service.cli.contender_table import lines, print_comparison, titles
from service.cli.estimate import show_estimate
from service.cli.job_view import JobView
from tests.service.cli.test_job_view import drawn, job
from tests.service.cli.test_jobs import printed
from tests.service.jobs.test_comparing import COMPARISON, LORA, MEASURED, OWN, RUNNING

__all__ = ["printed"]  # a fixture


def test_show_prints_a_row_for_each_contender(printed: Any) -> None:
    shown = printed(jobs.show, "job_abc", comparison=COMPARISON)
    rows = [line.split("\t") for line in shown if "\t" in line]
    assert rows == [
        ["AdaMSS (this job)", "2,000", "66", "0.01", "0.7500", "0.5300 to 0.8900", "", "+0.0500"],
        ["lora:r=1", "256", "66", "0.004", "0.7000", "0.5300 to 0.8900", "-0.0500 (-0.2000 to +0.1000)", "+0.2000"],
        ["head", "", "", "", "failed", "out_of_memory", "Memory ran out.", ""],
    ]
    assert any('gain over always "good"' in line for line in shown)
    assert not any("Compared by" in line for line in printed(jobs.show, "job_abc"))


def test_test_data_have_a_row_of_their_own() -> None:
    tested: Any = COMPARISON | {"contenders": [OWN | {"test": MEASURED}, LORA | {"held_out": None}]}
    found = list(lines(tested))
    assert [row[0] for row in found] == ["AdaMSS (this job)", "  on test data", "lora:r=1"]
    assert found[2][4] == "not evaluated"
    assert {len(row) for row in found} == {len(titles(tested))}


def test_the_contender_under_way_takes_the_place_of_the_progress() -> None:
    progress = {"step": 120, "total_steps": 120, "epoch": 2.0, "eta_seconds": 0.0, "contender": RUNNING}
    view = drawn(JobView(job(progress=progress)))
    assert "comparing head" in view
    assert "step 3/20" in view
    assert "15 %" in view


def test_show_names_the_contender_under_way(printed: Any) -> None:
    progress = {"step": 120, "total_steps": 120, "epoch": 2.0, "eta_seconds": 0.0, "contender": RUNNING}
    assert any(
        line.split(maxsplit=1) == ["comparing", "head, step 3/20"]
        for line in printed(jobs.show, "job_abc", progress=progress)
    )


def test_a_dry_run_names_each_contender(capsys: pytest.CaptureFixture[str]) -> None:
    planned = {"contender": "lora:r=1", "steps": 20, "adapter_parameters": 256, "head_parameters": 66}
    show_estimate({"estimate": {"comparison": [planned | {"learning_rate": 0.004}]}}, as_json=False)
    line = "compared with lora:r=1  20 more steps, 256 elements of A and B at 0.004, 66 of the head"
    assert line in capsys.readouterr().out


def test_a_job_without_contenders_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    print_comparison(job())
    assert capsys.readouterr().out == ""

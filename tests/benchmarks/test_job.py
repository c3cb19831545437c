"""Ratios of the benchmark of whole jobs; how fast something is belongs to no test."""

from __future__ import annotations

import pytest

from benchmarks import job
from benchmarks.job import LORA, OURS, PEFT, Measured


def test_ratios_are_of_the_same_round() -> None:
    measured = {
        OURS: [Measured(10.0, 8.0, 10.0, 8.0), Measured(40.0, 8.0, 40.0, 8.0), Measured(20.0, 8.0, 20.0, 8.0)],
        LORA: [Measured(20.0, 16.0, 10.0, 10.0), Measured(40.0, 16.0, 20.0, 10.0), Measured(20.0, 4.0, 10.0, 2.0)],
        PEFT: [Measured(40.0, 32.0, 40.0, 32.0)] * 3,
    }
    section = job.section_of(measured, 100, 6)
    rows = {row[0]: row[1:] for row in section.rows}
    assert rows[OURS] == [20.0, 8.0, 20.0, 8.0]
    assert rows[f"ours / {LORA}"] == pytest.approx([1.0, 0.5, 2.0, 0.8])
    assert rows[f"ours / {PEFT}"] == pytest.approx([0.5, 0.25, 0.5, 0.25])
    missed = [limit.name for limit in section.limits if not limit.ok]
    assert missed == [f"ours / {LORA}, wall", f"ours / {LORA}, wall without imports"]


def test_the_log_of_a_job_says_its_cpu_time() -> None:
    found = job.CPU.search("2026-11-27 08:08:20,609 INFO worker.training_process: the process used 27.2 s of CPU time")
    assert found is not None
    assert float(found[1]) == 27.2

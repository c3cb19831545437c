"""The benchmark of memory runs a whole job beside its estimate."""

from __future__ import annotations

import pytest

from benchmarks.memory import MEMORY_LIMIT, measure
from benchmarks.memory_cases import FITTED, HELD_OUT


def test_no_job_is_both_fitted_and_held_out() -> None:
    assert len(HELD_OUT) == 16
    assert {case.name for case in FITTED}.isdisjoint(case.name for case in HELD_OUT)


@pytest.mark.compat
@pytest.mark.filterwarnings("ignore")  # upstream's deprecations while the base model is made
def test_a_job_is_measured_beside_its_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAMSS_LENGTH_SAMPLE", "200")
    (case,) = (case for case in FITTED if case.name == "chats of 50 tokens, tiny decoder at defaults")
    outcome = measure(case)
    assert outcome.plan.estimate.lengths == "measured"
    assert outcome.memory_ratio == pytest.approx(1, abs=MEMORY_LIMIT)
    assert set(outcome.file_ratios) == {"adapter", "lora", "merged"}

"""A run whose adapter has more elements than its budget allows is refused before the first step."""

from __future__ import annotations

from pathlib import Path

import pytest

from adamss_core.spec import JobSpec
from adamss_core.training.errors import TrainingError
from adamss_core.training.run import run
from tests.adamss_core.training.support import Recorder, job, request

pytestmark = pytest.mark.slow


def spec_of(budget: int) -> JobSpec:
    return job(adamss={"budget": budget, "use_asa": False}, training={"max_steps": 1})


def test_an_adapter_beyond_the_budget_is_refused(model: Path, tmp_path: Path) -> None:
    """`r` 12, K 4 and rank 1 on four modules of 32 x 32: 4 * (4 * 12 + 32) elements."""
    recorder = Recorder()
    with pytest.raises(TrainingError, match="has 320 elements of A and B") as caught:
        run(request(model, tmp_path / "over", spec=spec_of(319)), recorder)
    assert (caught.value.code, caught.value.where) == ("over_budget", "adamss.budget")
    assert not recorder.of("train")
    assert run(request(model, tmp_path / "within", spec=spec_of(320)), Recorder()).result["steps"] == 1

"""What the best and the last evaluation predicted is not predicted again for the published model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from adamss_core.training import evaluation, evaluator
from adamss_core.training.evaluation import KeptPredictions
from adamss_core.training.run import run
from tests.adamss_core.training.support import FinishedRun, Recorder, job, request


def test_the_best_and_the_last_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = KeptPredictions()
    predictions = [{"losses": torch.zeros(4)} for _ in range(4)]
    for step, best in ((0, 0), (1, 0), (2, 0), (3, 3)):
        kept.keep(step, predictions[step], best)
        known = [number for number in range(4) if kept.of(number) is predictions[number]]
        assert known == sorted({best, step})
    monkeypatch.setattr(evaluation, "KEPT_BYTES", 15)
    kept.keep(4, predictions[0], 3)
    assert kept.of(4) is None
    assert kept.of(3) is predictions[3]


@pytest.mark.slow
def test_the_report_is_the_same_as_of_new_predictions(
    model: Path, finished: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("predicted again")

    spec = job(artifacts=["merged", "adapter", "lora"])
    with monkeypatch.context() as patched:
        patched.setattr(evaluator, "predict", forbidden)
        kept = run(request(model, tmp_path / "kept", spec=spec), Recorder())
    monkeypatch.setattr(evaluation, "KEPT_BYTES", 0)
    anew = run(request(model, tmp_path / "anew", spec=spec), Recorder())
    assert kept.evaluation[0]["metrics"]["accuracy"] == kept.result["eval_accuracy"]
    assert kept.evaluation == anew.evaluation == finished.outcome.evaluation
    assert kept.hardest == anew.hardest

"""Which evaluation is the best, and the losses that a run remembers."""

from __future__ import annotations

import pytest

from adamss_core.spec.tasks.metrics import ACCURACY, LOSS, PEARSON, Metric
from adamss_core.training.progress import Progress, Values


def best_of(metric: Metric, evaluations: list[Values], patience: int | None = None) -> Progress:
    progress = Progress(micro_batch=8)
    for values in evaluations:
        progress.step += 1
        progress.evaluated(values, metric, patience, qualifies=True)
    return progress


def scored(accuracy: float | None, loss: float | None) -> Values:
    return {"eval_accuracy": accuracy, "eval_pearson": accuracy, "eval_loss": loss}


@pytest.mark.parametrize(
    ("metric", "evaluations", "best"),
    [
        (ACCURACY, [(0.9, 0.5), (0.9, 0.3), (0.9, 0.4)], 2),
        (ACCURACY, [(0.9, 0.5), (0.8, 0.1), (0.9, 0.5)], 1),
        (ACCURACY, [(0.9, None), (0.9, 0.3)], 2),
        (ACCURACY, [(0.9, 0.3), (0.9, None)], 1),
        (PEARSON, [(None, 0.9), (None, 0.8)], 2),
        (PEARSON, [(None, 0.1), (0.1, 0.8)], 2),
        (LOSS, [(0.1, 0.3), (0.9, 0.3)], 1),
    ],
)
def test_ties_go_to_the_lower_loss(metric: Metric, evaluations: list[tuple[float, float]], best: int) -> None:
    assert best_of(metric, [scored(*entry) for entry in evaluations]).best_step == best


def test_a_tie_is_no_improvement_for_early_stopping() -> None:
    progress = best_of(ACCURACY, [scored(1.0, loss) for loss in (0.3, 0.2, 0.1)], patience=2)
    assert (progress.best_step, progress.without_gain, progress.stopped_early) == (3, 2, True)


def test_the_first_and_the_last_losses_are_remembered() -> None:
    assert Progress(micro_batch=8).loss_fell is None
    progress = Progress(micro_batch=8)
    for loss in (4.0, 2.0, float("nan"), None):
        progress.log_loss(loss)
    assert list(progress.loss_fell or ()) == [4.0, 2.0]
    for loss in range(100):
        progress.log_loss(float(loss))
    assert list(progress.loss_fell or ()) == pytest.approx([(4 + 2 + sum(range(6))) / 8, sum(range(92, 100)) / 8])
    assert Progress.restore(progress.export()) == progress

"""Progress of a training: the counts that checkpoints keep beside tensors."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from adamss_core.spec.tasks.metrics import LOSS, Metric

Values = dict[str, float | int | None]
KEPT_LOSSES = 8  # of the first and of the last logged steps


@dataclass
class Progress:
    """Counts of a training.

    Attributes:
        step: finished optimizer steps.
        micro_batch: rows per forward pass; halved when memory runs out.
        best_step, best_values: the best evaluation that qualifies for publishing, if any.
        without_gain: number of evaluations since the best one.
        last_values: the newest evaluation.
        stopped_early: whether early stopping has ended the training.
        seconds: time spent in training steps, over all attempts.
        time_used_seconds: time of the training loop over all attempts, which the job's limit is compared with.
        logged: number of logged steps.
        first_losses, last_losses: training losses of the first and of the last logged steps.
        calibration: basis, rows, seconds and expected share of the calibration, if there was one.
        before_training: the evaluation before the first step, of tasks that the base model can do; never the best one.
    """

    micro_batch: int
    step: int = 0
    best_step: int | None = None
    best_values: Values = field(default_factory=dict)
    without_gain: int = 0
    last_values: Values = field(default_factory=dict)
    stopped_early: bool = False
    seconds: float = 0.0
    time_used_seconds: float = 0.0
    before_training: Values = field(default_factory=dict)
    calibration: dict[str, Any] | None = None
    logged: int = 0
    first_losses: list[float] = field(default_factory=list)
    last_losses: list[float] = field(default_factory=list)

    def log_loss(self, loss: float | None) -> None:
        """Remember the training loss of a logged step, where it is among the first or the last ones."""
        if loss is None or not math.isfinite(loss):
            return
        self.logged += 1
        if len(self.first_losses) < KEPT_LOSSES:
            self.first_losses.append(loss)
        self.last_losses = [*self.last_losses, loss][-KEPT_LOSSES:]

    @property
    def loss_fell(self) -> tuple[float, float] | None:
        """Mean training loss of the first and of the last quarter of the logged steps, of a few at most."""
        if self.logged < 2:
            return None
        few = max(1, min(KEPT_LOSSES, self.logged // 4))
        return sum(self.first_losses[:few]) / few, sum(self.last_losses[-few:]) / few

    def evaluated(self, values: Values, metric: Metric, patience: int | None, *, qualifies: bool) -> bool:
        """Record an evaluation; return whether it is the best so far.

        Of equally good ones the one with the lower loss is the best; for early stopping it is no improvement, as the
        loss may fall for ever while the metric stands.

        Args:
            metric: the one that chooses the best checkpoint.
            patience: evaluations without a gain after which training stops; None for no early stopping.
            qualifies: whether this state may be published, which it may not before ASA's ramp has ended.
        """
        self.last_values = values
        if not qualifies:
            return False
        gains = self.best_step is None or is_better(values, self.best_values, metric)
        self.without_gain = 0 if gains else self.without_gain + 1
        self.stopped_early = patience is not None and self.without_gain >= patience
        if not gains and not breaks_tie(values, self.best_values, metric):
            return False
        self.best_step, self.best_values = self.step, values
        return True

    def export(self) -> dict[str, Any]:
        """Return the counts as JSON values."""
        return asdict(self)

    @classmethod
    def restore(cls, state: dict[str, Any]) -> Progress:
        """Make the counts that `export` gave."""
        return cls(**state)


def is_better(values: Values, best: Values, metric: Metric) -> bool:
    """Return whether `values` are strictly better by the metric; a value that is not finite never is."""
    new, old = values.get(f"eval_{metric.name}"), best.get(f"eval_{metric.name}")
    if new is None or not math.isfinite(new):
        return False
    if old is None or not math.isfinite(old):
        return True
    return new > old if metric.higher_is_better else new < old


def breaks_tie(values: Values, best: Values, metric: Metric) -> bool:
    """Return whether `values` are as good by the metric, undefined ones included, and have the lower loss."""
    name = f"eval_{metric.name}"
    return values.get(name) == best.get(name) and is_better(values, best, LOSS)

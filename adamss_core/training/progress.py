"""Progress of a training: the counts that checkpoints keep beside tensors."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from adamss_core.spec.tasks.metrics import Metric

Values = dict[str, float | int | None]


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
        seconds: time spent in training, over all attempts.
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
    before_training: Values = field(default_factory=dict)

    def evaluated(self, values: Values, metric: Metric, patience: int | None, *, qualifies: bool) -> bool:
        """Record an evaluation; return whether it is the best so far.

        Args:
            metric: the one that chooses the best checkpoint.
            patience: evaluations without a gain after which training stops; None for no early stopping.
            qualifies: whether this state may be published, which it may not before ASA's ramp has ended.
        """
        self.last_values = values
        if not qualifies:
            return False
        if self.best_step is not None and not is_better(values, self.best_values, metric):
            self.without_gain += 1
            self.stopped_early = patience is not None and self.without_gain >= patience
            return False
        self.best_step, self.best_values, self.without_gain = self.step, values, 0
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

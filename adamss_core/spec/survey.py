"""The numbers that one pass over a data set finds for a job."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

MAX_CLASSES = 1_000


@dataclass(frozen=True)
class Survey:
    """One pass over a data set's rows.

    Attributes:
        usable: rows with everything that the job needs.
        left_out: reason -> rows that cannot be used.
        labels: class -> rows; stops at one class more than MAX_CLASSES.
        unknown: usable rows with a class that the training data lack.
        mean, spread: mean and standard deviation of the numbers to predict; zero for other labels.
    """

    usable: int
    left_out: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    unknown: int = 0
    mean: float = 0.0
    spread: float = 0.0

    @property
    def has_too_many_classes(self) -> bool:
        return len(self.labels) > MAX_CLASSES

"""The numbers that one pass over a data set finds for a job."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
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

    @staticmethod
    def joined(parts: Sequence[Survey]) -> Survey:
        """Return the survey of several data sets together."""
        if len(parts) == 1:
            return parts[0]
        usable = sum(part.usable for part in parts)
        mean = sum(part.mean * part.usable for part in parts) / max(1, usable)
        squares = sum((part.spread**2 + part.mean**2) * part.usable for part in parts) / max(1, usable)
        return Survey(
            usable,
            sum((part.left_out for part in parts), Counter[str]()),
            sum((part.labels for part in parts), Counter[str]()),
            mean=mean,
            spread=math.sqrt(max(0.0, squares - mean**2)),
        )

    @property
    def has_too_many_classes(self) -> bool:
        return len(self.labels) > MAX_CLASSES

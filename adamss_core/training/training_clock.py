"""Count the time of a training over all attempts, and compare it with the job's limit."""

from __future__ import annotations

import math
from time import monotonic


class TrainingClock:
    """Measure the seconds of the training loop: steps, evaluations and checkpoints between its start and its end.

    Waiting, pauses, loading, calibration and publishing do not count; nor does work that a kill lost, since it is
    done again from the last checkpoint.

    Args:
        limit: seconds over all attempts; None for no limit.
    """

    def __init__(self, limit: float | None) -> None:
        self.limit = limit
        self._earlier = 0.0
        self._begun: float | None = None

    def begin(self, earlier: float) -> None:
        """Start to count.

        Args:
            earlier: seconds of the attempts before, up to the resumed checkpoint.
        """
        self._earlier, self._begun = earlier, monotonic()

    @property
    def seconds(self) -> float:
        """Return the seconds so far."""
        return self._earlier + (0.0 if self._begun is None else monotonic() - self._begun)

    @property
    def left(self) -> float:
        """Return the seconds until the limit, at least 0; infinity without one."""
        return math.inf if self.limit is None else max(0.0, self.limit - self.seconds)

    @property
    def is_over(self) -> bool:
        """Return whether the limit is reached."""
        return self.left == 0

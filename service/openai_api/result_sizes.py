"""Remember the sizes of result files, which lists tell: a file itself is written when somebody downloads it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from threading import Lock

KEPT = 10_000


class ResultSizes:
    """Sizes by job and end; the numbers of a job that has succeeded do not change."""

    def __init__(self) -> None:
        self._sizes: OrderedDict[tuple[str, datetime], int] = OrderedDict()
        self._lock = Lock()

    def get(self, job_id: str, ended_at: datetime, compute: Callable[[], int]) -> int:
        """Return the size of a job's result file; compute it once."""
        key = (job_id, ended_at)
        with self._lock:
            known = self._sizes.get(key)
        if known is None:
            known = compute()
        with self._lock:
            self._sizes[key] = known
            self._sizes.move_to_end(key)
            if len(self._sizes) > KEPT:
                self._sizes.popitem(last=False)
        return known

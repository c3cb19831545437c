"""Show and watch the progress of a training process through two files of the job's folder."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from time import monotonic

from service.shared.storage.home import JobFolder

logger = logging.getLogger(__name__)


class Heartbeat:
    """Write the files, in the training process."""

    def __init__(self, folder: JobFolder, attempt: int) -> None:
        self._alive, self._attempt = folder.heartbeat, attempt
        self._step = os.open(folder.step, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def touch(self) -> None:
        """Show that the run makes progress."""
        try:
            self._alive.touch()
        except OSError as error:
            logger.warning("the heartbeat file could not be touched: %r", error)

    def record_step(self, step: int) -> None:
        """Overwrite the last completed step; after a kill it says how far the attempt came."""
        with suppress(OSError):
            os.pwrite(self._step, f"{self._attempt} {step}".ljust(32).encode(), 0)


class HeartbeatMonitor:
    """Measure in the supervisor how long the heartbeat is silent, by the steady clock: the wall clock may jump."""

    def __init__(self, folder: JobFolder) -> None:
        self._path = folder.heartbeat
        self._seen = self._time()
        self._changed_at = monotonic()

    def silent_for(self) -> float:
        """Return the seconds since a touch was first seen."""
        time = self._time()
        if time != self._seen:
            self._seen, self._changed_at = time, monotonic()
        return monotonic() - self._changed_at

    def _time(self) -> int:
        with suppress(OSError):
            return self._path.stat().st_mtime_ns
        return 0


def last_step(folder: JobFolder, attempt: int) -> int | None:
    """Return the last completed step of this attempt; None before its first."""
    try:
        writer, step = folder.step.read_text().split()
    except (OSError, ValueError):
        return None
    return int(step) if int(writer) == attempt else None

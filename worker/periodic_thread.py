"""Run a function in a thread at start-up, at an interval, and when woken."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from threading import Event, Thread
from typing import ClassVar

logger = logging.getLogger(__name__)


class PeriodicThread(ABC):
    """Call `round` periodically once started.

    Args:
        name: of the thread.
        seconds: between two rounds.
    """

    join_seconds: ClassVar[float] = 5.0  # how long closing waits for a round under way

    def __init__(self, name: str, seconds: float) -> None:
        self._seconds = seconds
        self._wake = Event()
        self._closing = False
        self._thread = Thread(target=self._run, name=name, daemon=True)

    @abstractmethod
    def round(self) -> None:
        """Do one round; an error that is expected now and then is handled here, any other one is logged whole."""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Begin the next round at once, such as when a job has ended."""
        self._wake.set()

    def close(self) -> None:
        """End the thread, after the round under way."""
        self._closing = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=self.join_seconds)

    def _run(self) -> None:
        while not self._closing:
            try:
                self.round()
            except Exception:  # a worker whose sweeper had ended would live on, and take back no lease
                logger.exception("%s: a round failed, the next one begins in %g s", self._thread.name, self._seconds)
            self._wake.wait(self._seconds)
            self._wake.clear()

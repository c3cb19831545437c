"""A thread that does something at start-up, every so often, and when it is woken."""

from __future__ import annotations

from abc import ABC, abstractmethod
from threading import Event, Thread
from typing import ClassVar


class Rounds(ABC):
    """Goes its rounds once it is started.

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
        """What is done each time; raises nothing that may pass."""

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Now, such as when a job has ended."""
        self._wake.set()

    def close(self) -> None:
        self._closing = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=self.join_seconds)

    def _run(self) -> None:
        while not self._closing:
            self.round()
            self._wake.wait(self._seconds)
            self._wake.clear()

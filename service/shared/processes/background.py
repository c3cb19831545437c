"""Work that nobody waits for: measured once, in a thread of its own, one piece at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from queue import Empty, Full, Queue
from threading import Lock, Thread

logger = logging.getLogger(__name__)

WAITING = 100
IDLE_SECONDS = 5.0
Work = Callable[[], str | None]


class BackgroundQueue:
    """Do work in a thread that ends when nothing is left to do.

    Args:
        name: of the thread, for the log.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._waiting: Queue[tuple[Hashable, Work]] = Queue(WAITING)
        self._under_way: set[Hashable] = set()
        self._failed: dict[Hashable, str] = {}  # not tried again by this process
        self._lock = Lock()
        self._thread: Thread | None = None
        self._closed = False

    def ask(self, key: Hashable, work: Work) -> bool:
        """Queue work, unless it is under way or has failed; return whether it is still to come.

        Args:
            work: returns the reason why it failed; None once it is done.
        """
        with self._lock:
            if key in self._failed:
                return False
            if key in self._under_way or self._closed:
                return True
            try:
                self._waiting.put_nowait((key, work))
            except Full:  # the next request asks again
                return True
            self._under_way.add(key)
            if self._thread is None:
                self._thread = Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            return True

    def problem(self, key: Hashable) -> str | None:
        """Return the reason why work has failed."""
        return self._failed.get(key)

    def close(self) -> None:
        """Start nothing further; what is under way ends with its process."""
        self._closed = True

    def _run(self) -> None:
        while not self._closed:
            try:
                key, work = self._waiting.get(timeout=IDLE_SECONDS)
            except Empty:
                with self._lock:
                    if self._waiting.empty():
                        self._thread = None
                        return
                continue
            try:
                problem = work()
            except Exception as error:  # else the thread would end, and nothing asked for later be done
                logger.exception("%s: %s", self._name, key)
                problem = repr(error)
            if problem is not None:
                logger.warning("%s: %s failed: %s", self._name, key, problem)
                self._failed[key] = problem
            self._under_way.discard(key)

"""Watch the other processes of a run, and end this one where one of them has died.

A collective that waits for a dead process would hang: on a GPU for ever, and on the CPU until the socket notices. All
processes of a run are on one host, so that the kernel tells at once when one of them ends; nothing has to be guessed
from the time that a message takes.
"""

from __future__ import annotations

import logging
import os
import select
from collections.abc import Callable
from threading import Event, Thread
from time import monotonic

logger = logging.getLogger(__name__)

GRACE_SECONDS = 5.0  # for this process to notice by itself and to write what it must
PEER_DIED_STATUS = 75
_POLL_SECONDS = 0.5


class PeerWatch:
    """A thread that ends this process a few seconds after another one of the run has died.

    Args:
        pids: of the other processes, on this host.
        is_explained: whether a process has left a reason for its end: then this one ends by that.

    Attributes:
        thread: ends when the watch is closed, and after the first death.
        lost: set at the first death.
    """

    def __init__(self, pids: list[int], is_explained: Callable[[], bool]) -> None:
        self._is_explained = is_explained
        self._closed, self.lost = Event(), Event()
        self._ends = {_open(pid): pid for pid in pids}
        self.thread = Thread(target=self._watch, name="peers", daemon=True)
        self.thread.start()

    def close(self) -> None:
        """Let the others end without consequences."""
        self._closed.set()

    def _watch(self) -> None:
        poll = select.poll()
        for descriptor in self._ends:
            poll.register(descriptor, select.POLLIN)
        ended: list[tuple[int, int]] = []
        while not ended and not self._closed.is_set():
            ended = poll.poll(_POLL_SECONDS * 1000)
        if ended:
            self.lost.set()
        if ended and not self._closed.is_set():
            self._end(self._ends[ended[0][0]])
        for descriptor in self._ends:
            os.close(descriptor)

    def _end(self, pid: int) -> None:
        deadline = monotonic() + GRACE_SECONDS
        while monotonic() < deadline:
            if self._closed.wait(_POLL_SECONDS):
                return
        if not self._is_explained():
            logger.error("process %d of this run has died; this one ends too", pid)
            os._exit(PEER_DIED_STATUS)


class JoinWatch:
    """A thread that ends this process where another one dies before all have joined, and can be named to each other.

    The rendezvous would wait for it for minutes, deaf to signals.

    Args:
        all_live: whether all processes of the run live.
    """

    def __init__(self, all_live: Callable[[], bool]) -> None:
        self._all_live = all_live
        self._joined = Event()
        self.thread = Thread(target=self._watch, name="join", daemon=True)
        self.thread.start()

    def __enter__(self) -> None:
        """Watch for the length of the block."""

    def __exit__(self, *_: object) -> None:
        self._joined.set()

    def _watch(self) -> None:
        while self._all_live():
            if self._joined.wait(_POLL_SECONDS):
                return
        logger.error("another process of this run has died before all had joined; this one ends too")
        os._exit(PEER_DIED_STATUS)


def _open(pid: int) -> int:
    """Return a descriptor that becomes readable when the process ends.

    Raises:
        ProcessLookupError: it has ended already.
    """
    return os.pidfd_open(pid)

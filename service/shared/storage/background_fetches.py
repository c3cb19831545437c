"""Fetches of large files in a process that answers requests: a request waits for one for a while, then says so."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from service.shared.processes.background_call import BackgroundCall


class BackgroundFetches:
    """Fetches under way, each once however many requests wait for it.

    Args:
        seconds: that a request waits.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds, self._lock = seconds, Lock()
        self._calls: dict[str, BackgroundCall] = {}

    def wait(self, name: str, fetch: Callable[[], None]) -> bool:
        """Start a fetch, or join the one under way; return whether it has ended.

        Raises:
            whatever the fetch has raised.
        """
        with self._lock:
            call = self._calls.get(name)
            if call is None:
                call = self._calls[name] = BackgroundCall(fetch)
        if not call.wait(self._seconds):
            return False
        with self._lock:
            if self._calls.get(name) is call:
                del self._calls[name]
        call.result()
        return True

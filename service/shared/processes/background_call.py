"""Call a function in a thread that may be left behind."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread


class BackgroundCall:
    """A call under way; where nobody waits for its end, it goes on until it is done or the process ends."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, name="background call", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait for the end; return whether it has come."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def result(self) -> None:
        """Raise the error that the function raised, if any."""
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._call()
        except BaseException as error:
            self._error = error

"""What the processes share that the API starts to read models and files: their environment, limits and end."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import BoundedSemaphore

from service.shared.errors import TooManyRequests
from service.shared.processes.environment import for_libraries

# Of a process that reads a model's config, tokenizer or template, and computes little.
READER_LIMITS = {
    resource.RLIMIT_CPU: 60,  # seconds
    resource.RLIMIT_AS: 32 * 2**30,  # of addresses: torch alone reserves much
    resource.RLIMIT_CORE: 0,
}


PLACES = 8
RETRY_SECONDS = 5


class Places:
    """A few for processes that somebody waits for: each takes memory, and a thread of those that answer everybody.

    Args:
        said: what whoever finds none is told, before when to come back.
    """

    def __init__(self, count: int, said: str, retry_seconds: int = RETRY_SECONDS) -> None:
        self._free = BoundedSemaphore(count)
        self._said, self._retry_seconds = said, retry_seconds

    @contextmanager
    def one(self) -> Iterator[None]:
        """Raises TooManyRequests where all are taken."""
        if not self._free.acquire(blocking=False):
            raise TooManyRequests(
                f"{self._said} Try again in {self._retry_seconds} s.", code="busy", retry_after=self._retry_seconds
            )
        try:
            yield
        finally:
            self._free.release()


READERS = Places(PLACES, f"The service reads {PLACES} models and files at a time, and does so now.")


def model_environment(*, offline: bool) -> dict[str, str]:
    """Without our settings, which may hold keys and passwords, and without the devices, which belong to training."""
    kept = for_libraries(os.environ) | {"TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": ""}
    return kept | ({"HF_HUB_OFFLINE": "1"} if offline else {})


def limit(pid: int, limits: Mapping[int, int]) -> None:
    """Sets resource limits of another process; only on Linux, elsewhere its time limit alone holds."""
    if sys.platform != "linux":
        return
    with suppress(ProcessLookupError):
        for kind, value in limits.items():
            resource.prlimit(pid, kind, (value, value))


def kill(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that was started in a session of its own, and whatever it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def end(process: subprocess.Popen[bytes]) -> None:
    """The same for one that may have ended, and waits for it."""
    if process.poll() is None:
        kill(process)
        process.communicate()

"""Child processes of the API that read models and files: environment and limits."""

from __future__ import annotations

import os
import resource
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from service.shared.errors import TooManyRequests
from service.shared.processes.environment import for_hub, for_libraries

# Limits of a process that reads a model's config, tokenizer or template, and computes little.
READER_LIMITS = {
    resource.RLIMIT_CPU: 60,  # seconds
    resource.RLIMIT_AS: 32 * 2**30,  # address space, not memory: torch alone reserves much
    resource.RLIMIT_CORE: 0,
}

MAX_READERS = 8
RETRY_SECONDS = 5


class ConcurrencyLimit:
    """Limit of the child processes that requests wait for; each costs memory and a server thread.

    Args:
        count: number of slots.
        details: sentence that opens the error message while all slots are in use.
        retry_seconds: delay to recommend to a refused caller.
        each: number of slots that one holder may have; None for all.
    """

    def __init__(
        self, count: int, details: str, retry_seconds: int = RETRY_SECONDS, *, each: int | None = None
    ) -> None:
        self._count, self._each = count, count if each is None else each
        self._held: Counter[str] = Counter()
        self._lock = Lock()
        self._details, self._retry_seconds = details, retry_seconds

    @contextmanager
    def slot(self, holder: str = "") -> Iterator[None]:
        """Hold a slot; raise TooManyRequests if all are in use, or the holder's."""
        with self._lock:
            if self._held.total() >= self._count or self._held[holder] >= self._each:
                raise TooManyRequests(
                    f"{self._details} Try again in {self._retry_seconds} s.",
                    code="busy",
                    retry_after=self._retry_seconds,
                )
            self._held[holder] += 1
        try:
            yield
        finally:
            with self._lock:
                self._held[holder] -= 1
                self._held += Counter()  # drops holders of none


READERS = ConcurrencyLimit(MAX_READERS, f"All {MAX_READERS} processes that read models and files are busy.")


def model_environment(*, offline: bool, fetches: bool = False) -> dict[str, str]:
    """Build the environment of a model reader: without our settings, which may hold keys, and without the GPUs, which
    belong to training.

    Args:
        fetches: whether the process is the one that gets a model from the hub, and needs the hub's token.
    """
    select = for_hub if fetches and not offline else for_libraries
    environment = select(os.environ) | {"TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": ""}
    return environment | ({"HF_HUB_OFFLINE": "1"} if offline else {})

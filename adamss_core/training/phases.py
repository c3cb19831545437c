"""Log how long each part of a run's start takes: its user waits for the sum."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

logger = logging.getLogger(__name__)


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Log the wall time of the block under a name; of a block that fails the error says enough."""
    begun = perf_counter()
    yield
    log_phase(name, perf_counter() - begun)


def log_phase(name: str, seconds: float) -> None:
    """Log the wall time of a part of the start."""
    logger.info("start: %s took %.3f s", name, seconds)

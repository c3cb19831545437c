"""Processor time of the API and of its database's server, in milliseconds to the microsecond."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def spent(pids: Iterator[int]) -> float:
    """Return the milliseconds that all threads of some processes have computed so far.

    The scheduler's count, in nanoseconds: psutil's has steps of 10 ms, longer than most calls.
    """
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with suppress(OSError):
                total += int(task.read_text().split()[0])
    return total / 1e6


def children(pid: int) -> list[int]:
    """List the processes that a process has started."""
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []

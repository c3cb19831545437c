"""Have the Linux kernel end a process together with its parent."""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def signal_at_parents_death(number: int) -> Callable[[], None] | None:
    """Return a function that asks for a signal when the thread that started this process ends; None beyond Linux."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up here: the function may be called between fork and exec

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)

    return ask


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it, and waits for it to end, ends first."""
    if (ask := signal_at_parents_death(signal.SIGKILL)) is not None:
        ask()

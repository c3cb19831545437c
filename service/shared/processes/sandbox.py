"""Sandbox of the processes that read uploaded files: limits on memory and time, no network, no other programs."""

from __future__ import annotations

import ctypes
import resource
import signal
import sys
from contextlib import suppress

OPEN_FILES = 64
GRACE_SECONDS = 5  # of CPU time between SIGXCPU and SIGKILL
_NEW_USER, _NEW_NET = 0x10000000, 0x40000000  # Linux: clone(2)
_DIE_WITH_PARENT = 1  # prctl(2)
_FORBIDDEN = (
    "socket.",
    "subprocess.",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "os.link",
    "os.symlink",
    "pickle.find_class",
    "ftplib.",
    "http.client.",
    "urllib.Request",
    "webbrowser.",
)


class NotAllowed(RuntimeError):
    """An operation that reading a file never needs."""


def enter(memory: int, seconds: int, file_bytes: int) -> None:
    """Limit this process irreversibly.

    Args:
        memory: address space in bytes.
        seconds: CPU time.
        file_bytes: maximum size of a written file.
    """
    limits = {
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_CORE: 0,
    }
    if sys.platform == "linux":  # macOS accepts this limit and does not enforce it
        limits[resource.RLIMIT_AS] = memory
        # An empty network namespace, where the system grants users one.
        with suppress(OSError, AttributeError):
            libc = ctypes.CDLL(None)
            libc.prctl(_DIE_WITH_PARENT, signal.SIGKILL)
            libc.unshare(_NEW_USER | _NEW_NET)
    for kind, value in limits.items():
        with suppress(ValueError, OSError):  # a lower limit is in force already
            resource.setrlimit(kind, (value, value))
    with suppress(ValueError, OSError):
        # Of equal limits the kernel looks at the hard one first: SIGKILL, which tells nothing, in place of SIGXCPU.
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + GRACE_SECONDS))
    sys.addaudithook(_watch)


def _watch(event: str, _: object) -> None:
    if event.startswith(_FORBIDDEN):
        raise NotAllowed(event)

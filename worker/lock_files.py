"""Lock files of this host's devices, which the system unlocks when the process that holds them dies.

A job that has a device alone holds its file exclusively. Jobs that share it hold that file together, and a numbered
file each, which says how many bytes they take.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from itertools import count, takewhile
from pathlib import Path
from time import sleep

TRIES, PAUSE = 3, 0.02  # of taking a lock, and seconds between: whoever looks at it holds it for a moment
UNKNOWN_HOLDER = "unknown"  # of a lock whose file names no job


class LockFiles:
    """The lock files in a folder, by the keys of the devices."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def holder(self, key: str) -> str | None:
        """Return the job that has a device alone; None if there is none."""
        return _holder(self._file(key))

    def shares(self, key: str) -> dict[str, int]:
        """Return the jobs that share a device, with the bytes that each takes."""
        found: dict[str, int] = {}
        files = (self._file(key, f".{number}") for number in count())
        for file in takewhile(Path.exists, files):  # files stay, and those of lower numbers were made before
            if (holder := _holder(file)) is not None:
                name, _, size = holder.partition(" ")
                found[name] = int(size or 0)
        return found

    def take(self, key: str, job_id: str) -> int | None:
        """Lock a device for a job alone; return the open file, or None if others hold it."""
        return self._lock(self._file(key), fcntl.LOCK_EX, job_id)

    def take_share(self, key: str, job_id: str, size: int, fits: Callable[[dict[str, int]], bool]) -> list[int] | None:
        """Lock a share of a device; return the open files, or None if it is held alone or `fits` says no.

        Args:
            size: bytes that the job takes.
            fits: tells whether the job fits beside those that share the device. No other share is taken meanwhile.
        """
        with ExitStack() as undo:
            if (whole := self._lock(self._file(key), fcntl.LOCK_SH)) is None:
                return None
            undo.callback(os.close, whole)
            with ExitStack() as choosing:
                if (choice := self._lock(self._file(key, ".choice"), fcntl.LOCK_EX)) is None:
                    return None
                choosing.callback(os.close, choice)
                if not fits(self.shares(key)):
                    return None
                handles = [whole, self._take_number(key, f"{job_id} {size}")]
            undo.pop_all()
            return handles

    def _take_number(self, key: str, text: str) -> int:
        """Lock the first free file of the shares."""
        files = (self._file(key, f".{number}") for number in count())
        tried = (self._lock(file, fcntl.LOCK_EX, text, tries=1) for file in files)
        return next(handle for handle in tried if handle is not None)

    def _lock(self, file: Path, how: int, text: str | None = None, tries: int = TRIES) -> int | None:
        """Lock a file and write who holds it; return the open file, or None if others hold it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        for attempt in range(tries):
            if attempt:
                sleep(PAUSE)
            with suppress(OSError):
                fcntl.flock(handle, how | fcntl.LOCK_NB)
                if text is not None:
                    os.ftruncate(handle, 0)
                    os.pwrite(handle, text.encode(), 0)
                return handle
        os.close(handle)
        return None

    def _file(self, key: str, part: str = "") -> Path:
        """Return the file of a lock; a key may hold characters that no file's name may."""
        readable = "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in key)
        return self._folder / f"{readable[:80]}-{hashlib.sha256(key.encode()).hexdigest()[:12]}{part}.lock"


def _holder(file: Path) -> str | None:
    """Return what the holder of a lock has written; None if it is free."""
    try:
        handle = os.open(file, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return os.pread(handle, 80, 0).decode(errors="replace").strip() or UNKNOWN_HOLDER
    else:
        return None
    finally:
        os.close(handle)

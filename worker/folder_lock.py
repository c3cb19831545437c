"""Allow one training process at a time in a job's folder."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

from service.shared.storage.home import JobFolder

logger = logging.getLogger(__name__)

_LOCK_SECONDS = 20.0
_YIELD_SECONDS = 3.0  # a process that still reports finds out within a second that its attempt is over


class FolderBusy(Exception):
    """The training process of another attempt still runs in the job's folder."""


class FolderLock:
    """Lock a job's folder for one training process.

    An attempt that lost its lease while its worker was frozen may still write checkpoints when the next one begins. It
    finds out with its next report and ends. The new attempt waits for that, and kills the old process if it is frozen
    itself.
    """

    def __init__(self, folder: JobFolder, timeout: float = _LOCK_SECONDS) -> None:
        self._folder, self._timeout = folder, timeout

    def __enter__(self) -> None:
        self._handle = os.open(self._folder.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        begin = monotonic()
        while not self._taken():
            waited = monotonic() - begin
            if waited > self._timeout:
                raise FolderBusy("The training process of an earlier attempt is still at work in the job's folder.")
            if waited > _YIELD_SECONDS:
                self._kill_holder()
            sleep(0.1)
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, str(os.getpid()).encode(), 0)

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)

    def _taken(self) -> bool:
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _kill_holder(self) -> None:
        """Kill the process in the lock file, if it really holds this very file open: its number may be reused."""
        try:
            pid = int(os.pread(self._handle, 20, 0))
            held = any(
                handle.exists() and handle.samefile(self._folder.lock) for handle in Path(f"/proc/{pid}/fd").iterdir()
            )
        except (OSError, ValueError):
            return
        if held:
            logger.warning("ending process %d, which an earlier attempt left behind", pid)
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

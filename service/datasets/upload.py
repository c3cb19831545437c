"""Starts the processes that read uploaded files, and translates their exits into errors with a remedy.

The API process only moves the converted files, so its memory does not depend on an upload's content.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
from dataclasses import asdict
from pathlib import Path
from threading import BoundedSemaphore
from typing import IO, Any

from service.datasets.convert import UNREADABLE, Conversion
from service.datasets.rows import MEBIBYTE, refuse, too_large
from service.shared.errors import InvalidRequest, TooLarge, Unavailable
from service.shared.processes.ask import Reply, ask
from service.shared.processes.environment import for_sandbox
from service.shared.processes.forkserver import ForkServer
from service.shared.processes.subprocesses import ConcurrencyLimit

logger = logging.getLogger(__name__)

MODULE = "service.datasets.convert"
PER_FILE = ("HOME", "TMPDIR")  # variables of a reader that differ for each file
MEMORY_BYTES = 2 * 2**30
CPU_SECONDS = 60  # plus one per MiB
WALL_FACTOR = 4  # wall-clock time over CPU time: other uploads may be read meanwhile
KEEP_FACTOR = 4  # rows as JSON are larger than in their file
MAX_READING = 4
MAX_WAITING = 12  # each holds a server thread
RETRY_SECONDS = 10

_queue = ConcurrencyLimit(
    MAX_READING + MAX_WAITING,
    f"The service reads {MAX_READING} files at a time, and {MAX_WAITING} more wait.",
    RETRY_SECONDS,
)
_readers = BoundedSemaphore(MAX_READING)


def reader_server(idle_seconds: float) -> ForkServer:
    """Make the server of processes that read files; it holds 40 MB."""
    return ForkServer([MODULE], idle_seconds, PER_FILE)


def read_upload(readers: ForkServer, file: IO[bytes] | None, name: str, folder: Path, limit: int) -> dict[str, Any]:
    """Convert a file into `folder` in a child process; without a file, convert the files in `folder/parts`.

    Returns:
        format, rows, size_bytes, sha256, profile.

    Raises:
        InvalidRequest, TooLarge: the file cannot be used; the message gives the reason.
        Unavailable: the child process failed.
    """
    seconds = CPU_SECONDS + limit // MEBIBYTE
    if file is not None:
        seconds = CPU_SECONDS + file.seek(0, os.SEEK_END) // MEBIBYTE
        file.seek(0)
    order = Conversion(name=name, limit=limit, keep_limit=KEEP_FACTOR * limit, memory=MEMORY_BYTES, seconds=seconds)
    with _queue.slot(), _readers:
        reply = ask(
            readers.starter(MODULE),
            asdict(order),
            folder,
            seconds=WALL_FACTOR * seconds,
            environment=for_sandbox(os.environ, folder),
            stdin=file,
        )
    return _conversion(reply)


def _conversion(reply: Reply) -> dict[str, Any]:
    if reply.exit_code != 0 or reply.answer is None:
        raise _failure(reply.exit_code, reply.log)
    if refused := reply.answer.get("refused"):
        if refused["code"] == UNREADABLE:
            logger.error("reading an upload failed", extra={"stderr": reply.log})
        kind = TooLarge if refused["status"] == TooLarge.status else InvalidRequest
        raise kind(refused["message"], code=refused["code"], param="file")
    return reply.answer


def _failure(code: int | None, log: str) -> Exception:
    """Translate the exit code and log of a child without an answer into an error."""
    if code is None or code == -signal.SIGXCPU:
        return refuse("takes_too_long", "Reading the file takes too long. Split it, or check that it is not damaged.")
    if f"[Errno {errno.ENOSPC}]" in log or f"[Errno {errno.EDQUOT}]" in log:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if f"[Errno {errno.EFBIG}]" in log:
        return too_large("unpacks_too_large", "The file unpacks to more than the service keeps. Split it.")
    logger.error("reading an upload failed", extra={"exit_code": code, "stderr": log})
    if code is not None and code < 0 and code != -signal.SIGKILL:
        return refuse("damaged_file", "The file is damaged: its reader crashed. Write it again.")
    return Unavailable("The file could not be read; see the service's log. Try again.", code="reading_failed")

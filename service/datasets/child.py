"""Starts the processes that read strangers' files, and says in plain words how they ended.

The process of the API only moves what they leave: its memory stays as it is, whatever is in the file.
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

from service.datasets.convert import Conversion
from service.datasets.rows import MEBIBYTE, refuse, too_large
from service.shared.errors import InvalidRequest, TooLarge, Unavailable
from service.shared.processes.ask import Reply, ask, python
from service.shared.processes.subprocesses import Places

logger = logging.getLogger(__name__)

COMMAND = python("service.datasets.convert")
MEMORY_BYTES = 2 * 2**30
CPU_SECONDS = 60  # and one more for each MiB
WALL = 4  # times the CPU time: other uploads may be read meanwhile
KEEP_FACTOR = 4  # rows as JSON are larger than in their file
AT_ONCE = 4
WAITING = 12  # each holds a thread of those that answer everybody
RETRY_SECONDS = 10

_line = Places(
    AT_ONCE + WAITING, f"The service reads {AT_ONCE} files at a time, and {WAITING} more wait.", RETRY_SECONDS
)
_turn = BoundedSemaphore(AT_ONCE)


def read_upload(file: IO[bytes] | None, name: str, folder: Path, limit: int) -> dict[str, Any]:
    """Has a file read into `folder`; without one, the files in its folder `parts`.

    Returns:
        format, rows, size_bytes, sha256, profile.

    Raises:
        InvalidRequest, TooLarge: the file cannot be used, with the reason.
        Unavailable: reading itself failed.
    """
    seconds = CPU_SECONDS + limit // MEBIBYTE
    if file is not None:
        seconds = CPU_SECONDS + file.seek(0, os.SEEK_END) // MEBIBYTE
        file.seek(0)
    order = Conversion(name=name, limit=limit, keep_limit=KEEP_FACTOR * limit, memory=MEMORY_BYTES, seconds=seconds)
    with _line.one(), _turn:
        reply = ask(COMMAND, asdict(order), folder, seconds=WALL * seconds, environment=environment(folder), stdin=file)
    return _profile(reply)


def _profile(reply: Reply) -> dict[str, Any]:
    if reply.exit_code != 0 or reply.answer is None:
        raise _failure(reply.exit_code, reply.log)
    if refused := reply.answer.get("refused"):
        kind = TooLarge if refused["status"] == TooLarge.status else InvalidRequest
        raise kind(refused["message"], code=refused["code"], param="file")
    return reply.answer


def _failure(code: int | None, log: str) -> Exception:
    """Of a process that ended without an answer."""
    if code is None or code == -signal.SIGXCPU:
        return refuse("takes_too_long", "Reading the file takes too long. Split it, or check that it is not damaged.")
    if f"[Errno {errno.ENOSPC}]" in log or f"[Errno {errno.EDQUOT}]" in log:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if f"[Errno {errno.EFBIG}]" in log:
        return too_large("unpacks_too_large", "The file unpacks to more than the service keeps. Split it.")
    logger.error("reading an upload failed", extra={"exit_code": code, "stderr": log})
    if code is not None and code < 0 and code != -signal.SIGKILL:
        return refuse("damaged_file", "The file is damaged in a way that no reader can cope with. Write it again.")
    return Unavailable("The file could not be read; the service's log says why. Try again.", code="reading_failed")


def environment(folder: Path) -> dict[str, str]:
    """No keys, no settings; temporary files in the process's own folder."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TZ") if name in os.environ}
    return kept | {
        "TMPDIR": str(folder),
        "HOME": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }

"""Starts the processes that read strangers' files, and says in plain words how they ended.

The process of the API only moves what they leave: its memory stays as it is, whatever is in the file.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from threading import BoundedSemaphore
from typing import IO, Any

from service.datasets.convert import ANSWER, ORDER, Order
from service.datasets.rows import MEBIBYTE, refuse, too_large
from service.shared.errors import InvalidRequest, TooLarge, Unavailable
from service.shared.processes import subprocesses

logger = logging.getLogger(__name__)

COMMAND = (sys.executable, "-P", "-m", "service.datasets.convert")  # -P: its folder holds no code
LOG = "child.log"
MEMORY_BYTES = 2 * 2**30
CPU_SECONDS = 60  # and one more for each MiB
WALL = 4  # times the CPU time: other uploads may be read meanwhile
KEEP_FACTOR = 4  # rows as JSON are larger than in their file
MAX_ANSWER_BYTES = 64 * MEBIBYTE
AT_ONCE = 4
WAITING = 12  # each holds a thread of those that answer everybody
RETRY_SECONDS = 10

_line = subprocesses.ConcurrencyLimit(
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
    order = Order(name=name, limit=limit, keep_limit=KEEP_FACTOR * limit, memory=MEMORY_BYTES, seconds=seconds)
    (folder / ORDER).write_text(json.dumps(asdict(order)), encoding="utf-8")
    with _line.slot(), _turn:
        code = _run(file, folder, WALL * seconds)
    return _answer(folder, code)


def _run(file: IO[bytes] | None, folder: Path, seconds: float) -> int | None:
    """The exit code; None where it took too long."""
    with (folder / LOG).open("wb") as log:
        process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.DEVNULL if file is None else file.fileno(),
            stdout=log,
            stderr=log,
            cwd=folder,
            env=environment(folder),
            start_new_session=True,
        )
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            subprocesses.end(process)


def _answer(folder: Path, code: int | None) -> dict[str, Any]:
    path = folder / ANSWER
    if code == 0 and path.is_file() and path.stat().st_size <= MAX_ANSWER_BYTES:
        answer: dict[str, Any] = json.loads(path.read_bytes())
        if refused := answer.get("refused"):
            kind = TooLarge if refused["status"] == TooLarge.status else InvalidRequest
            raise kind(refused["message"], code=refused["code"], param="file")
        return answer
    log = (folder / LOG).read_bytes()[-2_000:].decode(errors="replace")
    raise _failure(code, log)


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

"""Exchange with a child process: an order and an answer as files in its folder, and the end of the process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from adamss_core.fileio.exchange import read_answer, write_order
from service.shared.processes import subprocesses

LOG = "child.log"
LOG_BYTES = 2_000
MAX_ANSWER_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Reply:
    """End of a child process.

    Attributes:
        answer: None if the process wrote no valid answer.
        exit_code: None if the process ran out of time and was killed.
        log: end of the process's output.
    """

    answer: dict[str, Any] | None
    exit_code: int | None
    log: str


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module in a child process.

    -P keeps the current folder out of the child's path: a user's own `service.py` or `random.py` there must not be
    taken for ours or the standard library's.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def ask(
    command: list[str],
    order: Mapping[str, Any],
    folder: Path,
    *,
    seconds: float,
    environment: Mapping[str, str],
    limits: Mapping[int, int] | None = None,
    stdin: IO[bytes] | None = None,
) -> Reply:
    """Run a child process in `folder` until it has answered an order, and kill its whole session afterwards.

    Args:
        seconds: wall-clock limit.
        limits: resource limits by their number in `resource`.
        stdin: file that the child reads as its standard input.
    """
    write_order(folder, order)
    with (folder / LOG).open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL if stdin is None else stdin.fileno(),
            stdout=log,
            stderr=log,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        exit_code: int | None
        try:
            subprocesses.limit(process.pid, limits or {})
            exit_code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            exit_code = None
        finally:
            subprocesses.end(process)
    text = (folder / LOG).read_bytes()[-LOG_BYTES:].decode(errors="replace")
    return Reply(read_answer(folder, MAX_ANSWER_BYTES), exit_code, text)

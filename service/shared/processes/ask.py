"""Exchange with a child process: an order and an answer as files in its folder, and the end of the process."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from adamss_core.fileio.exchange import read_answer, write_order
from service.shared.processes.forkserver import ForkServer
from service.shared.processes.spawned_process import Launch, Process, SpawnedProcess, TimeoutExpired, end
from service.shared.processes.subprocesses import model_environment

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


def ask(
    start: list[str] | Callable[[Launch], Process],
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
        start: the command, or a function that starts the process.
        seconds: wall-clock limit.
        limits: resource limits by their number in `resource`.
        stdin: file that the child reads as its standard input.
    """
    write_order(folder, order)
    with (folder / LOG).open("wb") as log, Path(os.devnull).open("rb") as empty:
        given = (stdin or empty).fileno()
        launch = Launch(environment, given, log.fileno(), log.fileno(), folder, limits=limits or {})
        process = SpawnedProcess(start, launch) if isinstance(start, list) else start(launch)
        exit_code: int | None
        try:
            exit_code = process.wait(seconds)
        except TimeoutExpired:
            exit_code = None
        finally:
            end(process)
    text = (folder / LOG).read_bytes()[-LOG_BYTES:].decode(errors="replace")
    return Reply(read_answer(folder, MAX_ANSWER_BYTES), exit_code, text)


def ask_model_reader(
    forkserver: ForkServer,
    module: str,
    order: Mapping[str, Any],
    folder: Path,
    *,
    seconds: float,
    offline: bool,
    limits: Mapping[int, int],
    fetches: bool = False,
) -> Reply:
    """Run a module that reads a model's files, on one thread; see `ask` and `model_environment`."""
    environment = model_environment(offline=offline, fetches=fetches) | {"OMP_NUM_THREADS": "1"}
    return ask(forkserver.starter(module), order, folder, seconds=seconds, environment=environment, limits=limits)

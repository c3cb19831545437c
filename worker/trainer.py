"""The training process of one job: `python -m worker.trainer <job folder>`, started by the supervisor.

It reads the request from the job's folder and the database's address from its standard input, runs
`adamss_core.training`, publishes, and says in `outcome.json` how it ended.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic, sleep
from typing import Any, NoReturn

from sqlalchemy.exc import SQLAlchemyError

from adamss_core.errors import AdamssError
from adamss_core.failpoints import failpoint
from adamss_core.training.errors import Stopped, TrainingError
from adamss_core.training.request import RunRequest, RunResult
from service.shared.database.engine import Database, is_disk_full
from worker.metrics_file import metrics_file
from worker.outcome import DATABASE_LOST, DISK_FULL, DISK_FULL_STATUS, Failure, Outcome
from worker.publish import publish
from worker.reporter import Reporter
from worker.request import FILE as REQUEST

logger = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_DROP_SECONDS = 2.0  # for the last rows of a run that is dropped
_LOCK_SECONDS = 20.0
_YIELD_SECONDS = 3.0  # a process that still reports finds out within a second that its attempt is over


@dataclass(frozen=True)
class Orders:
    """The first line of the standard input."""

    database_url: str
    attempt: int
    lease_seconds: float
    home: Path


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    _die_with_parent()
    folder = Path(sys.argv[1])
    session = TrainingProcess(folder)
    return session.run()


class TrainingProcess:
    """Ties the core's run to signals, reports and the outcome file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._reporter: Reporter | None = None
        self._stop_asked = Event()
        self._dropped = False
        self._ending = Lock()
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._input = _Input()
        fields: dict[str, Any] = json.loads(self._input.first_line())
        self.orders = Orders(**fields | {"home": Path(fields["home"])})
        Thread(target=self._listen, name="parent", daemon=True).start()

    def run(self) -> int:
        db = Database(self.orders.database_url)
        try:
            with FolderLock(self.folder):
                self._finish(self._train(db))
        except FolderBusy as error:
            self._finish(self._outcome("failed", _failure("folder_busy", str(error), "It is tried again by itself.")))
        return 0

    def _train(self, db: Database) -> Outcome:
        request = RunRequest.from_json((self.folder / REQUEST).read_text())
        reporter = self._reporter = Reporter(
            db,
            request.job_id,
            self.orders.attempt,
            self.folder,
            lease_seconds=self.orders.lease_seconds,
            on_stale=_end_group,
        )
        if self._stop_asked.is_set():
            reporter.stopping.set()
        try:
            failpoint("loading")
            from adamss_core.training.run import run  # torch: only here, and only now

            result = run(request, reporter)
            return self._publish(db, request.job_id, result)
        except Stopped:
            return self._stopped()
        except Exception as error:
            logger.exception("the run failed")
            return self._failed(error)

    def _publish(self, db: Database, job_id: str, result: RunResult) -> Outcome:
        assert self._reporter is not None
        if not self._reporter.close(self.orders.lease_seconds):
            return self._stopped()
        failpoint("before_publish")
        deadline = monotonic() + self.orders.lease_seconds
        complete = False
        while True:
            try:
                if not complete:
                    measured = metrics_file(db, self.folder, job_id)
                    result, complete = replace(result, artifacts=[*result.artifacts, measured]), True
                won = publish(db, self.orders.home, job_id, self.orders.attempt, result)
            except SQLAlchemyError as error:
                if monotonic() > deadline:
                    return self._outcome("failed", DATABASE_LOST)
                logger.warning("the artifacts are published as soon as the database is back: %r", error)
                sleep(min(1.0, self.orders.lease_seconds / 10))
            else:
                return self._outcome("succeeded" if won else "stopped")

    def _stopped(self) -> Outcome:
        reporter = self._reporter
        assert reporter is not None
        lost = reporter.database_lost.is_set()
        written = reporter.close(_DROP_SECONDS if lost else self.orders.lease_seconds)
        if (lost or not written) and not self._stop_asked.is_set():
            return self._outcome("failed", DISK_FULL if reporter.disk_full else DATABASE_LOST)
        return self._outcome("stopped")

    def _failed(self, error: Exception) -> Outcome:
        failure, deterministic = describe(error)
        assert self._reporter is not None
        self._reporter.close(self.orders.lease_seconds)
        return self._outcome("failed", failure, deterministic)

    def _outcome(self, ended: Any, error: Failure | None = None, deterministic: bool = False) -> Outcome:
        return Outcome(self.orders.attempt, ended, error, deterministic)

    def _finish(self, outcome: Outcome) -> None:
        with self._ending:
            if self._dropped:
                return
            try:
                outcome.write(self.folder)
            except OSError as error:
                logger.exception("the outcome could not be written")
                os._exit(DISK_FULL_STATUS if is_disk_full(error) else 1)

    def _on_term(self, *_: object) -> None:
        self._stop_asked.set()
        reporter = self._reporter
        if reporter is None or not reporter.started.is_set():
            # Nothing was trained in this attempt: there is nothing to keep, and loading a model cannot be interrupted
            # by a flag. From a thread, as a signal handler must not wait for locks.
            Thread(target=self._drop, name="drop", daemon=True).start()
        else:
            reporter.stopping.set()

    def _listen(self) -> None:
        """Follows the parent's wishes; ends the process group when the parent is gone."""
        for line in self._input.lines():
            if json.loads(line).get("stop") == "drop":
                self._drop()
        _end_group()

    def _drop(self) -> NoReturn:
        """Ends the process here and now, keeping the rows it reported."""
        reporter = self._reporter
        if reporter is not None:
            reporter.close(_DROP_SECONDS)
        with self._ending:
            if Outcome.read(self.folder, self.orders.attempt) is None:
                self._outcome("stopped").write(self.folder)
            self._dropped = True
            os._exit(0)


def describe(error: Exception) -> tuple[Failure, bool]:
    """What to tell the user, and whether another try would end the same way."""
    if isinstance(error, TrainingError):
        return _failure(error.code, error.message, error.hint), error.deterministic
    if isinstance(error, AdamssError):
        return _failure(error.code, error.message, error.hint), True
    if isinstance(error, MemoryError):
        hint = "Use a smaller training.batch_size or training.max_length, or give the worker more memory."
        return _failure("out_of_memory", "The worker's memory ran out.", hint), False
    if is_disk_full(error):
        return DISK_FULL, False
    text = " ".join(str(error).split())[:500]
    failure = _failure(
        "internal_error",
        f"The run broke off with an unexpected {type(error).__name__}{': ' + text if text else ''}.",
        "The job's log has the details. If the spec and the data look right, this is a fault of the service.",
    )
    # The machine's own errors pass; a ValueError will be the same next time. torch reports a lost GPU as RuntimeError.
    return failure, not isinstance(error, OSError | RuntimeError)


class FolderBusy(Exception):
    """Another attempt's process still runs in the job's folder."""


class FolderLock:
    """One training process at a time in a job's folder.

    An attempt that lost its lease while its worker was frozen may still be writing checkpoints when the next one
    begins. It finds out with its next report and ends; the new attempt waits for that, and ends a process that is
    frozen itself.
    """

    def __init__(self, folder: Path, timeout: float = _LOCK_SECONDS) -> None:
        self._folder, self._timeout = folder, timeout

    def __enter__(self) -> None:
        self._handle = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        begin = monotonic()
        while not self._taken():
            waited = monotonic() - begin
            if waited > self._timeout:
                raise FolderBusy("The training process of an earlier attempt is still at work in the job's folder.")
            if waited > _YIELD_SECONDS:
                self._end_holder()
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

    def _end_holder(self) -> None:
        """The holder's number is only believed where that process is a training process of this very folder."""
        try:
            pid = int(os.pread(self._handle, 20, 0))
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return
        if b"worker.trainer" in words and os.fsencode(self._folder) in words:
            logger.warning("ending process %d, which an earlier attempt left behind", pid)
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


class _Input:
    """Lines of the standard input, read without Python's buffer, whose lock a daemon thread would hold at exit."""

    def __init__(self) -> None:
        self._handle = os.dup(0)  # not inherited; what the run starts gets an empty input
        with Path(os.devnull).open("rb") as empty:
            os.dup2(empty.fileno(), 0)
        self._rest = b""

    def first_line(self) -> bytes:
        line = self._next()
        if line is None:
            _end_group()
        return line

    def lines(self) -> Iterator[bytes]:
        while (line := self._next()) is not None:
            yield line

    def _next(self) -> bytes | None:
        while b"\n" not in self._rest:
            part = os.read(self._handle, 65_536)
            if not part:
                return None
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\n")
        return line


def _die_with_parent() -> None:
    """On Linux the kernel ends this process with the thread that started it, which waits for it to end."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _end_group() -> NoReturn:
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _failure(code: str, message: str, hint: str) -> Failure:
    return {"code": code, "message": message, "hint": hint}


if __name__ == "__main__":
    sys.exit(main())

"""Supervises one attempt of one job: its training process, its lease, and what is asked of it meanwhile."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from random import uniform
from shutil import disk_usage
from threading import Event
from time import monotonic, sleep

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from adamss_core.failpoints import failpoint
from adamss_core.fileio.atomic import write_atomically
from service.shared.database.engine import Database, is_disk_full
from service.shared.database.tables import Job, JobStatus
from service.shared.jobs import states
from service.shared.settings import Settings
from worker.child import LOG, Child, child_environment
from worker.outcome import DISK_FULL, FILE, STALLED, TIME_LIMIT, Failure, Outcome, from_exit, is_repeated, repeated
from worker.reporter import ALIVE, STEP
from worker.request import FILE as REQUEST
from worker.request import build_request, job_folder, needed_bytes

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0  # how often it looks for a cancel or pause
DROP_GRACE_SECONDS = 5.0  # for a process whose work is thrown away: time enough to write its last rows


class Reason(StrEnum):
    """Why a training process is ended before it is done."""

    SHUTDOWN = "shutdown"  # the worker is being stopped
    PAUSE = "pause"
    TIME_LIMIT = "time_limit"
    DATABASE = "database"  # the lease could not be renewed for as long as it lasts
    STALLED = "stalled"
    CANCEL = "cancel"
    LOST = "lost"  # the job is another attempt's by now
    DONE = "done"  # it has published; only its exit is awaited


# The work of these is thrown away, whatever else was asked before.
_DROPPING = (Reason.CANCEL, Reason.LOST)
_ASKED = {
    JobStatus.RUNNING: None,
    JobStatus.PAUSING: Reason.PAUSE,
    JobStatus.CANCELLING: Reason.CANCEL,
    JobStatus.SUCCEEDED: Reason.DONE,
}
_SHORT = (*_DROPPING, Reason.STALLED, Reason.DONE)


class Supervisor:
    """One attempt.

    Args:
        job: the row as it was claimed.
        claimed_at: monotonic time before the claim, from which the lease counts.
        device: index of the GPU for this job, where the worker has several.
    """

    def __init__(self, settings: Settings, db: Database, job: Job, claimed_at: float, device: str | None) -> None:
        self._settings, self._db, self._job, self._device = settings, db, job, device
        self._folder = job_folder(settings, job.id)
        self._wake = Event()
        self._shutdown = Event()
        self._reason: Reason | None = None
        self._kill_at = float("inf")
        self._leased_until = claimed_at + settings.lease_seconds
        self._beat_at = claimed_at + settings.heartbeat_seconds

    def shut_down(self) -> None:
        """From any thread or signal handler: write a checkpoint and give the job back."""
        self._shutdown.set()
        self._wake.set()

    def run(self) -> None:
        """Returns when the attempt has ended and the job's row says so."""
        try:
            child = self._start()
        except ValidationError as error:
            logger.exception("the job's spec cannot be read")
            bad_spec = _bad_spec(error)
            self._settle(lambda session: self._fail(session, bad_spec))
            return
        except OSError as error:
            logger.exception("the training process cannot be started")
            no_start = _no_start(error)
            self._settle(lambda session: self._retry(session, no_start))
            return
        try:
            self._watch(child)
        finally:
            child.close()
        self._conclude(child.returncode or 0)

    def _start(self) -> Child:
        failpoint("after_claim")
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / FILE).unlink(missing_ok=True)
        self._require_space()
        request = build_request(self._job, self._settings)
        write_atomically({self._folder / REQUEST: request.to_json().encode()})
        with (self._folder / LOG).open("a") as log:
            log.write(f"--- attempt {self._job.attempt} on {self._job.worker}\n")
        (self._folder / ALIVE).touch()
        orders = {
            "database_url": self._settings.resolved_database_url,
            "attempt": self._job.attempt,
            "lease_seconds": self._settings.lease_seconds,
            "home": str(self._settings.resolved_home),
        }
        child = Child(self._folder, orders, child_environment(dict(os.environ), self._device), self._wake.set)
        logger.info("attempt %d of %s runs as process %d", self._job.attempt, self._job.id, child.pid)
        return child

    def _require_space(self) -> None:
        needed, free = needed_bytes(self._job, self._settings), disk_usage(self._folder).free
        if free < needed:
            raise OSError(
                errno.ENOSPC, f"the run needs about {needed / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free"
            )

    def _watch(self, child: Child) -> None:
        begun = monotonic()
        pulse = _Pulse(self._folder / ALIVE)
        tick = min(LOOK_SECONDS, self._settings.heartbeat_seconds / 2)
        while child.returncode is None:
            if self._shutdown.is_set():
                self._end(child, Reason.SHUTDOWN)
            if asked := self._look():
                self._end(child, asked)
            if monotonic() > begun + self._settings.job_time_limit_seconds:
                self._end(child, Reason.TIME_LIMIT)
            if pulse.silent_for() > self._settings.stall_seconds:
                self._end(child, Reason.STALLED)
            if monotonic() > self._kill_at:
                child.kill()
                self._kill_at = monotonic() + tick
            self._wake.wait(max(0.0, min(tick, self._kill_at - monotonic())))
            self._wake.clear()

    def _look(self) -> Reason | None:
        """Renews the lease when it is time to, and tells what the row asks for."""
        moment = monotonic()
        try:
            if moment >= self._beat_at:
                with self._db.write() as session:
                    status = states.renew(session, self._job.id, self._job.attempt, self._settings.lease_seconds)
                if status is not None:
                    self._leased_until = moment + self._settings.lease_seconds
                self._beat_at = moment + self._settings.heartbeat_seconds
            else:
                status = self._read_status()
            if status is None:
                return Reason.DONE if self._read_status() is JobStatus.SUCCEEDED else Reason.LOST
        except SQLAlchemyError as error:
            logger.warning("the database does not answer: %r", error)
            return Reason.DATABASE if monotonic() > self._leased_until else None
        return _ASKED.get(status, Reason.LOST)

    def _read_status(self) -> JobStatus | None:
        """None where the job is another attempt's."""
        with self._db.read() as session:
            mine = select(Job.status).where(Job.id == self._job.id, Job.attempt == self._job.attempt)
            return session.execute(mine).scalar_one_or_none()

    def _end(self, child: Child, reason: Reason) -> None:
        """Asks the process to stop; only a stronger reason replaces the first one."""
        if self._reason is not None and not (reason in _DROPPING and self._reason not in _DROPPING):
            return
        logger.info("ending process %d of %s: %s", child.pid, self._job.id, reason)
        self._reason = reason
        grace = DROP_GRACE_SECONDS if reason in _SHORT else self._settings.shutdown_grace_seconds
        self._kill_at = min(self._kill_at, monotonic() + grace)
        if reason is not Reason.DONE:
            child.stop(keep=reason not in _DROPPING)

    def _conclude(self, returncode: int) -> None:
        """Writes to the job's row how the attempt ended."""
        outcome = Outcome.read(self._folder, self._job.attempt)
        logger.info("%s ended: %s, status %d, %s", self._job.id, self._reason, returncode, outcome)
        if self._reason in (Reason.LOST, Reason.DONE) or (outcome is not None and outcome.ended == "succeeded"):
            return  # the row has another owner, or was ended together with publishing
        self._settle(lambda session: self._record(session, outcome, returncode))

    def _record(self, session: Session, outcome: Outcome | None, returncode: int) -> None:
        failed = outcome is not None and outcome.ended == "failed"
        error = (outcome.error if outcome else None) or from_exit(returncode, self._folder / LOG)
        if failed and outcome is not None and outcome.deterministic:
            self._fail(session, error)
        elif self._reason is Reason.TIME_LIMIT:
            self._fail(session, TIME_LIMIT)
        elif self._reason is Reason.STALLED:
            self._retry(session, STALLED)
        elif self._reason is not None:  # asked of it, not its fault, however it came to its end
            states.give_back(session, self._job.id, self._job.attempt, charge=False)
        elif outcome is not None and outcome.ended == "stopped":
            # SIGTERM came to the training process itself: its machine is being taken away, and this one told soon.
            states.give_back(session, self._job.id, self._job.attempt, charge=False)
        else:
            self._retry(session, error)

    def _fail(self, session: Session, error: Failure) -> None:
        states.fail(session, self._job.id, self._job.attempt, dict(error))

    def _retry(self, session: Session, error: Failure) -> None:
        """Another attempt after a while, unless it would only meet the same end."""
        step = self._last_step()
        if is_repeated(states.last_charged(session, self._job.id), error, step):
            self._fail(session, repeated(error, step))
            return
        longest = min(self._settings.heartbeat_seconds * 2**self._job.failures, self._settings.lease_seconds)
        delay = longest * uniform(0.5, 1.0)  # jobs that fell together, as with a machine, do not come back together
        states.give_back(
            session, self._job.id, self._job.attempt, charge=True, error=dict(error), delay=delay, step=step
        )

    def _last_step(self) -> int | None:
        """Of this attempt; None where it made none."""
        try:
            attempt, step = (self._folder / STEP).read_text().split()
        except (OSError, ValueError):
            return None
        return int(step) if int(attempt) == self._job.attempt else None

    def _settle(self, write: Callable[[Session], None]) -> None:
        """Writes how it ended, through an outage; past it the expired lease gives the job back."""
        deadline = monotonic() + 2 * self._settings.lease_seconds
        while True:
            try:
                with self._db.write() as session:
                    write(session)
            except SQLAlchemyError as error:
                if monotonic() > deadline:
                    logger.exception("how %s ended could not be written", self._job.id)
                    return
                logger.warning("how %s ended is written when the database is back: %r", self._job.id, error)
                sleep(min(1.0, self._settings.heartbeat_seconds))
            else:
                return


class _Pulse:
    """How long ago a file was last touched, by the steady clock: the wall clock may jump."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = self._time()
        self._changed_at = monotonic()

    def silent_for(self) -> float:
        time = self._time()
        if time != self._seen:
            self._seen, self._changed_at = time, monotonic()
        return monotonic() - self._changed_at

    def _time(self) -> int:
        with suppress(OSError):
            return self._path.stat().st_mtime_ns
        return 0


def _bad_spec(error: ValidationError) -> Failure:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return {
        "code": "invalid_spec",
        "message": f"The job's spec cannot be read by this worker: {where}: {first['msg']}",
        "hint": "Worker and API may be of different versions. Submit the job again.",
    }


def _no_start(error: OSError) -> Failure:
    if is_disk_full(error):
        return {**DISK_FULL, "message": f"There is too little room on the disk: {error.strerror}."}
    return {
        "code": "start_failed",
        "message": f"The training process could not be started: {error.strerror or type(error).__name__}.",
        "hint": "Look at the disk space and the rights of the home folder on the worker's machine.",
    }

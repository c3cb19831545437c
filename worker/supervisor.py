"""Supervise one attempt of a job: start its training process, renew its lease, pass on requests, record its end."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from enum import StrEnum
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
from adamss_core.spec import SPEC_VERSION, JobSpec
from adamss_core.training.request import RunRequest
from service.shared.database.engine import Database
from service.shared.database.tables import Job, JobStatus
from service.shared.errors import ServiceError
from service.shared.jobs import states
from service.shared.processes.background_call import BackgroundCall
from service.shared.processes.environment import for_store
from service.shared.processes.forkserver import ForkServer
from service.shared.processes.spawned_process import Launch, Process, SpawnedProcess, python
from service.shared.settings import Settings
from service.shared.storage.host_files import HostFiles
from service.shared.storage.store_errors import StorageUnavailable
from worker.child import TRAINING, TrainingChild, child_environment
from worker.device_locks import HeldDevices
from worker.devices import unfit
from worker.failures import (
    RANK_LOST,
    STALLED,
    STORAGE_UNAVAILABLE,
    TIME_LIMIT,
    Failure,
    from_error,
    from_exit,
    from_failed_start,
    from_unreadable_spec,
)
from worker.heartbeat import HeartbeatMonitor, last_step
from worker.hub_fetch import must_fetch, start_fetch
from worker.job_inputs import fetch_inputs
from worker.job_uploads import JobUploads
from worker.outcome import Outcome, is_repeated, repeated
from worker.rank_launch import launch_command
from worker.request import build_request, needed_bytes

logger = logging.getLogger(__name__)

FETCH_LOOK_SECONDS = 0.2
LOOK_SECONDS = 1.0  # between two looks for a cancel or pause
DROP_GRACE_SECONDS = 5.0  # for a process whose work is dropped to write its last rows


class StopReason(StrEnum):
    """Why a training process is ended before it is done."""

    SHUTDOWN = "shutdown"  # the worker is being stopped
    PAUSE = "pause"
    PREEMPTED = "preempted"  # a job of a higher priority takes the devices
    TIME_LIMIT = "time_limit"
    DATABASE = "database"  # the lease could not be renewed for as long as it lasts
    STALLED = "stalled"
    CANCEL = "cancel"
    LOST = "lost"  # another attempt owns the job
    DONE = "done"  # its row has ended; only its exit is awaited


# For these the work is dropped, even after another reason asked for a checkpoint.
_DROPPING = (StopReason.CANCEL, StopReason.LOST)
_REQUESTED = {
    JobStatus.RUNNING: None,
    JobStatus.PAUSING: StopReason.PAUSE,
    JobStatus.CANCELLING: StopReason.CANCEL,
    JobStatus.SUCCEEDED: StopReason.DONE,
    JobStatus.FAILED: StopReason.DONE,  # as at its limit of time: what it has written is still uploaded
}
_SHORT = (*_DROPPING, StopReason.STALLED, StopReason.DONE)


class Supervisor:
    """Run one attempt of a job.

    Args:
        job: the row as it was claimed.
        claimed_at: monotonic time before the claim, from which the lease counts.
        held: the devices for this job.
        files: of this host.
    """

    def __init__(
        self,
        settings: Settings,
        db: Database,
        forkserver: ForkServer,
        job: Job,
        claimed_at: float,
        held: HeldDevices,
        files: HostFiles,
    ) -> None:
        self._settings, self._db, self._forkserver, self._job, self._held = settings, db, forkserver, job, held
        self._files, self._folder = files, settings.files.job(job.id)
        # Jobs that train nothing gain nothing by several.
        self._ranks = len(held.devices) if job.evaluates is None and job.inspects is None else 1
        self._wake = Event()
        self._shutdown = Event()
        self._reason: StopReason | None = None
        self._makes_room = False  # for a job of a higher priority
        self._kill_at = float("inf")
        self._leased_until = claimed_at + settings.lease_seconds
        self._beat_at = claimed_at + settings.heartbeat_seconds

    def shut_down(self) -> None:
        """Ask for a checkpoint and give the job back; safe in any thread or signal handler."""
        self._shutdown.set()
        self._wake.set()

    def run(self) -> None:
        """Run the attempt; return when it has ended and the job's row says so."""
        if (problem := unfit(self._held.devices)) is not None:
            self._settle(lambda session: self._fail(session, problem))
            return
        try:
            request = self._prepare()
            if not self._fetch_inputs(request):
                return
            fetches = must_fetch(request)
            if fetches and not self._completes(start_fetch(self._db, self._job, request, self._folder, self._wake.set)):
                return
            child = self._start(request, offline=fetches)
        except ValidationError as error:
            logger.exception("the job's spec cannot be read")
            failure = from_unreadable_spec(error)
            self._settle(lambda session: self._fail(session, failure))
            return
        except StorageUnavailable as error:
            logger.warning("the job waits for its files: %s", error)
            failure = from_error(error)[0]
            self._settle(lambda session: self._wait_for_store(session, failure))
            return
        except (OSError, ServiceError) as error:
            logger.exception("the training process cannot be started")
            failure = from_failed_start(error) if isinstance(error, OSError) else from_error(error)[0]
            self._settle(lambda session: self._retry(session, failure))
            return
        self._uploads.start()
        self._completes(child, conclude=True)

    def _fetch_inputs(self, request: RunRequest) -> bool:
        """Fetch what this host lacks, while the lease is renewed; tell whether the attempt goes on.

        Raises:
            StorageUnavailable, StoredFileGone, StoredFileDamaged: something cannot be fetched.
        """
        if self._files.store is None:
            return True
        home = self._settings.files
        fetch = BackgroundCall(lambda: fetch_inputs(self._files, home, self._db, self._job, request))
        while not fetch.wait(FETCH_LOOK_SECONDS):
            if not self._may_wait():
                break
        if self._reason is None:
            fetch.result()
        elif self._reason is not StopReason.LOST:
            self._settle(self._give_back)
        return self._reason is None

    def _may_wait(self) -> bool:
        """Renew the lease; return False where the attempt is to end."""
        requested = StopReason.SHUTDOWN if self._shutdown.is_set() else self._look()
        self._reason = self._reason or requested
        return self._reason is None

    def _finish_uploads(self) -> None:
        """Upload the last checkpoint and the end of the log, before another host may claim the job."""
        grace = DROP_GRACE_SECONDS if self._reason in _SHORT else self._settings.shutdown_grace_seconds
        deadline = monotonic() + grace
        self._uploads.finish(lambda: monotonic() < deadline and self._look() is not StopReason.LOST)

    def _completes(self, child: TrainingChild, *, conclude: bool = False) -> bool:
        """Watch a process to its end; record that end if it is the attempt's, and tell whether the attempt goes on."""
        try:
            self._watch(child)
        finally:
            child.close()
        if conclude:
            self._finish_uploads()
        ended = conclude or self._reason is not None or child.returncode != 0
        if ended:
            self._conclude(child.returncode or 0)
        return not ended

    def _prepare(self) -> RunRequest:
        """Write the request into the job's folder."""
        failpoint("after_claim")
        self._folder.path.mkdir(parents=True, exist_ok=True)
        self._folder.outcome.unlink(missing_ok=True)
        self._folder.decompositions.unlink(missing_ok=True)
        self._require_space()
        request = build_request(self._db, self._job, self._settings)
        write_atomically({self._folder.request: request.to_json().encode()})
        with self._folder.log.open("a") as log:
            begin = log.tell()
            self._uploads = JobUploads(self._files, self._settings.files, self._db, self._job, begin)
            log.write(f"--- attempt {self._job.attempt} on {self._job.worker}\n")
        return request

    def _start(self, request: RunRequest, *, offline: bool) -> TrainingChild:
        start_message = {
            "database_url": self._settings.resolved_database_url,
            "attempt": self._job.attempt,
            "lease_seconds": self._settings.lease_seconds,
            "home": str(self._settings.resolved_home),
            "project_id": self._job.project_id,
            "storage_url": self._settings.storage_url,
            "storage_environment": for_store(os.environ),
            "storage_wait_seconds": self._settings.stall_seconds / 2,  # or the silent process would be ended
            "memory_share": self._held.memory_share,
        }
        environment = child_environment(dict(os.environ), self._held.visible, self._ranks) | (
            {"HF_HUB_OFFLINE": "1"} if offline else {}
        )
        start = self._starter(request.spec)
        launcher = self._ranks > 1
        child = TrainingChild(start, self._folder, start_message, environment, self._wake.set, launcher=launcher)
        logger.info("attempt %d of %s begins", self._job.attempt, self._job.id)
        return child

    def _starter(self, spec: JobSpec) -> Callable[[Launch], Process]:
        """Fork the training process, but start it anew for a quantised base: bitsandbytes must come before peft.

        For several devices start the launcher of their ranks."""
        lean = spec.training.quantization is None
        if self._ranks > 1:
            command = launch_command(TRAINING, self._folder.path, self._ranks, lean=lean)
            return lambda launch: SpawnedProcess(command, launch)
        arguments = [str(self._folder.path)]
        if lean:
            return self._forkserver.starter(TRAINING, *arguments)
        return lambda launch: SpawnedProcess(python(TRAINING, *arguments), launch)

    def _require_space(self) -> None:
        needed, free = needed_bytes(self._job, self._settings), disk_usage(self._folder.path).free
        if free < needed:
            raise OSError(
                errno.ENOSPC, f"the run needs about {needed / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free"
            )

    def _watch(self, child: TrainingChild) -> None:
        begun = monotonic()
        # The run itself ends its training at the limit; this is for what it does besides, or fails to do. Contenders
        # of a comparison make as many steps each.
        contenders = len((self._job.resolved.get("spec") or {}).get("compare") or ())
        longest = (2 + contenders) * self._settings.job_time_limit_seconds + self._settings.stall_seconds
        heartbeat = HeartbeatMonitor(self._folder)
        tick = min(LOOK_SECONDS, self._settings.heartbeat_seconds / 2)
        while child.returncode is None:
            if self._shutdown.is_set():
                self._end(child, StopReason.SHUTDOWN)
            if requested := self._look():
                self._end(child, requested)
            if monotonic() > begun + longest:
                self._end(child, StopReason.TIME_LIMIT)
            if heartbeat.silent_for() > self._settings.stall_seconds:
                self._end(child, StopReason.STALLED)
            if monotonic() > self._kill_at:
                child.kill()
                self._kill_at = monotonic() + tick
            self._wake.wait(max(0.0, min(tick, self._kill_at - monotonic())))
            self._wake.clear()

    def _look(self) -> StopReason | None:
        """Renew the lease when it is due; return the reason to stop that the job's row gives."""
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
                ended = self._read_status() in (JobStatus.SUCCEEDED, JobStatus.FAILED)
                return StopReason.DONE if ended else StopReason.LOST
        except SQLAlchemyError as error:
            logger.warning("the database does not answer: %r", error)
            return StopReason.DATABASE if monotonic() > self._leased_until else None
        return _REQUESTED.get(status, StopReason.LOST) or (StopReason.PREEMPTED if self._makes_room else None)

    def _read_status(self) -> JobStatus | None:
        """Return the job's status; None if another attempt owns the job."""
        with self._db.read() as session:
            own = select(Job.status, Job.preempted_by).where(Job.id == self._job.id, Job.attempt == self._job.attempt)
            row = session.execute(own).one_or_none()
        self._makes_room = row is not None and row.preempted_by is not None
        return None if row is None else row.status

    def _end(self, child: TrainingChild, reason: StopReason) -> None:
        """Ask the process to stop; only a reason to drop its work replaces an earlier reason."""
        if self._reason is not None and not (reason in _DROPPING and self._reason not in _DROPPING):
            return
        logger.info("ending process %s of %s: %s", child.pid, self._job.id, reason)
        self._reason = reason
        grace = DROP_GRACE_SECONDS if reason in _SHORT else self._settings.shutdown_grace_seconds
        self._kill_at = min(self._kill_at, monotonic() + grace)
        if reason is not StopReason.DONE:
            child.stop(keep=reason not in _DROPPING)

    def _conclude(self, returncode: int) -> None:
        """Record the end of the attempt in the job's row, unless the row has it already."""
        outcome = Outcome.read(self._folder, self._job.attempt)
        logger.info("%s ended: %s, status %d, %s", self._job.id, self._reason, returncode, outcome)
        if self._reason in (StopReason.LOST, StopReason.DONE) or (outcome is not None and outcome.ended == "succeeded"):
            return  # another attempt owns the row, or the job ended together with publishing
        self._settle(lambda session: self._record(session, outcome, returncode))

    def _record(self, session: Session, outcome: Outcome | None, returncode: int) -> None:
        failed = outcome is not None and outcome.ended == "failed"
        error = (outcome.error if outcome else None) or self._exit_error(returncode)
        if failed and outcome is not None and outcome.deterministic:
            self._fail(session, error)
        elif failed and error["code"] == STORAGE_UNAVAILABLE:
            self._wait_for_store(session, error)
        elif failed and error["code"] == "checkpoint_format":
            self._leave_to_later(session, error)
        elif self._reason is StopReason.TIME_LIMIT:
            self._fail(session, TIME_LIMIT)
        elif self._reason is StopReason.STALLED:
            self._retry(session, STALLED)
        elif self._reason is not None:  # the end was requested: no fault of the process, whatever its exit status
            self._give_back(session)
        elif outcome is not None and outcome.ended == "stopped":
            # The training process itself got SIGTERM: its machine is being shut down, and this process is next.
            self._give_back(session)
        else:
            self._retry(session, error)

    def _exit_error(self, returncode: int) -> Failure:
        """Describe an end that the process left no word of; the launcher's status says nothing of its ranks."""
        return RANK_LOST if self._ranks > 1 and returncode > 0 else from_exit(returncode, self._folder.log)

    def _give_back(self, session: Session) -> None:
        states.give_back(session, self._job.id, self._job.attempt, charge=False)

    def _wait_for_store(self, session: Session, error: Failure) -> None:
        """Give the job back uncharged: nothing of it caused this, and another host may reach the store."""
        delay = self._settings.heartbeat_seconds * uniform(0.5, 1.0)
        states.give_back(session, self._job.id, self._job.attempt, charge=False, error=dict(error), delay=delay)

    def _fail(self, session: Session, error: Failure) -> None:
        states.fail(session, self._job.id, self._job.attempt, dict(error))

    def _leave_to_later(self, session: Session, error: Failure) -> None:
        """Give back a job whose checkpoint a later release has written; workers like this one leave it alone."""
        later = SPEC_VERSION + 1
        states.give_back(session, self._job.id, self._job.attempt, charge=False, error=dict(error), spec_version=later)

    def _retry(self, session: Session, error: Failure) -> None:
        """Queue another attempt after a delay, unless it would only fail in the same way."""
        step = last_step(self._folder, self._job.attempt)
        if is_repeated(states.last_charged(session, self._job.id), error, step):
            self._fail(session, repeated(error, step))
            return
        longest = min(self._settings.heartbeat_seconds * 2**self._job.failures, self._settings.lease_seconds)
        delay = longest * uniform(0.5, 1.0)  # jobs that failed together, as with a machine, are spread out
        states.give_back(
            session, self._job.id, self._job.attempt, charge=True, error=dict(error), delay=delay, step=step
        )

    def _settle(self, write: Callable[[Session], None]) -> None:
        """Write to the job's row, also after an outage; after a longer one the expired lease gives the job back."""
        deadline = monotonic() + 2 * self._settings.lease_seconds
        while True:
            try:
                with self._db.write() as session:
                    write(session)
            except SQLAlchemyError as error:
                if monotonic() > deadline:
                    logger.exception("the end of %s could not be recorded", self._job.id)
                    return
                logger.warning("the end of %s is recorded when the database is back: %r", self._job.id, error)
                sleep(min(1.0, self._settings.heartbeat_seconds))
            else:
                return

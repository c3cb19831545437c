"""Run jobs on a hint that one may be waiting: the only Celery task. The jobs' rows decide which one runs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from random import uniform
from socket import gethostname
from threading import Event, Lock, Thread, current_thread
from time import monotonic, sleep

from celery import Celery
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from adamss_core.failpoints import failpoint
from service.shared.database.engine import Database
from service.shared.database.tables import Job
from service.shared.jobs import device_rows, kept_places, states
from service.shared.jobs.kept_places import Places
from service.shared.jobs.queue import RUN_JOB
from service.shared.jobs.states.fitting import Fit
from service.shared.processes.forkserver import ForkServer
from service.shared.settings import Settings
from service.shared.storage.host_files import HostFiles
from worker.device_locks import DeviceLocks, HeldDevices
from worker.supervisor import Supervisor
from worker.tracker_copy import TrackerCopies

logger = logging.getLogger(__name__)

CLAIMS = 100  # tries to claim a job; each is lost to faster workers
BUSY_SECONDS = 0.05  # longest pause after a lost try


@dataclass(frozen=True)
class Candidate:
    """A job to claim, and the places by which it was found, with what fits them."""

    job_id: str
    places: Places
    fit: Fit


class Runner:
    """Claim jobs and supervise them, `worker_concurrency` at a time, one thread each.

    Args:
        devices: of the worker; each running job has as many of its own as it asks for.
        host_files: of the home folder; default: without a store.
    """

    def __init__(
        self,
        settings: Settings,
        db: Database,
        worker_id: str,
        devices: DeviceLocks,
        forkserver: ForkServer,
        host_files: HostFiles | None = None,
    ) -> None:
        self._host_files = host_files or HostFiles(settings.files, db, None)
        self._settings, self._db, self._worker_id, self._forkserver = settings, db, worker_id, forkserver
        self._devices = devices
        self._copies = TrackerCopies(settings, db)
        self._running: dict[str, Supervisor] = {}
        self._threads: set[Thread] = set()
        self._starting = Lock()
        self._begun, self._stopping = Event(), Event()
        self.on_done: Callable[[], None] = lambda: None

    def free(self) -> int:
        """Return how many more jobs could begin."""
        if not self._begun.is_set() or self._stopping.is_set():
            return 0
        return self._settings.worker_concurrency - len(self._threads)

    def begin(self) -> None:
        """Let jobs start, now that a signal to stop would leave them checkpointed."""
        self._begun.set()
        self.on_done()

    def start(self, job_id: str) -> None:
        """Call `run` in a thread and return at once; do nothing where no more jobs could begin."""
        with self._starting:
            if self.free() <= 0:
                logger.info("nothing to do for %s while no more jobs could begin", job_id)
            else:
                thread = Thread(target=self._run_in_thread, args=(job_id,), name=f"run-{job_id}")
                self._threads.add(thread)
                thread.start()

    def wait(self) -> None:
        """Wait for the running jobs, and for some seconds for the copies of their numbers."""
        for thread in tuple(self._threads):
            thread.join()
        self._copies.close()

    def _run_in_thread(self, job_id: str) -> None:
        ran = False
        try:
            ran = self.run(job_id)
        except Exception:
            logger.exception("supervising a job failed; its lease will expire")
        finally:
            self._threads.discard(current_thread())
        if ran:  # or a job that cannot be claimed would be tried again without a pause
            self.on_done()

    def run(self, job_id: str) -> bool:
        """Run the job whose turn it is; return whether there was one, when the attempt has ended.

        Args:
            job_id: the job that the hint names. Another one may run: a hint only says that some job waits, and may be
                outdated. A worker that ignored outdated hints would leave jobs waiting behind a queue of them, of which
                a restarted broker may be full.
        """
        for _ in range(CLAIMS):
            if self._stopping.is_set():
                break
            failpoint("before_claim")
            claimed_at = monotonic()
            try:
                candidate = self._candidate()
                claimed = None if candidate is None else self._claim(candidate)
            except SQLAlchemyError as error:
                logger.warning("nothing was claimed for %s, the sweeper will try again: %r", job_id, error)
                return False
            if candidate is None:
                break
            if claimed is not None:
                job, held = claimed
                self._supervise(job, claimed_at, held)
                return True
            sleep(uniform(0, BUSY_SECONDS))  # the others' claims are about to end
        logger.info("nothing to do for %s", job_id)
        return False

    def _candidate(self) -> Candidate | None:
        """Return the job whose turn it is, without a transaction that keeps others from writing."""
        places = self._places()
        if not places.free:
            return None
        with self._db.read() as session:
            fit = kept_places.fits_now(session, places)
            job_id = states.next_in_turn(session, places.running_jobs, gethostname(), fit)
        return None if job_id is None else Candidate(job_id, places, fit)

    def _claim(self, candidate: Candidate) -> tuple[Job, HeldDevices] | None:
        """Choose a job, lock devices and claim it, all in one transaction; None where others were faster.

        Args:
            candidate: the job whose turn it was a moment ago; only an equal or a higher priority is claimed.
        """
        held = job = None
        limit = candidate.places.running_jobs
        try:
            with self._db.write() as session:
                job_id = states.next_in_turn(session, limit, fit=candidate.fit, lock_as=candidate.job_id)
                held = None if job_id is None else self._take(session, candidate, job_id)
                if job_id is not None and held is not None:
                    lease = self._settings.lease_seconds
                    job = states.claim(session, job_id, self._worker_id, lease, limit, held.keys, held.share)
        except BaseException:
            job = None
            raise
        finally:
            if job is None and held is not None:
                held.close()
        return None if job is None or held is None else (job, held)

    def _places(self) -> Places:
        limit, live = self._settings.project_running_jobs, self._settings.lease_seconds
        return Places(self._worker_id, self._devices.states(), limit, live)

    def _take(self, session: Session, candidate: Candidate, job_id: str) -> HeldDevices | None:
        """Lock the devices for a job before the claim; where another job was faster, put their rows right."""
        needs = states.needs_of(session, job_id)
        chosen = None if needs is None else candidate.fit.devices_for(candidate.places.free, needs)
        held = None
        if needs is not None and chosen is not None:
            names, share = [device.name for device in chosen], states.share_of(chosen[0], needs)
            held = self._devices.take(names, job_id, share)
        if held is None:
            device_rows.correct(session, self._worker_id, self._devices.states())
        return held

    def give_back_all(self) -> None:
        """Have all running jobs write a checkpoint and wait for another worker."""
        for supervisor in tuple(self._running.values()):
            supervisor.shut_down()

    def stop(self) -> None:
        """Stop all jobs with a checkpoint; safe in a signal handler, and when repeated."""
        self._stopping.set()
        self.give_back_all()

    def _supervise(self, job: Job, claimed_at: float, held: HeldDevices) -> None:
        try:
            files = self._host_files
            supervisor = Supervisor(self._settings, self._db, self._forkserver, job, claimed_at, held, files)
            self._running[job.id] = supervisor
            if self._stopping.is_set():  # set between the claim and the line above
                supervisor.shut_down()
            with self._copies.of(job):
                supervisor.run()
        finally:
            self._running.pop(job.id, None)
            held.close()
            self._write_free(held)

    def _write_free(self, held: HeldDevices) -> None:
        """Write down that the devices are free; where that fails, the next sweep does."""
        with suppress(SQLAlchemyError), self._db.write() as session:
            device_rows.release(session, held.keys, held.job_id)


def register(app: Celery, runner: Runner) -> None:
    """Make `adamss.run_job` the only task that a message can name."""
    app.task(runner.start, name=RUN_JOB, ignore_result=True)
    app.finalize()
    for name in [name for name in app.tasks if name != RUN_JOB]:
        app.tasks.unregister(name)

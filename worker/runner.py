"""Run jobs on a hint that one may be waiting: the only Celery task. The jobs' rows decide which one runs."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from threading import Event
from time import monotonic

from celery import Celery
from sqlalchemy.exc import SQLAlchemyError

from adamss_core.failpoints import failpoint
from service.shared.database.engine import Database
from service.shared.database.tables import Job
from service.shared.ids import ALPHABET, LENGTH
from service.shared.jobs import states
from service.shared.jobs.queue import RUN_JOB
from service.shared.processes.forkserver import ForkServer
from service.shared.settings import Settings
from worker.devices import Gpus
from worker.supervisor import Supervisor

logger = logging.getLogger(__name__)

CLAIMS = 100  # tries to claim a job; each is lost to a faster worker, as all look at the same job first
_JOB_ID = re.compile(f"job_[{ALPHABET}]{{{LENGTH}}}")


class Runner:
    """Claim jobs and supervise them, `worker_concurrency` at a time, one thread each.

    Args:
        gpus: indices of the GPUs; with several, each running job has a GPU of its own while one is free.
    """

    def __init__(
        self, settings: Settings, db: Database, worker_id: str, gpus: list[str], forkserver: ForkServer
    ) -> None:
        self._settings, self._db, self._worker_id, self._forkserver = settings, db, worker_id, forkserver
        self._gpus = Gpus(gpus, settings.files.devices)
        self._running: dict[str, Supervisor] = {}
        self._stopping = Event()
        self.on_done: Callable[[], None] = lambda: None

    def free(self) -> int:
        """Return how many more jobs could begin."""
        return 0 if self._stopping.is_set() else self._settings.worker_concurrency - len(self._running)

    def run(self, job_id: str) -> None:
        """Run the job whose turn it is; return when the attempt has ended.

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
                with self._db.read() as session:
                    candidate = states.next_in_turn(session, self._settings.project_running_jobs)
                if candidate is None:
                    break
                job = self._claim(candidate)
            except SQLAlchemyError as error:
                logger.warning("nothing was claimed for %s, a sweeper will ask again: %r", job_id, error)
                return
            if job is not None:
                self._supervise(job, claimed_at)
                return
        logger.info("nothing to do for %s", job_id)

    def _claim(self, job_id: str) -> Job | None:
        with self._db.write() as session:
            limit = self._settings.project_running_jobs
            return states.claim(session, job_id, self._worker_id, self._settings.lease_seconds, limit)

    def stop(self) -> None:
        """Stop all jobs with a checkpoint; safe in a signal handler, and when repeated."""
        self._stopping.set()
        for supervisor in tuple(self._running.values()):
            supervisor.shut_down()

    def _supervise(self, job: Job, claimed_at: float) -> None:
        try:
            with self._gpus.one() as device:
                supervisor = Supervisor(self._settings, self._db, self._forkserver, job, claimed_at, device)
                self._running[job.id] = supervisor
                if self._stopping.is_set():  # set between the claim and the line above
                    supervisor.shut_down()
                supervisor.run()
        finally:
            self._running.pop(job.id, None)
            self.on_done()


def register(app: Celery, runner: Runner) -> None:
    """Make `adamss.run_job` the only task that a message can name."""

    def run_job(*args: object, **fields: object) -> None:
        job_id = args[0] if len(args) == 1 and not fields else None
        if not isinstance(job_id, str) or not _JOB_ID.fullmatch(job_id):
            logger.warning("a message that names no job was dropped: %.200r %.200r", args, fields)
            return
        try:
            runner.run(job_id)
        except Exception:
            logger.exception("supervising %s failed; its lease will expire", job_id)

    app.task(run_job, name=RUN_JOB, ignore_result=True)
    app.finalize()
    for name in [name for name in app.tasks if name != RUN_JOB]:
        app.tasks.unregister(name)

"""Copy the numbers of running jobs to the trackers that their requests name."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy.exc import SQLAlchemyError

from service.operations.trackers import Follower, MissingExtra, open_follower
from service.shared.database.engine import Database
from service.shared.database.tables import Job, JobStatus, MetricRow
from service.shared.jobs.report_queries import after_seq
from service.shared.jobs.states import add_event
from service.shared.settings import Settings

if TYPE_CHECKING:
    from service.client.types import JobJson, MetricJson

logger = logging.getLogger(__name__)

LOOK_SECONDS = 2.0  # between two looks for new rows
ROWS = 1_000  # copied at a time
CLOSE_SECONDS = 10.0  # that a stopping worker gives its copies to send the last rows


class TrackerCopies:
    """Threads that copy the rows of the jobs that this worker runs, one for each job that asks for it.

    Trackers are not ours: whatever fails here is an event of the job, and its training goes on. What a worker that dies
    has not copied, the job's next attempt does, or `adamss jobs export`.
    """

    def __init__(self, settings: Settings, db: Database) -> None:
        self._settings, self._db = settings, db
        self._threads: set[Thread] = set()

    @contextmanager
    def of(self, job: Job) -> Iterator[None]:
        """Copy the job's rows while the context lasts; the last ones are sent after it."""
        wanted = (job.resolved.get("openai") or {}).get("integrations") or []
        done = Event()
        if wanted and self._settings.wandb:
            thread = Thread(target=self._copy, args=(job, wanted[0]["wandb"], done), name=f"copy-{job.id}", daemon=True)
            self._threads = {thread, *(other for other in self._threads if other.is_alive())}
            thread.start()
        try:
            yield
        finally:
            done.set()

    def close(self) -> None:
        """Wait for the last rows of jobs that have ended, for some seconds."""
        until = monotonic() + CLOSE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, until - monotonic()))

    def _copy(self, job: Job, options: dict[str, Any], done: Event) -> None:
        try:
            follower = self._open(job, options)
            self._add_event(job.id, "integration_started", f"Numbers are copied: {follower.where}", follower.where)
            self._follow(job.id, follower, done)
        except MissingExtra as error:
            self._report(job.id, str(error))
        except Exception as error:  # of any kind: the tracker's client is not ours
            logger.warning("the copy of %s ended: %r", job.id, error)
            self._report(job.id, f"{type(error).__name__}: {error}"[:500])

    def _open(self, job: Job, options: dict[str, Any]) -> Follower:
        return open_follower("wandb", _shown(job), Path(self._settings.resolved_home, "wandb"), options)

    def _follow(self, job_id: str, follower: Follower, done: Event) -> None:
        """Copy rows until the attempt has ended."""
        try:
            while True:
                last = done.wait(LOOK_SECONDS)  # looked at before the rows are: none comes after it
                while rows := self._rows(job_id, follower.after):
                    for row in rows:
                        follower.write(row)
                    follower.flush()
                if last:
                    return
        finally:
            with self._db.read() as session:
                ended = session.get(Job, job_id)
            if ended is not None:
                follower.close(_shown(ended))

    def _rows(self, job_id: str, after: int) -> list[MetricJson]:
        with self._db.read() as session:
            found = after_seq(session, MetricRow, job_id, after, ROWS)
            rows = [{"seq": row.seq, "kind": row.kind, "step": row.step, "values": row.values} for row in found]
        return cast("list[MetricJson]", rows)

    def _report(self, job_id: str, problem: str) -> None:
        remedy = f"Copy the rest: adamss jobs export {job_id} --to wandb"
        try:
            self._add_event(job_id, "integration_failed", f"Numbers are not copied on. {problem} {remedy}", problem)
        except SQLAlchemyError as error:
            logger.warning("the event is lost: %r", error)

    def _add_event(self, job_id: str, kind: str, message: str, detail: str) -> None:
        with self._db.write() as session:
            job = session.get(Job, job_id, with_for_update=True)
            if job is not None:
                add_event(session, job, kind, message, {"type": "wandb", "detail": detail})


def _shown(job: Job) -> JobJson:
    """Return what a follower reads of a job."""
    shown = {"id": job.id, "name": job.name, "status": JobStatus(job.status).value, "resolved": job.resolved}
    return cast("JobJson", shown)

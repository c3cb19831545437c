"""Move the metric rows of jobs that ended long ago from the database to their artifact `metrics`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, exists, func, select, tuple_
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from adamss_core.training.request import ArtifactFile
from service.shared.database.engine import Database
from service.shared.database.tables import TERMINAL, Artifact, Job, MetricRow, now
from service.shared.errors import ServiceError
from service.shared.jobs.metric_archive import ARTIFACT, MetricArchive
from service.shared.jobs.report_queries import after_seq
from service.shared.storage.home import Home
from service.shared.storage.host_files import HostFiles
from worker.artifact_rows import register
from worker.artifact_uploads import ArtifactUploads
from worker.duty_lease import DutyLease, DutyLost
from worker.metrics_file import metrics_file
from worker.periodic_thread import PeriodicThread

logger = logging.getLogger(__name__)

DUTY = "archive metrics"
JOBS = 100  # found at a time
PAGE = 5_000  # rows compared at a time


class MetricsArchiver(PeriodicThread):
    """Archive metrics, in a thread of its own; one worker of a database does it at a time.

    Args:
        days: after the end of a job.
        seconds: between two passes.
        pass_seconds: until another worker takes over from one that died in its pass.
    """

    def __init__(
        self,
        db: Database,
        files: Home,
        days: float,
        host_files: HostFiles | None = None,
        *,
        seconds: float,
        pass_seconds: float,
    ) -> None:
        super().__init__("metrics archiver", seconds)
        self._db, self._files, self._age = db, files, timedelta(days=days)
        self._host_files = host_files or HostFiles(files, db, None)
        self._duty = DutyLease(db, DUTY, seconds=seconds, pass_seconds=pass_seconds)
        self._unlike: set[str] = set()  # jobs whose file does not give their rows back

    def round(self) -> None:
        try:
            if self._duty.take():
                for job_id in self._due():
                    self._duty.renew()
                    self.archive(job_id)
                self._duty.end()
        except DutyLost:
            logger.warning("archiving metrics: another worker has taken over")
        except (SQLAlchemyError, OSError, ServiceError) as error:
            logger.warning("archiving metrics: put off: %r", error)

    def _due(self) -> Iterator[str]:
        """Yield the jobs that have rows and ended long enough ago, the oldest first."""
        seen: tuple[datetime, str] | None = None
        while not self._closing:
            due = (Job.metrics_archived_at.is_(None), Job.ended_at < now() - self._age, Job.id.not_in(self._unlike))
            statement = select(Job.ended_at, Job.id).where(*due, exists().where(MetricRow.job_id == Job.id))
            if seen is not None:
                statement = statement.where(tuple_(Job.ended_at, Job.id) > seen)
            with self._db.read() as session:
                found = session.execute(statement.order_by(Job.ended_at, Job.id).limit(JOBS)).all()
            if not found:
                return
            yield from (job_id for _, job_id in found)
            seen = found[-1].ended_at, found[-1].id

    def archive(self, job_id: str) -> None:
        """Write the artifact where the job has none; delete the rows once the file has given them back, equal."""
        with self._db.read() as session:
            artifact = session.get(Artifact, (job_id, ARTIFACT))
        if artifact is None:
            made = metrics_file(self._db, self._files.job(job_id), job_id)
            path = made.path
        else:
            made, path = None, self._host_files.resolve(artifact.path)
        count = self._equal_rows(job_id, MetricArchive(path, job_id))
        if count is None:
            self._unlike.add(job_id)
            logger.warning("the metrics of %s stay in the database: their file does not hold them all", job_id)
            return
        uploads = self._upload(job_id, made)
        with self._db.write() as session:
            if self._move(session, job_id, made, count, uploads):
                logger.info("%d metric rows of %s were moved to its artifact", count, job_id)

    def _upload(self, job_id: str, made: ArtifactFile | None) -> ArtifactUploads | None:
        with self._db.read() as session:
            job = session.get(Job, job_id)
        if made is None or job is None or self._host_files.store is None:
            return None
        uploads = ArtifactUploads(self._host_files, job_id, f"{job.project_id}/{job_id}", lambda: None)
        uploads.upload([made], self._files.job_artifacts(job_id))
        return uploads

    def _equal_rows(self, job_id: str, archive: MetricArchive) -> int | None:
        """Compare all rows with those of the file; return their number, None where they differ."""
        count = after = 0
        while True:
            with self._db.read() as session:
                rows = [_content(row) for row in after_seq(session, MetricRow, job_id, after, PAGE)]
            if rows != [_content(row) for row in archive.after(after, PAGE)]:
                return None
            if not rows:
                return count
            count, after = count + len(rows), rows[-1][0]

    def _move(
        self,
        session: Session,
        job_id: str,
        made: ArtifactFile | None,
        count: int,
        uploads: ArtifactUploads | None,
    ) -> bool:
        """Delete the rows unless the job has been deleted, or runs again, meanwhile."""
        ended = (Job.id == job_id, Job.status.in_(TERMINAL), Job.metrics_archived_at.is_(None))
        job = session.scalars(select(Job).where(*ended).with_for_update()).one_or_none()
        rows = select(func.count()).select_from(MetricRow).where(MetricRow.job_id == job_id)
        if job is None or session.execute(rows).scalar_one() != count:
            return False
        if made is not None:
            register(session, self._files, job_id, [made], uploads)
        session.execute(delete(MetricRow).where(MetricRow.job_id == job_id))
        job.metrics_archived_at = now()
        return True


def _content(row: MetricRow) -> tuple[Any, ...]:
    return row.seq, row.kind, row.step, row.epoch, row.time, row.values

"""Write the reports of one attempt to the database.

Each batch is one transaction, which first locks the job's row and compares the attempt: a stale attempt writes
nothing. The lock also hands out sequence numbers in the order of commits, so that a reader who asks for rows after the
last number it saw misses none.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from adamss_core.training.request import ArtifactFile
from service.shared.database.engine import Database, is_disk_full
from service.shared.database.tables import LEASED, Checkpoint, Event, Job, MetricRow, SubspaceMap
from service.shared.errors import NotFound
from service.shared.jobs.metric_archive import find_archive
from service.shared.storage.home import Home, JobFolder
from service.shared.storage.host_files import HostFiles
from service.shared.storage.store_errors import StorageUnavailable
from worker.artifact_rows import register
from worker.artifact_uploads import ArtifactUploads
from worker.batch import Batch, Row, report_key
from worker.clean_json import clean
from worker.decomposition_files import DecompositionFetch
from worker.run_plan import resolved_by_run

logger = logging.getLogger(__name__)

RESTORED = 5_000  # archived rows read at a time


class StaleAttempt(Exception):
    """Another attempt owns the job, or the job has ended or was deleted."""


class DatabaseUnavailable(Exception):
    """The transaction failed, perhaps only after its commit; the batch may be written again.

    Attributes:
        disk_full: whether the database's disk is full.
    """

    def __init__(self, error: SQLAlchemyError) -> None:
        super().__init__(repr(error))
        self.disk_full = is_disk_full(error)


class ReportStore:
    """Write batches under the fencing token of an attempt.

    Args:
        folder: the job's folder; checkpoints that are gone from it are removed from the list.
        files: of the service, among which complete artifacts are moved.
        uploads: of the artifacts to the store, if there is one.
    """

    def __init__(
        self,
        db: Database,
        job_id: str,
        attempt: int,
        folder: JobFolder,
        files: Home,
        uploads: ArtifactUploads | None = None,
    ) -> None:
        self._db, self._job_id, self._files, self._uploads = db, job_id, files, uploads
        self.attempt, self.folder = attempt, folder
        self._decompositions = None if uploads is None else DecompositionFetch(uploads.files, folder)

    def write(self, batch: Batch, left: Sequence[tuple[str, Row]]) -> None:
        """Write a batch in one transaction.

        Args:
            left: (kind, row) that earlier attempts reported and perhaps did not write; written with the batch that
                says from which step the attempt resumed.

        Raises:
            StaleAttempt: nothing was written, and nothing will be.
            DatabaseUnavailable: to be tried again.
        """
        try:
            with self._db.write() as session:
                self._write(session, batch, left)
        except SQLAlchemyError as error:
            raise DatabaseUnavailable(error) from error

    def upload(self, artifact: ArtifactFile) -> bool:
        """Bring an artifact to the store, if there is one; False where that is away: the end of the job tries again."""
        if self._uploads is not None:
            try:
                self._uploads.upload([artifact], self._files.job_artifacts(self._job_id))
            except StorageUnavailable as error:
                logger.warning("%s is published at the end of the job: %s", artifact.name, error)
                return False
        return True

    def decomposition(self, path: Path) -> None:
        """Bring a cached decomposition here, if there is a store that has it."""
        if self._decompositions is not None:
            self._decompositions.need(path)

    def _write(self, session: Session, batch: Batch, left: Sequence[tuple[str, Row]]) -> None:
        job = self._lock_job(session)
        if job.metrics_archived_at is not None:  # it had ended, and runs again
            self._restore_archived(session, job)
        if batch.resumed is not None:
            self._void_after(session, batch.resumed)
            batch = self._unwritten_of(session, left, batch.resumed).followed_by(batch)
        rows = self._number(job, batch, self._unwritten_events(session, batch))
        self._replace_metrics(session, rows[MetricRow])
        if rows[Event]:
            session.execute(insert(Event), rows[Event])
        self._replace(session, SubspaceMap, rows[SubspaceMap])
        self._store_checkpoints(session, [self._own(row) for row in batch.checkpoints.values()])
        if batch.artifacts:
            register(session, self._files, self._job_id, batch.artifacts.values(), self._uploads)
        if batch.plan is not None:
            plan, size = batch.plan
            job.total_steps, job.resolved = plan.total_steps, resolved_by_run(job.resolved, plan, size)
        if batch.result is not None:
            job.result = batch.result
        if batch.progress is not None:
            _show_progress(job, batch.progress)

    @property
    def _archives(self) -> Home | HostFiles:
        return self._files if self._uploads is None else self._uploads.files

    def _lock_job(self, session: Session) -> Job:
        job = session.execute(select(Job).where(Job.id == self._job_id).with_for_update()).scalar_one_or_none()
        if job is None or job.attempt != self.attempt or job.status not in LEASED:
            raise StaleAttempt
        return job

    def _restore_archived(self, session: Session, job: Job) -> None:
        """Bring rows back that were moved to an artifact, as those of an attempt before all others."""
        columns = [column.key for column in MetricRow.__table__.columns]
        after = 0
        try:
            archive = find_archive(session, self._archives, self._job_id)
            while archive is not None and (rows := archive.after(after, RESTORED)):
                session.execute(insert(MetricRow), [{name: getattr(row, name) for name in columns} for row in rows])
                after = rows[-1].seq
        except NotFound as error:  # no reason not to train
            logger.warning("the metrics of earlier attempts are lost: %s", error)
        job.metrics_archived_at = None

    def _void_after(self, session: Session, step: int) -> None:
        """Delete the rows of earlier attempts after the resumed step: the newest attempt wins."""
        for table in (MetricRow, SubspaceMap, Checkpoint):
            earlier = (table.job_id == self._job_id, table.attempt < self.attempt, table.step > step)
            session.execute(delete(table).where(*earlier))

    def _unwritten_of(self, session: Session, left: Sequence[tuple[str, Row]], step: int) -> Batch:
        """Select reports of killed attempts that the database lacks, up to the resumed step."""
        written = self._written_keys(session)
        batch = Batch()
        for kind, row in left:
            if (kind == "event" or row["step"] <= step) and report_key(kind, row) not in written:
                batch.add(kind, row)
        return batch

    def _written_keys(self, session: Session) -> set[tuple[object, ...]]:
        """Return the `report_key` of each row of the job."""
        metrics = select(MetricRow.kind, MetricRow.step).where(MetricRow.job_id == self._job_id)
        keys: set[tuple[object, ...]] = {("metric", kind, at) for kind, at in session.execute(metrics)}
        events = select(Event.type, Event.time).where(Event.job_id == self._job_id)
        keys |= {("event", kind, time) for kind, time in session.execute(events)}
        for name, table in (("subspaces", SubspaceMap), ("checkpoint", Checkpoint)):
            keys |= {(name, at) for at in session.scalars(select(table.step).where(table.job_id == self._job_id))}
        return keys

    def _unwritten_events(self, session: Session, batch: Batch) -> list[Row]:
        """Return the events, less those of a transaction that failed only after its commit."""
        if not (batch.tried and batch.events):
            return batch.events
        written = session.execute(
            select(Event.time, Event.type).where(Event.job_id == self._job_id, Event.attempt == self.attempt)
        )
        keys = {(time, kind) for time, kind in written}
        return [row for row in batch.events if (row["time"], row["type"]) not in keys]

    def _number(self, job: Job, batch: Batch, events: list[Row]) -> dict[type[Any], list[Row]]:
        """Give rows the job's next sequence numbers: metrics and events by time, then subspace maps."""
        rows: list[tuple[type[Any], Row]] = [(MetricRow, row) for row in batch.metrics.values()]
        rows += [(Event, row) for row in events]
        rows.sort(key=lambda entry: entry[1]["time"])
        rows += [(SubspaceMap, row) for row in batch.subspaces.values()]
        numbered: dict[type[Any], list[Row]] = {MetricRow: [], Event: [], SubspaceMap: []}
        for table, row in rows:
            job.last_seq += 1
            numbered[table].append(self._own(row) | {"seq": job.last_seq})
        return numbered

    def _own(self, row: Row) -> Row:
        plain = {name: value if isinstance(value, datetime) else clean(value) for name, value in row.items()}
        return plain | {"job_id": self._job_id, "attempt": self.attempt}

    def _replace_metrics(self, session: Session, rows: list[Row]) -> None:
        for kind in {row["kind"] for row in rows}:
            steps = [row["step"] for row in rows if row["kind"] == kind]
            same = (MetricRow.job_id == self._job_id, MetricRow.kind == kind, MetricRow.step.in_(steps))
            session.execute(delete(MetricRow).where(*same))
        if rows:
            session.execute(insert(MetricRow), rows)

    def _replace(self, session: Session, table: type[SubspaceMap] | type[Checkpoint], rows: list[Row]) -> None:
        if not rows:
            return
        steps = [row["step"] for row in rows]
        session.execute(delete(table).where(table.job_id == self._job_id, table.step.in_(steps)))
        session.execute(insert(table), rows)

    def _store_checkpoints(self, session: Session, rows: list[Row]) -> None:
        """Keep one checkpoint marked as the best, and list none that the run has removed."""
        if not rows:
            return
        best = [row for row in rows if row["best"]]
        if best:
            session.execute(update(Checkpoint).where(Checkpoint.job_id == self._job_id).values(best=False))
            for row in best[:-1]:
                row["best"] = False
        self._replace(session, Checkpoint, rows)
        listed = select(Checkpoint.step, Checkpoint.path).where(Checkpoint.job_id == self._job_id)
        gone = [step for step, path in session.execute(listed) if not (self.folder.path / path).exists()]
        if gone:
            session.execute(delete(Checkpoint).where(Checkpoint.job_id == self._job_id, Checkpoint.step.in_(gone)))


def _show_progress(job: Job, progress: Row) -> None:
    job.step, job.total_steps = progress["step"], progress["total_steps"]
    job.epoch, job.eta_seconds = clean(progress["epoch"]), clean(progress["eta_seconds"])
    if progress["asa"] is not None:
        job.asa = clean(progress["asa"])

"""Read the metrics of a job, from the database or from the artifact that holds those of a job that ended long ago."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import TypeVar

from sqlalchemy.orm import Session

from service.jobs import repository
from service.jobs.thinning import thinned
from service.shared.database.tables import Job, MetricRow
from service.shared.jobs import metrics_parquet
from service.shared.jobs.metric_archive import MetricArchive, find_archive
from service.shared.jobs.report_queries import after_seq
from service.shared.storage.home import Home
from service.shared.storage.host_files import HostFiles

Files = Home | HostFiles
Answer = TypeVar("Answer")


def page(session: Session, files: Files, job: Job, after: int, limit: int, name: str | None) -> Sequence[MetricRow]:
    """List the first rows after a sequence number, all or those with a value of this name."""

    def rows() -> Sequence[MetricRow]:
        if name is None:
            return after_seq(session, MetricRow, job.id, after, limit)
        return repository.metrics_named(session, job.id, after, name, limit)

    return _from_either(session, files, job, rows, lambda archive: archive.after(after, limit, name=name))


def curve(session: Session, files: Files, job: Job, after: int, points: int, name: str | None) -> Sequence[MetricRow]:
    """List at most so many rows after a sequence number, chosen for a plot."""

    def choose(archive: MetricArchive | None = None) -> Sequence[MetricRow]:
        return thinned(session, job.id, after, points, name, archive)

    return _from_either(session, files, job, choose, choose)


def export(session: Session, files: Files, job: Job) -> bytes:
    """Return all rows as a Parquet file."""
    file = BytesIO()
    if job.metrics_archived_at is None and metrics_parquet.write(session, job.id, file)["rows"]:
        return file.getvalue()
    archive = find_archive(session, files, job.id)
    return file.getvalue() if archive is None else archive.content()


def _from_either(
    session: Session,
    files: Files,
    job: Job,
    from_rows: Callable[[], Answer],
    from_archive: Callable[[MetricArchive], Answer],
) -> Answer:
    """Ask the rows first, unless they were moved before; where none are found, they may have been moved just now."""
    if job.metrics_archived_at is None and (found := from_rows()):
        return found
    archive = find_archive(session, files, job.id)
    return from_rows() if archive is None else from_archive(archive)

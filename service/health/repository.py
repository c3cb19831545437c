"""Queries on the state of the whole service."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Row, and_, func, select, text, true
from sqlalchemy.orm import Session

from service.shared.database.clock import database_now
from service.shared.database.tables import LEASED, DeviceUse, Job, JobStatus, Json, MetricRow, Project, Worker


def answers(session: Session) -> bool:
    """Tell whether the database answers."""
    return bool(session.execute(text("SELECT 1")).scalar_one() == 1)


def live_workers(session: Session, within_seconds: float) -> int:
    """Count the workers with a heartbeat in the last `within_seconds`."""
    since = database_now(session) - timedelta(seconds=within_seconds)
    return session.execute(select(func.count()).select_from(Worker).where(Worker.seen_at >= since)).scalar_one()


def jobs_beyond_workers(session: Session, within_seconds: float) -> int:
    """Count the queued jobs that no live worker understands; 0 without a live worker."""
    since = database_now(session) - timedelta(seconds=within_seconds)
    newest = select(func.max(Worker.spec_version)).where(Worker.seen_at >= since).scalar_subquery()
    statement = select(func.count()).where(Job.status == JobStatus.QUEUED, Job.spec_version > newest)
    return session.execute(statement).scalar_one()


def live_devices(session: Session, within_seconds: float) -> dict[str, int]:
    """Count the devices of live workers by name."""
    since = database_now(session) - timedelta(seconds=within_seconds)
    lists = session.scalars(select(Worker.devices).where(Worker.seen_at >= since))
    return dict(Counter(str(device) for devices in lists for device in devices))


def busy_workers(session: Session) -> int:
    """Count the workers with the lease of a job."""
    statement = select(func.count(func.distinct(Job.worker))).where(Job.status.in_(LEASED))
    return session.execute(statement).scalar_one()


def jobs_by_status(session: Session, project_id: str | None = None) -> dict[str, int]:
    """Count the jobs of one project, or of all, for every status, zeros included.

    Most jobs have succeeded; counting the others and all of them is cheaper, as SQLite counts a table by its pages.
    """
    of = select(func.count()).select_from(Job).where(_in(project_id))
    others = [status for status in JobStatus if status is not JobStatus.SUCCEEDED]
    counts = [of.where(Job.status == status).scalar_subquery() for status in others]
    total, *found = session.execute(select(of.scalar_subquery(), *counts)).one()
    by_status = dict(zip(others, found, strict=True)) | {JobStatus.SUCCEEDED: total - sum(found)}
    return {status.value: by_status[status] for status in JobStatus}


def oldest_queued(session: Session, project_id: str | None = None) -> datetime | None:
    """Return the queueing time of the job that has waited longest, in one project or in all."""
    own = (Job.project_id == Project.id, Job.status == JobStatus.QUEUED)
    # One probe of the index for each project: the index of statuses alone would read every waiting job's row.
    first = select(func.min(Job.queued_at)).where(*own).correlate(Project).scalar_subquery()
    of = true() if project_id is None else Project.id == project_id
    return session.execute(select(func.min(first)).select_from(Project).where(of)).scalar_one()


def last_rows(session: Session, project_id: str | None = None) -> dict[str, Json]:
    """Return the values of the last logged step of each running job, by the job's id."""
    same = (MetricRow.job_id == Job.id, MetricRow.kind == "train")
    # By the index of kinds and steps, instead of a scan of all rows.
    last = select(func.max(MetricRow.step)).where(*same).correlate(Job).scalar_subquery()
    statement = select(Job.id, MetricRow.values).join(MetricRow, and_(*same, MetricRow.step == last))
    found = session.execute(statement.where(_in(project_id), Job.status.in_(LEASED)))
    return {job_id: dict(values) for job_id, values in found}


def _in(project_id: str | None) -> ColumnElement[bool]:
    return true() if project_id is None else Job.project_id == project_id


def device_seconds(session: Session, project_id: str | None = None) -> Sequence[Row[str, str, float]]:
    """List project, owner and the device seconds of all months, of one project or of all."""
    used = select(Project.name, DeviceUse.owner, func.sum(DeviceUse.device_seconds))
    used = used.join(Project, Project.id == DeviceUse.project_id).group_by(Project.name, DeviceUse.owner)
    if project_id is not None:
        used = used.where(DeviceUse.project_id == project_id)
    return session.execute(used.order_by(Project.name, DeviceUse.owner)).all()

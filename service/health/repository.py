"""Queries on the state of the whole service."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func, select, text, true
from sqlalchemy.orm import Session

from service.shared.database.clock import database_now
from service.shared.database.tables import LEASED, Job, JobStatus, Worker


def answers(session: Session) -> bool:
    """Tell whether the database answers."""
    return bool(session.execute(text("SELECT 1")).scalar_one() == 1)


def live_workers(session: Session, within_seconds: float) -> int:
    """Count the workers with a heartbeat in the last `within_seconds`."""
    since = database_now(session) - timedelta(seconds=within_seconds)
    return session.execute(select(func.count()).select_from(Worker).where(Worker.seen_at >= since)).scalar_one()


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
    """Count the jobs of one project, or of all, for every status, zeros included."""
    statement = select(Job.status, func.count()).where(_in(project_id)).group_by(Job.status)
    counts = {JobStatus(status): count for status, count in session.execute(statement)}
    return {status.value: counts.get(status, 0) for status in JobStatus}


def oldest_queued(session: Session, project_id: str | None = None) -> datetime | None:
    """Return the queueing time of the job that has waited longest, in one project or in all."""
    statement = select(func.min(Job.queued_at)).where(_in(project_id), Job.status == JobStatus.QUEUED)
    return session.execute(statement).scalar_one()


def _in(project_id: str | None) -> ColumnElement[bool]:
    return true() if project_id is None else Job.project_id == project_id

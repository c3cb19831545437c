"""Queries on the state of the whole service."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

from sqlalchemy import func, select, text
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


def jobs_by_status(session: Session) -> dict[str, int]:
    """Count jobs for every status, zeros included."""
    rows = session.execute(select(Job.status, func.count()).group_by(Job.status))
    counts = {JobStatus(status): count for status, count in rows}
    return {status.value: counts.get(status, 0) for status in JobStatus}


def oldest_queued(session: Session) -> datetime | None:
    """Return the queueing time of the job that has waited longest."""
    return session.execute(select(func.min(Job.queued_at)).where(Job.status == JobStatus.QUEUED)).scalar_one()

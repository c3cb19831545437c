"""Queries on the state of the whole service."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from service.clock import database_now
from service.db import Job, JobStatus, Worker


def answers(session: Session) -> bool:
    return bool(session.execute(text("SELECT 1")).scalar_one() == 1)


def live_workers(session: Session, within_seconds: float) -> int:
    since = database_now(session) - timedelta(seconds=within_seconds)
    return session.execute(select(func.count()).select_from(Worker).where(Worker.seen_at >= since)).scalar_one()


def jobs_by_status(session: Session) -> dict[str, int]:
    counted = session.execute(select(Job.status, func.count()).group_by(Job.status))
    found = {JobStatus(status): count for status, count in counted}
    return {status.value: found.get(status, 0) for status in JobStatus}


def oldest_queued(session: Session) -> datetime | None:
    return session.execute(select(func.min(Job.queued_at)).where(Job.status == JobStatus.QUEUED)).scalar_one()

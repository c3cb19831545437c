"""Query what the forecast of the queue needs: waiting jobs, and how long jobs take."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session, load_only

from service.shared.database.tables import LEASED, Job, JobStatus

COUNTED = 5_000  # waiting jobs that are placed
MEASURED = 100  # newest finished jobs whose times are looked at
_ESTIMATE = Job.resolved[("estimate", "seconds")].as_float()
_COLUMNS = (
    *(Job.project_id, Job.name, Job.status, Job.owner, Job.rank, Job.queued_at, Job.not_before, Job.spec_version),
    *(Job.devices, Job.device_kind, Job.device_memory, Job.reserved_for),
)


def count_waiting(session: Session) -> int:
    return session.execute(select(func.count()).select_from(Job).where(Job.status == JobStatus.QUEUED)).scalar_one()


def waiting_jobs(session: Session) -> tuple[list[Job], dict[str, float]]:
    """Return the first waiting jobs by priority and age, and the estimated seconds of those that have them."""
    first = select(Job, _ESTIMATE).options(load_only(*_COLUMNS, raiseload=True)).where(Job.status == JobStatus.QUEUED)
    rows = session.execute(first.order_by(Job.rank, Job.queued_at, Job.id).limit(COUNTED)).all()
    return [job for job, _ in rows], {job.id: seconds for job, seconds in rows if seconds is not None}


def running_seconds(session: Session, moment: datetime) -> dict[str, float]:
    """Return the seconds that running jobs are expected to take yet."""
    running = select(Job.id, Job.eta_seconds, Job.started_at, _ESTIMATE).where(Job.status.in_(LEASED))
    left = {}
    for job_id, eta, started_at, estimate in session.execute(running):
        if eta is not None:
            left[job_id] = eta
        elif estimate is not None and started_at is not None:
            left[job_id] = max(0.0, estimate - (moment - started_at).total_seconds())
    return left


def measured(session: Session) -> list[tuple[float, float | None]]:
    """Return the seconds of the newest finished jobs, each with what had been estimated."""
    taken = Job.result["seconds"].as_float()
    newest = select(taken, _ESTIMATE).where(Job.status == JobStatus.SUCCEEDED).order_by(Job.created_at.desc())
    return [(seconds, estimate) for seconds, estimate in session.execute(newest.limit(MEASURED)) if seconds]

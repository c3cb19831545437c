"""Write a job's row by compare-and-set, and append events under its sequence number."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CursorResult, Update, update
from sqlalchemy.orm import Session

from service.shared.database.tables import LEASED, Event, Job, JobStatus, now
from service.shared.jobs.webhooks import announce


def add_event(session: Session, job: Job, kind: str, message: str, data: dict[str, Any]) -> None:
    """Append an event under the job's next sequence number; the caller holds the row's lock."""
    job.last_seq += 1
    session.flush()
    write_event(session, job, kind, message, data)


def write_event(session: Session, job: Job, kind: str, message: str, data: dict[str, Any]) -> None:
    """Write the event of the sequence number that the job has just taken."""
    session.add(
        Event(job_id=job.id, seq=job.last_seq, attempt=job.attempt, time=now(), type=kind, message=message, data=data)
    )


def compare_and_set(session: Session, statement: Update) -> bool:
    """Execute an update of one row; False if its conditions matched no row."""
    result: CursorResult[Any] = session.execute(statement.execution_options(synchronize_session=False))  # type: ignore[assignment]
    return result.rowcount == 1


def compare_and_take(session: Session, statement: Update) -> Job | None:
    """Execute an update of one job, and return it as it is then; None if its conditions matched no row."""
    options = {"synchronize_session": False, "populate_existing": True}
    return session.scalars(statement.returning(Job), execution_options=options).one_or_none()


def with_status(job_id: str, *statuses: JobStatus) -> Update:
    """Build an update of the job if it has one of these statuses."""
    return update(Job).where(Job.id == job_id, Job.status.in_(statuses))


def leased(job_id: str, attempt: int, *statuses: JobStatus) -> Update:
    """Build an update of the job if this attempt holds its lease, in one of these statuses (default: any)."""
    return with_status(job_id, *(statuses or LEASED)).where(Job.attempt == attempt)


def ended(status: JobStatus) -> dict[str, Any]:
    """Return the fields of a job that has ended with this status."""
    return {"status": status, "ended_at": now(), "lease_until": None, "eta_seconds": None}


def record_end(session: Session, job: Job, message: str, data: dict[str, Any]) -> None:
    """Append the event of a job that has just ended, named after its status, and queue its webhook."""
    add_event(session, job, str(job.status), message, data)
    announce(session, job)

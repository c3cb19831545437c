"""Count the device seconds that attempts use, by project, owner and month."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, func, select, update
from sqlalchemy.orm import Session

from service.shared.database.clock import database_now
from service.shared.database.tables import LEASED, DeviceUse, Job, Project
from service.shared.jobs.standing import ENTRY_SECONDS, charge

HOUR = 3_600.0
METER_SECONDS = 60.0  # between two counts of a running attempt


def month_of(moment: datetime) -> str:
    """Return the month by UTC, such as 2026-11."""
    return f"{moment.astimezone(UTC):%Y-%m}"


def next_month(moment: datetime) -> datetime:
    """Return the beginning of the next month by UTC."""
    month = moment.astimezone(UTC)
    return datetime(month.year + month.month // 12, month.month % 12 + 1, 1, tzinfo=UTC)


def device_seconds(session: Session, project_id: str, month: str) -> float:
    """Sum what a project has used in a month, as far as it is counted: running attempts are about once a minute."""
    used = select(func.coalesce(func.sum(DeviceUse.device_seconds), 0.0))
    found = session.execute(used.where(DeviceUse.project_id == project_id, DeviceUse.month == month)).scalar_one()
    return float(found)


def begin(session: Session, project: Project, job: Job, moment: datetime) -> None:
    """Charge a project for the start of an attempt, metered since `moment`; the caller holds the locks of both."""
    charge(project, job.devices * ENTRY_SECONDS, moment)
    _add(session, job, moment, 0.0, attempts=1)


def meter(session: Session, job: Job, until: datetime) -> None:
    """Count what a job's attempt has used since it was metered last; the caller holds the job's lock.

    The project's row is locked until the transaction ends. A use over the end of a month counts in the later one.
    """
    if job.metered_at is None or until <= job.metered_at:
        return
    used = job.devices * (until - job.metered_at).total_seconds()
    job.metered_at = until
    charge(_locked(session, job), used, until)
    _add(session, job, until, used)


def end(session: Session, job: Job) -> None:
    """Count the rest of an attempt that ends; the caller holds the job's lock."""
    if job.metered_at is not None:  # of an attempt that an older worker began it is null
        meter(session, job, database_now(session))
        job.metered_at = None


def is_due(session: Session, worker: str) -> bool:
    """Tell whether `meter_running` would count anything."""
    return session.execute(select(Job.id).where(*_due(session, worker)).limit(1)).first() is not None


def meter_running(session: Session, worker: str) -> None:
    """Count what the attempts of a worker have used so far; others see it in their turns and quotas."""
    moment = database_now(session)
    statement = select(Job).where(*_due(session, worker)).order_by(Job.project_id, Job.id)
    for job in session.scalars(statement.with_for_update(skip_locked=True)).all():
        meter(session, job, moment)


def _due(session: Session, worker: str) -> tuple[ColumnElement[bool], ...]:
    before = database_now(session) - timedelta(seconds=METER_SECONDS)
    return Job.status.in_(LEASED), Job.worker == worker, Job.metered_at <= before


def _locked(session: Session, job: Job) -> Project:
    return session.get_one(Project, job.project_id, with_for_update={"key_share": True}, populate_existing=True)


def _add(session: Session, job: Job, moment: datetime, used: float, attempts: int = 0) -> None:
    """Add to the row of the job's project, owner and month, under the project's lock."""
    row = {"project_id": job.project_id, "month": month_of(moment), "owner": job.owner or ""}
    more = {"device_seconds": DeviceUse.device_seconds + used, "attempts": DeviceUse.attempts + attempts}
    statement = update(DeviceUse).filter_by(**row).values(more).execution_options(synchronize_session=False)
    changed: CursorResult[Any] = session.execute(statement)  # type: ignore[assignment]
    if not changed.rowcount:
        session.add(DeviceUse(**row, device_seconds=used, attempts=attempts))
        session.flush()

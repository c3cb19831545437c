"""Query workers, what they run, and drained hosts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from service.shared.database.clock import database_now
from service.shared.database.tables import LEASED, DeviceUse, Drain, HostDevice, Job, JobStatus, Project, Worker


def live(session: Session, within_seconds: float) -> Sequence[Worker]:
    """List the workers with a heartbeat in the last `within_seconds`, by host."""
    since = database_now(session) - timedelta(seconds=within_seconds)
    return session.scalars(select(Worker).where(Worker.seen_at >= since).order_by(Worker.host, Worker.started_at)).all()


def running(session: Session) -> Sequence[Row[str | None, str, str, str]]:
    """List worker, project, id and name of each job that a worker holds, oldest first."""
    statement = select(Job.worker, Job.project_id, Job.id, Job.name).where(Job.status.in_(LEASED))
    return session.execute(statement.order_by(Job.started_at)).all()


def devices(session: Session, workers: Sequence[str]) -> Sequence[HostDevice]:
    """List the devices of workers in the workers' own order."""
    statement = select(HostDevice).where(HostDevice.worker_id.in_(workers))
    return session.scalars(statement.order_by(HostDevice.worker_id, HostDevice.place)).all()


def drains(session: Session) -> Sequence[Drain]:
    return session.scalars(select(Drain).order_by(Drain.host)).all()


def has_worker(session: Session, host: str) -> bool:
    """Tell whether a worker, live or past, is or was on a host."""
    return session.execute(select(Worker.id).where(Worker.host == host).limit(1)).first() is not None


def queued(session: Session, project_id: str | None) -> int:
    """Count the waiting jobs of a project, or of all."""
    waiting = select(func.count()).select_from(Job).where(Job.status == JobStatus.QUEUED)
    return session.execute(waiting if project_id is None else waiting.where(Job.project_id == project_id)).scalar_one()


def device_use(session: Session, month: str, project_id: str | None) -> Sequence[Row[str, str, float, int]]:
    """List project, owner, device seconds and attempts of a month, of one project or of all."""
    statement = select(Project.name, DeviceUse.owner, DeviceUse.device_seconds, DeviceUse.attempts)
    statement = statement.join(Project, Project.id == DeviceUse.project_id).where(DeviceUse.month == month)
    if project_id is not None:
        statement = statement.where(DeviceUse.project_id == project_id)
    return session.execute(statement.order_by(Project.name, DeviceUse.owner)).all()

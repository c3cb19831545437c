"""Query sweeps and their jobs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, select, tuple_, update
from sqlalchemy.orm import Session

from service.shared.database.tables import Job, Sweep, SweepTrial


def find(session: Session, project_id: str, sweep_id: str, *, lock: bool = False) -> Sweep | None:
    statement = select(Sweep).where(Sweep.id == sweep_id, Sweep.project_id == project_id)
    return session.scalars(statement.with_for_update() if lock else statement).one_or_none()


def find_by_key(session: Session, project_id: str, key: str) -> Sweep | None:
    statement = select(Sweep).where(Sweep.project_id == project_id, Sweep.idempotency_key == key)
    return session.scalars(statement).one_or_none()


def page(session: Session, project_id: str, after: tuple[datetime, str] | None, limit: int) -> Sequence[Sweep]:
    """List a page of sweeps, newest first."""
    statement = select(Sweep).where(Sweep.project_id == project_id)
    if after is not None:
        statement = statement.where(tuple_(Sweep.created_at, Sweep.id) < after)
    return session.scalars(statement.order_by(Sweep.created_at.desc(), Sweep.id.desc()).limit(limit)).all()


def jobs_of(session: Session, sweep_id: str) -> Sequence[Job]:
    """List the jobs of a sweep's trials, locked."""
    statement = select(Job).where(Job.sweep_id == sweep_id).order_by(Job.id)
    return session.scalars(statement.with_for_update()).all()


def remove(session: Session, sweep: Sweep) -> None:
    """Delete a sweep; its jobs become jobs of their own."""
    session.execute(update(Job).where(Job.sweep_id == sweep.id).values(sweep_id=None, trial=None))
    session.execute(delete(SweepTrial).where(SweepTrial.sweep_id == sweep.id))
    session.delete(sweep)

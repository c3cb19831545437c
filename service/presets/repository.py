"""Query presets, and the jobs and sweeps that they are made of."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.shared.database.tables import Job, NamedPreset, Sweep


def find(session: Session, project_id: str, name: str) -> NamedPreset | None:
    return session.get(NamedPreset, (project_id, name))


def of_project(session: Session, project_id: str) -> Sequence[NamedPreset]:
    """List a project's presets by name."""
    statement = select(NamedPreset).where(NamedPreset.project_id == project_id).order_by(NamedPreset.name)
    return session.scalars(statement).all()


def count(session: Session, project_id: str) -> int:
    statement = select(func.count()).select_from(NamedPreset).where(NamedPreset.project_id == project_id)
    return session.scalar(statement) or 0


def find_job(session: Session, project_id: str, job_id: str) -> Job | None:
    return session.scalars(select(Job).where(Job.id == job_id, Job.project_id == project_id)).one_or_none()


def find_sweep(session: Session, project_id: str, sweep_id: str) -> Sweep | None:
    return session.scalars(select(Sweep).where(Sweep.id == sweep_id, Sweep.project_id == project_id)).one_or_none()

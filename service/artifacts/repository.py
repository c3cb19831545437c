"""Queries on artifacts."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.shared.database.tables import Artifact


def of_job(session: Session, job_id: str) -> Sequence[Artifact]:
    return session.scalars(select(Artifact).where(Artifact.job_id == job_id).order_by(Artifact.name)).all()


def find(session: Session, job_id: str, name: str) -> Artifact | None:
    return session.get(Artifact, (job_id, name))

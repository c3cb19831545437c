"""Queries on keys and projects."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.db import ApiKey, Project


def find_by_hash(session: Session, digest: str) -> ApiKey | None:
    return session.execute(select(ApiKey).where(ApiKey.hash == digest)).scalar_one_or_none()


def find_project(session: Session, name: str) -> Project | None:
    return session.execute(select(Project).where(Project.name == name)).scalar_one_or_none()


def any_active(session: Session) -> bool:
    return session.execute(select(ApiKey.id).where(ApiKey.revoked_at.is_(None)).limit(1)).first() is not None


def list_all(session: Session) -> Sequence[tuple[ApiKey, str]]:
    """Keys with the names of their projects, oldest first."""
    statement = select(ApiKey, Project.name).join(Project, Project.id == ApiKey.project_id).order_by(ApiKey.created_at)
    return [(key, name) for key, name in session.execute(statement)]

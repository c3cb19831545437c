"""Queries on keys and projects."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from service.db import ApiKey, Project, now


def find_by_hash(session: Session, digest: str) -> tuple[ApiKey, Project] | None:
    """A key and its project, valid or not."""
    statement = select(ApiKey, Project).join(Project, Project.id == ApiKey.project_id).where(ApiKey.hash == digest)
    found = session.execute(statement).one_or_none()
    return None if found is None else (found[0], found[1])


def any_active(session: Session) -> bool:
    valid = (ApiKey.revoked_at.is_(None), or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now()))
    return session.execute(select(ApiKey.id).where(*valid).limit(1)).first() is not None


def list_all(session: Session) -> Sequence[tuple[ApiKey, str]]:
    """Keys with the names of their projects, oldest first."""
    statement = select(ApiKey, Project.name).join(Project, Project.id == ApiKey.project_id).order_by(ApiKey.created_at)
    return [(key, name) for key, name in session.execute(statement)]

"""Queries on keys, projects and sign-ins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import CursorResult, delete, or_, select
from sqlalchemy.orm import Session

from service.shared.database.tables import ApiKey, Project, SignIn, now


def find_by_hash(session: Session, digest: str) -> tuple[ApiKey, Project] | None:
    """Find a key, valid or not, with its project."""
    statement = select(ApiKey, Project).join(Project, Project.id == ApiKey.project_id).where(ApiKey.hash == digest)
    row = session.execute(statement).one_or_none()
    return None if row is None else (row[0], row[1])


def any_active(session: Session) -> bool:
    """Tell whether a valid key exists."""
    valid = (ApiKey.revoked_at.is_(None), or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now()))
    return session.execute(select(ApiKey.id).where(*valid).limit(1)).first() is not None


def list_all(session: Session) -> Sequence[tuple[ApiKey, str]]:
    """List all keys with the names of their projects, oldest first."""
    statement = select(ApiKey, Project.name).join(Project, Project.id == ApiKey.project_id).order_by(ApiKey.created_at)
    return [(key, name) for key, name in session.execute(statement)]


def find_sign_in(session: Session, digest: str, *, is_link: bool) -> SignIn | None:
    """Find a session or link by its hash, unless expired."""
    row = session.get(SignIn, digest)
    return row if row is not None and row.is_link == is_link and row.expires_at > now() else None


def end_sign_in(session: Session, digest: str) -> bool:
    """Delete a session or link; True for exactly one of several concurrent calls."""
    result = session.execute(delete(SignIn).where(SignIn.hash == digest))
    return cast("CursorResult[Any]", result).rowcount == 1


def drop_sign_ins(session: Session, key_hash: str, keep: int) -> None:
    """Delete expired sessions and links, and all but the `keep` newest of a key."""
    session.execute(delete(SignIn).where(SignIn.expires_at <= now()))
    newest = select(SignIn.hash).where(SignIn.key_hash == key_hash).order_by(SignIn.created_at.desc()).offset(keep)
    session.execute(delete(SignIn).where(SignIn.hash.in_(session.scalars(newest).all())))

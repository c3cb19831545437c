"""Queries on the audit log."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.shared.database.tables import AuditEntry


def page(session: Session, project_id: str | None, before: int | None, limit: int) -> Sequence[AuditEntry]:
    """Return the newest entries before the id `before`; a `project_id` of None selects all projects."""
    statement = select(AuditEntry)
    if project_id is not None:
        statement = statement.where(AuditEntry.project_id == project_id)
    if before is not None:
        statement = statement.where(AuditEntry.id < before)
    return session.scalars(statement.order_by(AuditEntry.id.desc()).limit(limit)).all()

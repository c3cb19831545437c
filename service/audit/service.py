"""Entries of the audit log: recording and listing."""

from __future__ import annotations

import getpass
import logging

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from service.audit import repository
from service.audit.schemas import AuditOut
from service.http.context import Caller
from service.http.paging import Page, split
from service.shared.database.engine import Database
from service.shared.database.tables import AuditEntry, now

logger = logging.getLogger(__name__)


def record_request(db: Database, entry: AuditEntry) -> None:
    """Record a request whose effect is committed already: a failure is logged, not raised."""
    try:
        with db.write() as session:
            session.add(entry)
    except SQLAlchemyError as error:
        logger.error("not recorded in the audit log: %s %s: %r", entry.action, entry.path, error)


def record_command(session: Session, action: str, subject: str, project_id: str | None) -> None:
    """Record an operator's command, in the transaction that carries it out."""
    session.add(
        AuditEntry(
            time=now(), project_id=project_id, key_name=f"user {_user()}", action=action[:200], path=subject[:500]
        )
    )


def list_entries(caller: Caller, before: int | None, limit: int) -> Page[AuditOut]:
    """List the entries of the caller's project, newest first."""
    with caller.db.read() as session:
        rows, more = split(repository.page(session, caller.project_id, before, limit + 1), limit)
    entries = [AuditOut.model_validate(row) for row in rows]
    return Page(data=entries, has_more=more, next=entries[-1].id if entries else None)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return "unknown"

"""Writing and reading who did what."""

from __future__ import annotations

import getpass
import logging

from anyio.to_thread import run_sync
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.audit import repository
from service.audit.schemas import AuditOut
from service.http.context import Caller
from service.http.gate.origin import SAFE_METHODS
from service.http.paging import Page, split
from service.keys.service import Identity
from service.shared.database.engine import Database
from service.shared.database.tables import AuditEntry, now

logger = logging.getLogger(__name__)

# Reading is not recorded, but for what carries a trained model out.
RECORDED_READS = frozenset({"/jobs/{job_id}/artifacts/{name}"})


class AuditMiddleware:
    """Records what a key has changed, before it is told that it has."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def recorded(message: Message) -> None:
            # Looked at now: whoever signs in is known only after the route has looked.
            identity: Identity | None = scope.get("state", {}).get("identity")
            if message["type"] == "http.response.start" and identity is not None and _is_recorded(scope):
                db: Database = scope["app"].state.context.db
                await run_sync(_write, db, _entry(scope, identity, message["status"]))
            await send(message)

        await self.app(scope, receive, recorded)


def record_command(session: Session, action: str, subject: str, project_id: str | None) -> None:
    """What the operator did on the command line, in the transaction that does it."""
    session.add(
        AuditEntry(
            time=now(), project_id=project_id, key_name=f"user {_user()}", action=action[:200], path=subject[:500]
        )
    )


def list_entries(caller: Caller, before: int | None, limit: int) -> Page[AuditOut]:
    """Of the caller's project, newest first."""
    with caller.db.read() as session:
        rows, more = split(repository.page(session, caller.project_id, before, limit + 1), limit)
    entries = [AuditOut.model_validate(row) for row in rows]
    return Page(data=entries, has_more=more, next=entries[-1].id if entries else None)


def _is_recorded(scope: Scope) -> bool:
    return scope["method"] not in SAFE_METHODS or _route(scope) in RECORDED_READS


def _route(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", "other")


def _entry(scope: Scope, identity: Identity, status: int) -> AuditEntry:
    client = scope.get("client")
    return AuditEntry(
        time=now(),
        project_id=identity.project_id,
        key_id=identity.key_id,
        key_name=identity.name,
        action=f"{scope['method'][:20]} {_route(scope)}"[:200],
        path=scope["path"].replace("\0", "\\0")[:500],
        status=status,
        request_id=scope["state"].get("request_id"),
        address=client[0][:100] if client else None,
    )


def _write(db: Database, entry: AuditEntry) -> None:
    try:
        with db.write() as session:
            session.add(entry)
    except SQLAlchemyError as error:  # what was done is done; the request's log line tells of it too
        logger.error("not recorded in the audit log: %s %s: %r", entry.action, entry.path, error)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return "unknown"

"""Audit middleware: each change is recorded before its response is sent."""

from __future__ import annotations

from anyio.to_thread import run_sync
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.audit.service import record_request
from service.http.routes import policy_of
from service.keys.service import Identity
from service.shared.database.engine import Database
from service.shared.database.tables import AuditEntry, now


class AuditMiddleware:
    """Writer of an audit entry when the response of an audited request begins."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not policy_of(scope["path"]).is_audited(scope["method"]):
            await self.app(scope, receive, send)
            return

        async def recorded(message: Message) -> None:
            # Read now: a sign-in knows its identity only after its route has checked the code or key.
            identity: Identity | None = scope.get("state", {}).get("identity")
            if message["type"] == "http.response.start" and identity is not None:
                db: Database = scope["app"].state.context.db
                await run_sync(record_request, db, _entry(scope, identity, message["status"]))
            await send(message)

        await self.app(scope, receive, recorded)


def _entry(scope: Scope, identity: Identity, status: int) -> AuditEntry:
    client = scope.get("client")
    route = getattr(scope.get("route"), "path", "other")
    return AuditEntry(
        time=now(),
        project_id=identity.project_id,
        key_id=identity.key_id,
        key_name=identity.name,
        action=f"{scope['method'][:20]} {route}"[:200],
        path=scope["path"].replace("\0", "\\0")[:500],
        status=status,
        request_id=scope["state"].get("request_id"),
        address=client[0][:100] if client else None,
    )

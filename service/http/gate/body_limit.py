"""Body size limit: by Content-Length, else as soon as the received bytes exceed the limit."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.gate.rendering import BodyTooLarge, error_response
from service.http.routes import policy_of
from service.keys.service import Identity
from service.shared.errors import TooLarge

MULTIPART_BYTES = 64 * 1024  # overhead of a form around its file


class BodyLimitMiddleware:
    """Limit of each route's body size."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = _body_limit(scope)
        claimed = Headers(scope=scope).get("content-length", "")
        if claimed.isdecimal() and int(claimed[:19]) > limit:
            await error_response(too_large(scope, limit))(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise BodyTooLarge(too_large(scope, limit))
            return message

        await self.app(scope, counted, send)


def too_large(scope: Scope, limit: int) -> TooLarge:
    """Make the error; for a file, name the project's limit and how to raise it."""
    if _is_upload(scope):
        return TooLarge(
            f"The file is larger than the {_upload_bytes(scope):,} bytes that this project may upload. Split it, or "
            "have the operator raise the limit (ADAMSS_MAX_UPLOAD_BYTES, and adamss projects quota PROJECT "
            "--upload-bytes NUMBER).",
            param="file",
        )
    return TooLarge(f"The request is larger than the limit of {limit:,} bytes.")


def _body_limit(scope: Scope) -> int:
    return _upload_bytes(scope) + MULTIPART_BYTES if _is_upload(scope) else policy_of(scope["path"]).body_bytes


def _is_upload(scope: Scope) -> bool:
    form = Headers(scope=scope).get("content-type", "").lower().startswith("multipart/form-data")
    return form and policy_of(scope["path"]).takes_file


def _upload_bytes(scope: Scope) -> int:
    """Return the upload limit of the project that the request's key belongs to."""
    identity: Identity | None = scope.get("state", {}).get("identity")
    return 0 if identity is None else identity.upload_bytes

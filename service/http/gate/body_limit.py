"""Limits of a body: its size by Content-Length, else by the bytes received; and the bounds of what its JSON holds."""

from __future__ import annotations

from anyio.to_thread import run_sync
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.gate.json_bounds import check_json
from service.http.gate.rendering import BodyRefused, error_response
from service.http.routes import JSON_BYTES, policy_of
from service.keys.service import Identity
from service.shared.errors import ServiceError, TooLarge

MULTIPART_BYTES = 64 * 1024  # overhead of a form around its file


class BodyLimitMiddleware:
    """Limits of each route's body."""

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
        received, parts = 0, list[bytes]()
        is_form = _is_form(scope)  # any other body may be parsed as JSON, whatever type it claims

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            part = message.get("body", b"")
            received += len(part)
            if received > limit:
                raise BodyRefused(too_large(scope, limit))
            if not is_form:
                parts.append(part)
                if message["type"] == "http.request" and not message.get("more_body"):
                    await _check(scope, b"".join(parts))
                    parts.clear()
            return message

        await self.app(scope, counted, send)


async def _check(scope: Scope, body: bytes) -> None:
    bounds = policy_of(scope["path"]).json
    try:
        if len(body) > JSON_BYTES:  # a thread lets the event loop go on between the passes
            await run_sync(check_json, body, bounds)
        else:
            check_json(body, bounds)
    except ServiceError as error:
        raise BodyRefused(error) from None


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


def _is_form(scope: Scope) -> bool:
    return Headers(scope=scope).get("content-type", "").lower().startswith("multipart/form-data")


def _is_upload(scope: Scope) -> bool:
    return _is_form(scope) and policy_of(scope["path"]).takes_file


def _upload_bytes(scope: Scope) -> int:
    """Return the upload limit of the project that the request's key belongs to."""
    identity: Identity | None = scope.get("state", {}).get("identity")
    return 0 if identity is None else identity.upload_bytes

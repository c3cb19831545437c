"""Limits of a body: its size, by Content-Length or by the bytes received; progress while it arrives; and what its JSON
holds.
"""

from __future__ import annotations

import asyncio
from time import monotonic

from anyio.to_thread import run_sync
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.gate.json_bounds import check_json
from service.http.gate.rendering import BodyRefused, error_response
from service.http.routes import JSON_BYTES, policy_of
from service.keys.service import Identity
from service.shared.errors import ServiceError, TooLarge, TooSlow, model_too_large
from service.shared.settings import Settings

MULTIPART_BYTES = 64 * 1024  # overhead of a form around its file
# A body may keep the service waiting this long in all, and longer by what has arrived of it.
PATIENCE_SECONDS = 20.0
SLOWEST_BYTES = 1024  # a second


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
        body = _Body(scope, receive, limit)

        async def send_and_note(message: Message) -> None:
            body.awaited = False
            await send(message)

        await self.app(scope, body.receive, send_and_note)


class _Body:
    """A request's body as it arrives, and how long it was waited for.

    Attributes:
        awaited: whether the body may still matter; a response that has begun only waits for the connection's end.
    """

    def __init__(self, scope: Scope, receive: Receive, limit: int) -> None:
        self._scope, self._receive, self._limit = scope, receive, limit
        self._received, self._waited, self.awaited = 0, 0.0, True
        # Any body but a form or an archive may be parsed as JSON, whatever type it claims.
        self._parts: list[bytes] | None = None if _is_form(scope) or _is_archive(scope) else []

    async def receive(self) -> Message:
        """Receive a part of the body, or afterwards the end of the connection.

        Raises:
            BodyRefused: the body is too large, arrives too slowly, or is JSON beyond its bounds.
        """
        if not self.awaited:
            return await self._receive()
        message = await self._next_part()
        self._received += len(message.get("body", b""))
        self.awaited = message.get("more_body", False)
        if self._received > self._limit:
            raise BodyRefused(too_large(self._scope, self._limit))
        await self._check(message)
        return message

    async def _check(self, message: Message) -> None:
        """Check the JSON once it is whole."""
        if self._parts is None:
            return
        self._parts.append(message.get("body", b""))
        if message["type"] == "http.request" and not message.get("more_body"):
            body, self._parts = b"".join(self._parts), None
            await _check_json(self._scope, body)

    async def _next_part(self) -> Message:
        began = monotonic()
        patience = PATIENCE_SECONDS + self._received / SLOWEST_BYTES - self._waited
        try:
            async with asyncio.timeout(max(0.0, patience)):
                message = await self._receive()
        except TimeoutError:
            raise BodyRefused(too_slow(), {"connection": "close"}) from None
        self._waited += monotonic() - began
        return message


def too_slow() -> TooSlow:
    return TooSlow(
        f"The body stopped arriving, or arrives at less than {SLOWEST_BYTES} bytes a second. Send the request again, "
        "over a better connection.",
        code="body_too_slow",
    )


async def _check_json(scope: Scope, body: bytes) -> None:
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
    if _is_archive(scope):
        return model_too_large(limit)
    return TooLarge(f"The request is larger than the limit of {limit:,} bytes.")


def _body_limit(scope: Scope) -> int:
    if _is_archive(scope):
        settings: Settings = scope["app"].state.settings
        return settings.max_model_bytes
    return _upload_bytes(scope) + MULTIPART_BYTES if _is_upload(scope) else policy_of(scope["path"]).body_bytes


def _is_form(scope: Scope) -> bool:
    return Headers(scope=scope).get("content-type", "").lower().startswith("multipart/form-data")


def _is_upload(scope: Scope) -> bool:
    return _is_form(scope) and policy_of(scope["path"]).takes_file


def _is_archive(scope: Scope) -> bool:
    kind = Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower()
    return policy_of(scope["path"]).takes_archive and kind != "application/json"


def _upload_bytes(scope: Scope) -> int:
    """Return the upload limit of the project that the request's key belongs to."""
    identity: Identity | None = scope.get("state", {}).get("identity")
    return 0 if identity is None else identity.upload_bytes

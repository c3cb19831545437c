"""Send a text while a model writes it, as server-sent events; the work on it ends with the response."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Generator
from contextlib import suppress
from dataclasses import dataclass
from threading import Event
from typing import Any

import anyio
from anyio.to_thread import run_sync
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from service.shared.errors import ServiceError


@dataclass
class TextSource:
    """A text under way.

    Attributes:
        chunks: events that are sent.
        pieces: of `service.predict.service.write`, from which the chunks are made.
        cancelled: set where nobody wants the rest.
    """

    chunks: Generator[bytes]
    pieces: Generator[dict[str, Any]]
    cancelled: Event


async def stream(source: TextSource) -> StreamingResponse:
    """Respond once there is something to send: until then an error has a status of its own."""
    return _TextStream(source, await run_sync(next, source.chunks))


def event(value: dict[str, Any]) -> bytes:
    """Encode a server-sent event."""
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


class _TextStream(StreamingResponse):
    """Stream of a text that ends the work on it when the response ends, for whatever reason."""

    def __init__(self, source: TextSource, first: bytes) -> None:
        super().__init__(self._body(first), media_type="text/event-stream", headers={"x-accel-buffering": "no"})
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._source.cancelled.set()
            with anyio.CancelScope(shield=True):
                await run_sync(self._close)

    async def _body(self, first: bytes) -> AsyncIterator[bytes]:
        yield first
        while (chunk := await run_sync(self._next, abandon_on_cancel=True)) is not None:
            yield chunk

    def _next(self) -> bytes | None:
        """Return the next chunk, or an error as the last one; None at the end."""
        try:
            chunk = next(self._source.chunks, None)
        except ServiceError as error:
            facts = {"type": error.type, "code": error.code, "message": error.message, "param": error.param}
            return event({"error": facts})
        if self._source.cancelled.is_set():
            self._close()
        return chunk

    def _close(self) -> None:
        with suppress(ValueError):  # a thread is still in it, and closes it as soon as it has its chunk
            self._source.chunks.close()
            self._source.pieces.close()

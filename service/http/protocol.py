"""HTTP protocol of the server, with limits of time for clients that stall."""

from __future__ import annotations

from asyncio import Transport
from asyncio.events import TimerHandle

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0  # from the first byte of a request, or the connection, to the end of its headers
UNREAD_SECONDS = 60.0  # in which a client takes nothing of a response
_TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class TimedProtocol(H11Protocol):
    """uvicorn's protocol, which waits as long as it takes for everything but the next request of an idle connection.

    The progress of a request's body is limited in `service.http.gate.body_limit`, where somebody waits for it.
    """

    _head_timer: TimerHandle | None = None
    _unread_timer: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn does
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._refuse)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        self._stop_unread_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # A body that nobody waits for any more, after its response: it cannot put off the end of the connection.
        ends = self.timeout_keep_alive_task if self.conn.their_state is h11.SEND_BODY else None
        if ends is not None:
            self.timeout_keep_alive_task = None
        super().data_received(data)
        if ends is not None and self.conn.their_state is h11.SEND_BODY:
            self.timeout_keep_alive_task = ends
        elif ends is not None:
            ends.cancel()
        self._await_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stop_unread_timer()
        self._unread_timer = self.loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop_unread_timer()
        super().resume_writing()

    def _await_head(self) -> None:
        """Keep the timer running while part of a request's head has come, and stop it at the head's end."""
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._stop_head_timer()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._refuse)

    def _refuse(self) -> None:
        self.transport.write(_TIMED_OUT)
        self.transport.close()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_unread_timer(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

"""A proxy before a server of objects that is slow, cuts writes off, or answers in its place."""

from __future__ import annotations

from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from time import sleep
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

SLOW_SECONDS = 0.5
# Of one hop only, or set by this server itself.
HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect", "date", "server"}


class StoreProxy(ThreadingHTTPServer):
    """Forwards requests with their Host header, which is signed."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Forward)
        self.upstream = urlsplit(upstream)
        self.answer: tuple[int, str] | None = None
        self.delay, self.cuts = 0.0, False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fail(self, status: int, code: str = "SlowDown") -> None:
        self.answer = (status, code)

    def slow(self) -> None:
        self.delay = SLOW_SECONDS

    def cut(self) -> None:
        """Pass half of each write on, and close both connections."""
        self.cuts = True

    def expired(self) -> None:
        self.fail(403, "ExpiredToken")

    def full(self) -> None:
        self.fail(403, "QuotaExceeded")

    def heal(self) -> None:
        self.answer, self.delay, self.cuts = None, 0.0, False

    def __enter__(self) -> Self:
        Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self.server_close()


class _Forward(BaseHTTPRequestHandler):
    server: StoreProxy
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.server.answer is not None:
            status, code = self.server.answer
            self._send(status, {}, f"<Error><Code>{code}</Code></Error>".encode())
            return
        sleep(self.server.delay)
        upstream = HTTPConnection(self.server.upstream.hostname or "", self.server.upstream.port, timeout=60)
        try:
            if self.server.cuts and self.command in ("PUT", "POST"):
                self._cut(upstream, body)
                return
            upstream.request(self.command, self.path, body or None, dict(self.headers))
            answer = upstream.getresponse()
            size = answer.getheader("content-length")
            self._send(answer.status, dict(answer.getheaders()), answer.read(), size)
        finally:
            upstream.close()

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

    def _cut(self, upstream: HTTPConnection, body: bytes) -> None:
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            upstream.putheader(name, value)
        upstream.endheaders()
        upstream.send(body[: len(body) // 2])
        self.close_connection = True

    def _send(self, status: int, headers: dict[str, str], body: bytes, size: str | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in HOP:
                self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("content-length", size if self.command == "HEAD" and size else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...

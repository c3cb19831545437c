"""A hub of one data set or model, served locally."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

COMMIT = "c" * 40


@contextmanager
def serving(hub_id: str, files: Mapping[str, bytes], kind: Literal["datasets", "models"] = "datasets") -> Iterator[str]:
    """Serve a hub with one data set or model of these files; yield the address."""
    prefix = "/datasets" if kind == "datasets" else ""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def _answer(self, *, body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            resolve = f"{prefix}/{hub_id}/resolve/{COMMIT}/"
            if path in (f"/api/{kind}/{hub_id}/revision/main", f"/api/{kind}/{hub_id}/revision/{COMMIT}"):
                siblings = [{"rfilename": name, "size": len(content)} for name, content in files.items()]
                self._send(json.dumps({"id": hub_id, "sha": COMMIT, "siblings": siblings}).encode(), body)
            elif path == f"/api/{kind}/{hub_id}/tree/{COMMIT}":
                tree = [
                    {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
                    for name, content in files.items()
                ]
                self._send(json.dumps(tree).encode(), body)
            elif path.startswith(resolve) and path.removeprefix(resolve) in files:
                self._send(files[path.removeprefix(resolve)], body)
            else:
                self._send(b'{"error": "not found"}', body, 404, {"x-error-code": "RepoNotFound"})

        def _send(self, content: bytes, body: bool, status: int = 200, more: Mapping[str, str] | None = None) -> None:
            self.send_response(status)
            headers = {
                "content-length": str(len(content)),
                "content-type": "application/json",
                "etag": f'"{hashlib.sha256(content).hexdigest()}"',
                "x-repo-commit": COMMIT,
                **(more or {}),
            }
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

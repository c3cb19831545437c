"""Row 18 of the attacks: clients that stall. On a real connection, as a client of tests sends requests whole."""

from __future__ import annotations

import logging
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest

from service.http import protocol
from service.http.gate import access, body_limit
from service.keys import service as keys
from tests.security.support import METHODS, Target, routes_of, served
from tests.service.support import rows
from tests.worker.support import wait_until

PATIENCE = 20.0  # seconds after which a test fails; nothing here takes as long
LENIENT = (
    *("evil.com@127.0.0.1", "127.0.0.1#evil.com", "127.0.0.1/evil.com", "127.0.0.1?a", "a:b@localhost", "@localhost"),
    *("127.0.0.1\\evil.com", "[::1]evil.com", "[::1", "localhost:x", "localhost:80:80", "127.0.0.1 evil.com", ""),
)
Connect = Callable[[bytes], socket.socket]


@pytest.fixture(scope="module")
def address(session_target: Target) -> Iterator[tuple[str, int]]:
    with served(session_target.app, keep_alive=1) as url:
        parts = urlsplit(url)
        yield str(parts.hostname), parts.port or 0


@pytest.fixture
def connect(address: tuple[str, int]) -> Iterator[Connect]:
    """Opens a connection and sends some bytes."""
    opened: list[socket.socket] = []

    def opening(content: bytes) -> socket.socket:
        opened.append(socket.create_connection(address, timeout=PATIENCE))
        opened[-1].sendall(content)
        return opened[-1]

    yield opening
    for connection in opened:
        connection.close()


def head(method: str, path: str, key: str | None = None, host: str = "127.0.0.1", **fields: object) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"host: {host}"]
    lines += [] if key is None else [f"authorization: Bearer {key}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def everything(connection: socket.socket) -> bytes:
    """Return what arrives until the service closes the connection, or resets it over bytes that it did not read."""
    content = b""
    with suppress(ConnectionError):
        while part := connection.recv(65_536):
            content += part
    return content


def drip(connection: socket.socket, content: bytes) -> bytes:
    """Send a byte now and then until the service closes the connection; return what it says."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if select.select([connection], [], [], 0.05)[0]:
            return everything(connection)
        with suppress(ConnectionError):  # closed a moment ago: what it said lies there to be read
            connection.sendall(content)
    raise AssertionError("the service still waits")


def test_18_headers_that_do_not_end(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that says nothing, one that begins a request, one that sends a header a moment, also as its second
    request: each is closed.

    Seen to fail: with uvicorn's own protocol, each of them is open for ever.
    """
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    silent, begun, dripping, second = (
        connect(content) for content in (b"", b"GET / HT", b"GET /healthz HTTP/1.1\r\n", head("GET", "/healthz"))
    )
    answer = b""
    while not answer.endswith(b"}"):
        answer += second.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b" 408 " in drip(dripping, b"x-a: b\r\n")
    assert b" 408 " in drip(second, b"x")
    for connection in (silent, begun):
        assert everything(connection).startswith(b"HTTP/1.1 408")


def test_18_bodies_without_progress(
    session_target: Target, connect: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each call that takes a body, with one that stops and with one that trickles: 408, and the connection is closed.

    Seen to fail: with `_next_part` without its timeout, the service waits for ever.
    """
    monkeypatch.setattr(body_limit, "PATIENCE_SECONDS", 0.3)
    key, paths = session_target.keys["submit"], ("/jobs", "/datasets", "/signin")
    kinds = ("application/json", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded")
    for path, kind in zip(paths, kinds, strict=True):
        start = head("POST", path, key, content_type=kind, content_length=10_000)
        assert everything(connect(start + b"--x")).startswith(b"HTTP/1.1 408"), path
        assert drip(connect(start + b"--x\r\n"), b"a").startswith(b"HTTP/1.1 408"), path
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_18_rest_of_a_refused_body(session_target: Target, connect: Connect) -> None:
    """A body that was refused by its length, and trickles on: the connection ends with its time to stay alive.

    Seen to fail: with each byte putting the end off, as uvicorn's own protocol does.
    """
    start = head("POST", "/jobs", session_target.keys["submit"], content_length=10**9)
    connection = connect(start)
    assert b" 413 " in connection.recv(65_536)
    drip(connection, b"x")


def test_18_bodies_that_break_off(session_target: Target, connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    """A client that leaves within its body, on every call that takes one: no 500 and no traceback.

    Seen to fail: without ClientDisconnect in RequestMiddleware, uploads and sign-ins are each a 500 with a traceback.
    """
    caplog.set_level(logging.INFO)
    sent = 0
    for route in routes_of(session_target.app):
        if route.method not in ("POST", "PUT", "PATCH"):
            continue
        for kind in ("application/json", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"):
            path = route.fill(session_target.ids)
            start = head("POST", path, session_target.keys["submit"], content_type=kind, content_length=10_000)
            with closing(connect(start + b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n1')):
                sent += 1
    wait_until(lambda: [record.getMessage() for record in caplog.records].count("request") >= sent)
    for record in caplog.records:
        assert record.exc_info is None, record
        assert record.levelno < logging.ERROR, record
        assert getattr(record, "status", 0) < 500, vars(record)


def test_18_revoked_keys_end_idle_streams(session_target: Target, connect: Connect) -> None:
    """A stream of a job that waits has nothing to send, and ends all the same when its key is revoked.

    Seen to fail: without `_end_with`, it goes on until its next heartbeat, and the test runs into its patience.
    """
    assert 2 * access.RECHECK_SECONDS <= 2.0
    service = session_target.service
    with service.db.write() as session:
        key = keys.create_key(session, "watching")
    job = service.submit(name="waiting")["id"]
    connection = connect(head("GET", f"/jobs/{job}/stream", key.key))
    received = b""
    while b"event: state" not in received:
        received += connection.recv(65_536)
    began = time.monotonic()
    with service.db.write() as session:
        keys.revoke_key(session, key.id)
    connection.settimeout(10.0)  # a heartbeat comes after 15 s
    everything(connection)
    assert time.monotonic() - began < 10.0
    service.client.delete(f"/jobs/{job}")


def test_18_unread_responses(session_target: Target, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that asks for a long answer and takes none of it: the connection is given up.

    Seen to fail: without `pause_writing`, the service holds it open for ever.
    """
    monkeypatch.setattr(protocol, "UNREAD_SECONDS", 0.3)
    given_up: list[bool] = []
    stop = protocol.TimedProtocol.connection_lost

    def lost(self: protocol.TimedProtocol, exc: Exception | None) -> None:
        given_up.append(True)
        stop(self, exc)

    monkeypatch.setattr(protocol.TimedProtocol, "connection_lost", lost)
    folder = session_target.service.settings.files
    artifact = folder.artifact(session_target.ids["job_id"], "lora")
    whole = artifact.read_bytes()
    artifact.write_bytes(whole + b"\0" * 30_000_000)
    try:
        path = f"/jobs/{session_target.ids['job_id']}/artifacts/lora"
        connection = connect(head("GET", path, session_target.keys["read"]))
        wait_until(lambda: bool(given_up))
        connection.close()
    finally:
        artifact.write_bytes(whole)


@pytest.mark.parametrize("host", LENIENT)
def test_03_hosts_that_only_a_lenient_reader_takes(session_target: Target, host: str) -> None:
    """A Host header is a name or address and a port, and nothing that a URL may have beside them.

    Seen to fail: with `urlsplit` as the reader, nine of these are 127.0.0.1, ::1 or localhost.
    """
    for method in METHODS:
        answer = session_target.client("read").request(method, "/tasks", headers={"host": host})
        assert answer.status_code in (400, 403), method


def test_slow_but_steady_uploads_arrive(
    session_target: Target, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Show that what has arrived buys time: patience is for clients that stall, not for slow lines."""
    monkeypatch.setattr(body_limit, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(body_limit, "SLOWEST_BYTES", 100)
    opening = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
    body = opening + rows().encode() + b"\r\n--x--\r\n"
    fields: dict[str, Any] = {
        "content_type": "multipart/form-data; boundary=x",
        "content_length": len(body),
        "connection": "close",
    }
    connection = connect(head("POST", "/datasets?new=true", session_target.keys["submit"], **fields))
    size = len(body) // 8 + 1
    for begin in range(0, len(body), size):
        connection.sendall(body[begin : begin + size])
        time.sleep(0.1)  # the line is slow
    assert everything(connection).startswith(b"HTTP/1.1 201")

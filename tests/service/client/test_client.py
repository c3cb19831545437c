"""The client against a server that misbehaves on purpose."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from service.client import ApiError, Client, Unreachable, model_calls, sender
from service.client.connection import find_key, find_url
from service.shared.settings import Settings

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Plays the script's answers one after the other, the last one again and again; keeps what was asked."""

    script: list[Answer]
    asked: list[tuple[str, str, dict[str, str], bytes]]

    def _play(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.asked.append((self.command, self.path, headers, body))
        answer = self.script[0] if len(self.script) == 1 else self.script.pop(0)
        answer(self)

    do_GET = do_POST = do_DELETE = _play

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""


def reply(status: int, body: Any, **headers: str) -> Answer:
    def play(handler: Handler) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        for name, value in {"content-length": str(len(data)), "x-request-id": "req_1", **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(data)

    return play


def hang_up(handler: Handler) -> None:
    handler.close_connection = True


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[Client, type[Handler]]]]:
    monkeypatch.setenv("ADAMSS_HOME", str(tmp_path / "home"))
    for module in (sender, model_calls):
        monkeypatch.setattr(module, "PAUSES", (0.01, 0.01, 0.01))
    running: list[tuple[ThreadingHTTPServer, Thread, Client]] = []

    def start(*script: Answer) -> tuple[Client, type[Handler]]:
        handler = type("Scripted", (Handler,), {"script": list(script), "asked": []})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        client = Client(f"http://127.0.0.1:{server.server_address[1]}", "secret")
        running.append((server, thread, client))
        return client, handler

    yield start
    for server, thread, client in running:
        client.close()
        server.shutdown()
        thread.join()
        server.server_close()


JOB = {"id": "job_1", "status": "queued"}


def test_a_submit_is_repeated_under_one_key(serve: Any) -> None:
    client, handler = serve(hang_up, reply(503, {}), reply(201, JOB))
    assert client.submit({"name": "a"})["id"] == "job_1"
    keys = {headers["idempotency-key"] for _, _, headers, _ in handler.asked}
    assert len(handler.asked) == 3
    assert len(keys) == 1
    client.submit({"name": "a"})
    assert handler.asked[-1][2]["idempotency-key"] not in keys


def test_resume_sends_a_limit_where_there_is_one(serve: Any) -> None:
    client, handler = serve(reply(200, JOB), reply(200, JOB), reply(200, JOB))
    client.resume("job_1")
    client.resume("job_1", 7200)
    client.resume("job_1", devices=2)
    bodies = [body for *_, body in handler.asked]
    assert bodies == [b"", b'{"time_limit_seconds":7200}', b'{"resources":{"devices":2}}']


def test_what_changes_something_is_not_repeated(serve: Any) -> None:
    client, handler = serve(hang_up)
    with pytest.raises(Unreachable, match="adamss up"):
        client.cancel("job_1")
    assert len(handler.asked) == 1


def test_who_shall_come_back_next_month_is_told_so_at_once(serve: Any) -> None:
    client, handler = serve(
        reply(429, {"error": {"code": "device_hours_used_up", "message": "No."}}, retry_after="900")
    )
    with pytest.raises(ApiError, match="No"):
        client.submit({})
    assert len(handler.asked) == 1


def test_the_envelope_becomes_an_error(serve: Any) -> None:
    envelope = {"error": {"type": "invalid_request", "code": "unknown_model", "message": "No.", "param": "base_model"}}
    client, _ = serve(reply(422, envelope))
    with pytest.raises(ApiError, match=r"base_model: No\.") as caught:
        client.submit({})
    error = caught.value
    assert (error.status, error.code, error.param, error.request_id) == (422, "unknown_model", "base_model", "req_1")


def test_a_proxys_page_is_an_error_too(serve: Any) -> None:
    client, _ = serve(reply(413, b"<html>too large</html>"))
    with pytest.raises(ApiError, match="HTTP 413"):
        client.submit({})


def test_nobody_there() -> None:
    with Client("http://127.0.0.1:9", "key") as client, pytest.raises(Unreachable, match="ADAMSS_URL"):
        client.get_job("job_1")


def test_pages_are_followed(serve: Any) -> None:
    first = {"object": "list", "data": [{"id": "job_2"}], "has_more": True, "total": 2, "next": "c"}
    second = {"object": "list", "data": [{"id": "job_1"}], "has_more": False, "next": None}
    client, handler = serve(reply(200, first), reply(200, second))
    found = client.list_jobs(status="failed")
    assert ([job["id"] for job in found], found.total) == (["job_2", "job_1"], 2)
    assert [path for _, path, _, _ in handler.asked] == [
        "/jobs?status=failed&limit=50",
        "/jobs?status=failed&after=c&limit=49",
    ]


def test_metrics_come_once_and_in_order(serve: Any) -> None:
    def rows(*numbers: int) -> Answer:
        return reply(200, {"data": [{"seq": n, "step": n, "values": {}} for n in numbers]})

    running, ended = reply(200, {"status": "running"}), reply(200, {"status": "succeeded"})
    client, handler = serve(running, rows(1, 2), rows(), ended, rows(5), rows())
    assert [row["seq"] for row in client.iter_metrics("job_1", poll_seconds=0.01)] == [1, 2, 5]
    assert [path.split("after=")[1] for _, path, _, _ in handler.asked if "after" in path] == [
        f"{after}&limit=1000" for after in (0, 2, 2, 5)
    ]


def test_events_are_followed_to_the_end_of_the_job(serve: Any) -> None:
    def events(*numbers: int) -> Answer:
        data = [{"seq": number, "type": "phase", "message": "…"} for number in numbers]
        return reply(200, {"data": data, "has_more": False, "next": None})

    client, handler = serve(reply(200, JOB), events(1, 2), reply(200, {"id": "job_1", "status": "failed"}), events(3))
    assert [event["seq"] for event in client.iter_events("job_1", poll_seconds=0)] == [1, 2, 3]
    assert "after=2" in handler.asked[-1][1]


def test_wait_tells_of_changes_and_gives_up_in_time(serve: Any) -> None:
    running = reply(200, {"status": "running"})
    client, _ = serve(running, running, reply(200, {"status": "failed"}))
    seen: list[str] = []
    assert (
        client.wait("job_1", on_update=lambda job: seen.append(job["status"]), poll_seconds=0.01)["status"] == "failed"
    )
    assert seen == ["running", "failed"]
    client, _ = serve(running)
    with pytest.raises(TimeoutError, match="still running"):
        client.wait("job_1", timeout=0.05, poll_seconds=0.01)


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def listing(data: bytes, digest: str | None = None) -> Answer:
    sha256 = digest or hashlib.sha256(data).hexdigest()
    entry = {"name": "lora", "size_bytes": len(data), "sha256": sha256, "manifest": {}}
    return reply(200, {"data": [entry], "has_more": False})


def cut_after(data: bytes, count: int) -> Answer:
    def play(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("content-length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:count])
        hang_up(handler)

    return play


def test_a_broken_download_goes_on_where_it_stopped(serve: Any, tmp_path: Path) -> None:
    data = zipped(weights=bytes(range(256)) * 100)
    client, handler = serve(listing(data), cut_after(data, 1000), reply(206, data[1000:]))
    path = client.download("job_1", "lora", tmp_path / "out")
    assert path.read_bytes() == data
    assert handler.asked[-1][2]["range"] == "bytes=1000-"
    assert [file.name for file in path.parent.iterdir()] == ["lora.zip"]


def test_a_server_without_ranges_starts_over(serve: Any, tmp_path: Path) -> None:
    data = zipped(weights=bytes(5000))
    client, _ = serve(listing(data), cut_after(data, 100), reply(200, data))
    assert client.download("job_1", "lora", tmp_path).read_bytes() == data


def test_other_bytes_than_announced_are_refused(serve: Any, tmp_path: Path) -> None:
    data = zipped(weights=b"x")
    client, _ = serve(listing(data, digest="0" * 64), reply(200, data))
    with pytest.raises(ApiError, match="not what the service announced"):
        client.download("job_1", "lora", tmp_path)
    assert list(tmp_path.glob("*.zip")) == []
    assert list(tmp_path.glob(".*part")) == []


def test_it_unpacks_and_leaves_what_is_there_alone(serve: Any, tmp_path: Path) -> None:
    data = zipped(weights=b"x")
    client, _ = serve(listing(data), reply(200, data), listing(data))
    folder = client.download("job_1", "lora", tmp_path, extract=True)
    assert (folder / "weights").read_bytes() == b"x"
    with pytest.raises(FileExistsError, match="exists already"):
        client.download("job_1", "lora", tmp_path, extract=True)


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "C:evil"])
def test_a_zip_cannot_write_elsewhere(serve: Any, tmp_path: Path, name: str) -> None:
    data = zipped(**{name: b"x"})
    client, _ = serve(listing(data), reply(200, data))
    with pytest.raises(ValueError, match="leads out"):
        client.download("job_1", "lora", tmp_path / "out", extract=True)
    assert [path.name for path in tmp_path.rglob("*") if "evil" in path.name] == []


def test_no_such_artifact(serve: Any, tmp_path: Path) -> None:
    client, _ = serve(reply(200, {"data": [], "has_more": False}))
    with pytest.raises(ApiError, match="no artifact merged") as caught:
        client.download("job_1", "merged", tmp_path)
    assert caught.value.status == 404


def test_where_the_key_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serve: Any) -> None:
    monkeypatch.setenv("ADAMSS_HOME", str(tmp_path))
    assert find_key() is None
    (tmp_path / "api_key").write_text("from-file\n")
    assert find_key() == "from-file"
    monkeypatch.setenv("ADAMSS_API_KEY", "from-env")
    assert find_key() == "from-env"
    client, handler = serve(reply(200, JOB))
    client.get_job("job_1")
    assert handler.asked[0][2]["authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"ADAMSS_HOST": "0.0.0.0", "ADAMSS_PORT": "9000"},
        {"ADAMSS_HOST": "::1"},
        {"ADAMSS_URL": "https://adamss.example/", "ADAMSS_PORT": "9000"},
    ],
)
def test_client_and_settings_agree_on_the_address(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ADAMSS_HOST", "ADAMSS_PORT", "ADAMSS_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert find_url() == Settings().resolved_url


def test_a_port_that_is_no_number_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAMSS_PORT", "abc")
    with pytest.raises(ApiError, match="ADAMSS_PORT must be a number"):
        Client()

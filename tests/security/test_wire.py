"""Rows 13 to 16 of the attacks, and what surrounds every answer: forms, ranges, logs, numbers, floods, headers."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.http.gate.access import cookie_name
from service.http.gate.headers import HEADERS, HSTS
from service.keys.service import own_key
from service.keys.sessions import make_link
from service.shared.logs import JsonFormatter
from service.shared.settings import Settings
from tests.security.support import METHODS, Route, Target, leaves, memory, operations, paths_of, replaced, routes_of
from tests.service.support import BASE_URL, error_of, rows, running

CACHING = ("no-store", "no-cache", "private, no-cache")  # never kept without asking
BOUNDARY = "frontier"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything that is logged, as the commands format it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)


def part(name: str, content: bytes, headers: str = "") -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="a.csv"\r\n{headers}\r\n'
    return head.encode() + content + b"\r\n"


# Starlette leaves the file of a form that has no end to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_13_multipart_abuse(session_target: Target) -> None:
    """Forms with a hundred thousand parts, headers of megabytes, rubbish before the first part and after the last,
    names twice, no end: a 4xx each, and memory stays as it is.

    Seen to fail: with `request.form` without limits on files, fields and their size, the good file among 20,000 others
    is taken.
    """
    client = session_target.client("submit")
    good, end = part("file", rows().encode()), f"--{BOUNDARY}--\r\n".encode()
    field = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="f"\r\n\r\n1\r\n'.encode()
    bodies = {  # where it can, each has a good file in it, so that only what is around it can be the reason
        "many": good + part("x", b"1") * 20_000 + end,
        "twice": good + good + end,
        "many fields": good + field * 5_000 + end,
        "a field of megabytes": good + field.replace(b"\r\n1\r\n", b"\r\n" + b"1" * 3_000_000 + b"\r\n") + end,
        "long header": part("file", rows().encode(), "X-Long: " + "x" * 2_000_000 + "\r\n") + end,
        "many headers": part("file", rows().encode(), "X-A: b\r\n" * 50_000) + end,
        "no end": good,
        "name of a megabyte": good + part("file" + "x" * 1_000_000, b"a") + end,
        "other name": part("other", rows().encode()) + end,
        "no start": b"x" * 1_000_000,
        "empty": b"",
        "only dashes": b"-" * 1_000_000,
    }
    before = memory()
    for name, body in bodies.items():
        answer = client.post("/datasets", content=body, headers=FORM)
        assert answer.status_code in (400, 413, 422), (name, answer.status_code, answer.text[:200])
        error_of(answer.json())
    for kind in (
        "multipart/form-data",
        "multipart/form-data; boundary=",
        f"multipart/form-data; boundary={'x' * 5000}",
    ):
        assert client.post("/datasets", content=good + end, headers={"content-type": kind}).status_code in (400, 422)
    assert memory() - before < 60_000_000


def test_13_bodies_beyond_their_limit(session_target: Target) -> None:
    """Every call that takes a body: one that is too large is refused, by what it claims and by what arrives.

    Seen to fail: with BodyLimitMiddleware left out, all of them are read.
    """
    client = session_target.client("admin")

    def endless() -> Iterator[bytes]:
        for _ in range(40):
            yield b"[" * 100_000

    for route in routes_of(session_target.app):
        if route.method != "POST" or not takes_json(session_target, route.path):
            continue
        path, kind = route.fill(session_target.ids), {"content-type": "application/json"}
        for content in (b" " * 65_000_000, endless()):
            answer = client.request(route.method, path, content=content, headers=kind)
            assert answer.status_code in (400, 413), route
        claimed = client.request(route.method, path, content=b"{}", headers=kind | {"content-length": str(10**12)})
        assert claimed.status_code in (400, 413), route


def takes_json(target: Target, path: str) -> bool:
    body = target.app.openapi()["paths"].get(path, {}).get("post", {}).get("requestBody", {})
    return "application/json" in body.get("content", {})


def test_13_range_abuse(session_target: Target) -> None:
    """Ranges that overlap by the thousand, that are backwards, beyond, endless or no ranges: the file, a part of it or
    416, and never more than the file's size times the few ranges that are taken.

    Seen to fail: with `max_ranges` of a million, hundreds of parts are sent.
    """
    client = session_target.client("read")
    path = f"/jobs/{session_target.ids['job_id']}/artifacts/lora"
    size = len(client.get(path).content)
    for header in (
        "bytes=" + ",".join("0-" for _ in range(5_000)),
        "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 900, 2)),
        "bytes=" + "0-1," * 20_000,
        "bytes=0-" + "9" * 5_000,
        "bytes=5-1",
        "bytes=-0",
        f"bytes={10**17}-",
        "bytes=-" + "9" * 18,
        "lines=0-1",
        "bytes=",
        "bytes=a-b",
        "bytes=0-1;" + "x" * 5_000,
        "bytes = 0 - 1",
    ):
        answer = client.get(path, headers={"range": header})
        assert answer.status_code in (200, 206, 400, 416, 431), header[:40]
        assert len(answer.content) < 10 * size, header[:40]


def test_14_secrets_in_answers_and_logs(session_target: Target, log: io.StringIO) -> None:
    """Keys, sessions and codes of links in headers, cookies, queries and forms, right ones and wrong ones, on every
    path: in no answer and no log.

    Seen to fail: with the query in the log line of a request.
    """
    settings = session_target.service.settings
    first = own_key(settings)
    assert first is not None
    with session_target.service.db.write() as session:
        code = (make_link(session, settings) or "").partition("code=")[2]
    assert code
    token = session_target.browser("read").cookies[cookie_name(settings)]
    canary = "adamss_canary0000000000000000000000000000000"
    answers = []
    secrets = (canary, first, session_target.keys["read"], token, code)
    for turn, key in enumerate(secrets):
        ways: list[tuple[dict[str, str], str]] = [
            ({"authorization": f"Bearer {key}"}, ""),
            ({"authorization": f"Basic {key}"}, ""),
            ({"cookie": f"{cookie_name(settings)}={key}"}, ""),
            ({}, f"?token={key}&api_key={key}&code={key}"),
        ]
        for place, path in enumerate(paths_of(session_target.app)):
            if path.endswith("/stream"):
                continue
            stranger = session_target.client()
            headers, query = ways[(turn + place) % len(ways)]  # each path meets each way with one of the secrets
            answer = stranger.get(path.replace("{", "").replace("}", "") + query, headers=headers)
            answers.append(answer.text)
            answers.append(stranger.post(path.replace("{", "").replace("}", ""), data={"key": key}).text)
    ours = [line for line in log.getvalue().splitlines() if json.loads(line)["logger"] not in ("httpx", "httpx2")]
    assert len(ours) > 100
    for key in secrets:
        assert key not in "".join(answers)
        assert key not in "".join(ours)


def test_15_log_injection(session_target: Target, log: io.StringIO) -> None:
    """Line breaks and JSON in paths, headers, file names and ids: each record stays one JSON line with the fields it
    had, and none is forged.

    Seen to fail: with the message formatted into the line without json.dumps.
    """
    client = session_target.client("submit")
    forged = '\n{"level": "critical", "message": "forged"}\r\n\u2028\u2029\x1b[31m\x00\x7f\x9b\u202e'
    encoded = "%0A%7B%22level%22%3A%22critical%22%2C%22message%22%3A%22forged%22%7D%0D%0A%1b%5B31m%00"
    for route in routes_of(session_target.app):
        if not route.path.endswith("/stream"):
            client.request(route.method, route.fill(dict.fromkeys(session_target.ids, encoded)))
    client.get(f"/jobs?name={encoded}&after={encoded}")
    client.get("/jobs", headers={"x-request-id": "a\tb", "user-agent": "a\tb"})
    client.post("/datasets", files={"file": (forged, rows())})
    logging.getLogger("any").warning("said %s", forged, extra={"who": forged})
    try:
        raise ValueError(forged)
    except ValueError:
        logging.getLogger("any").exception("failed")
    records = [json.loads(line) for line in log.getvalue().splitlines()]
    assert len(records) > 20
    for record in records:
        assert {"time", "level", "logger", "message"} <= set(record)
        assert (record["level"], record["message"]) != ("critical", "forged")
    assert log.getvalue().isascii()
    assert "\x7f" not in log.getvalue()


def test_16_absurd_numbers(session_target: Target) -> None:
    """Every number of a spec, made absurd: 422 that names it, or a plan where the number is harmless.

    Seen to fail: with the upper bound of `training.epochs` left out.
    """
    client = session_target.client("submit")
    spec = client.get(f"/jobs/{session_target.ids['job_id']}").json()["resolved"]["spec"]
    unused = {("adamss", name) for name in ("asa_target_subspaces", "init_warmup", "final_warmup", "mask_interval")}
    # Seeds are any number, and this job prunes nothing.
    harmless = {("training", "seed"), ("adamss", "random_seed"), ("adamss", "asa_schedule_exponent"), *unused}
    numbers = [path for path in leaves(spec) if type(value_at(spec, path)) in (int, float)]
    assert len(numbers) > 20
    taken = set()
    for path in numbers:
        for number in (10**9, 10**30, -(10**9), 1e308):
            answer = client.post("/jobs?dry_run=true", json=replaced(spec, path, number))
            assert answer.status_code in (200, 422), (path, number, answer.text[:200])
            if answer.status_code == 200:
                taken.add(path)
        for text in ("NaN", "Infinity", "-Infinity", "1e999", "9" * 5_000):
            body = json.dumps(replaced(spec, path, "PLACE")).replace('"PLACE"', text)
            answer = client.post("/jobs?dry_run=true", content=body, headers={"content-type": "application/json"})
            assert answer.status_code in (400, 422), (path, text)
    assert taken <= harmless
    asked = 0
    for address, method, operation in operations(session_target.app):
        if method != "GET" or address.endswith("/stream"):
            continue
        for parameter in operation.get("parameters", []):
            if parameter["in"] != "query":
                continue
            for wrong in ("-1", "9" * 30, "NaN", "1e9", "0x10"):
                filled = Route(method, address).fill(session_target.ids)
                answer = client.get(filled, params={parameter["name"]: wrong})
                assert answer.status_code < 500, (address, parameter["name"], wrong)
                asked += 1
    assert asked > 100


def value_at(value: Any, path: tuple[str | int, ...]) -> Any:
    for part_ in path:
        value = value[part_]
    return value


def test_headers_on_every_answer(session_target: Target) -> None:
    """Every path, found or not, allowed or not: the headers that keep browsers from harm, and no inline script or
    style where the answer is a page.

    Seen to fail: with `protect` left out.
    """
    for key in (None, "admin"):
        for path in [*paths_of(session_target.app), "/nothing"]:
            if path.endswith("/stream") and key:
                continue
            for method in ("GET", "POST"):
                answer = session_target.client(key).request(method, path.replace("{", "").replace("}", ""))
                for name, value in HEADERS.items():
                    assert answer.headers[name] == value, (path, name)
                assert answer.headers["x-request-id"]
                assert answer.headers["cache-control"] in CACHING, path
                assert "server" not in answer.headers
                if "text/html" in answer.headers.get("content-type", ""):
                    page = answer.text
                    assert "<style" not in page
                    assert " style=" not in page
                    assert " onload=" not in page
                    assert "<script>" not in page
                    assert "https://" not in page
    policy = HEADERS["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


def test_https_adds_hsts_and_secure_cookie(settings: Settings) -> None:
    """Behind https: HSTS, and a cookie that never goes out without it; on plain loopback neither, or nothing works.

    Seen to fail: with `is_https` always false.
    """
    for url, secure in (("https://127.0.0.1:8642", True), (None, False)):
        with running(settings.model_copy(update={"url": url})) as service:
            browser = TestClient(service.app, base_url=BASE_URL, follow_redirects=False)
            answer = browser.post("/signin", data={"key": own_key(settings)})
            cookie = answer.headers["set-cookie"].lower()
            assert ("; secure" in cookie) == secure
            assert "httponly" in cookie
            assert "samesite=strict" in cookie
            assert (answer.headers.get("strict-transport-security") == HSTS) == secure


def test_hosts_by_the_operators_list(settings: Settings) -> None:
    """Beyond the list: refused on every method. Loopback names always pass, for probes on the machine itself.

    Seen to fail: with the list ignored.
    """
    listed = settings.model_copy(update={"allowed_hosts": ["train.example.org"]})
    with running(listed) as service:
        for host, status in (
            ("train.example.org", 200),
            ("TRAIN.example.org:443", 200),
            ("127.0.0.1:8642", 200),
            ("localhost", 200),
            ("other.example.org", 403),
            ("train.example.org.evil.example", 403),
            ("192.0.2.1", 403),
        ):
            for method in METHODS:
                answer = service.client.request(method, "/jobs", headers={"host": host})
                assert (answer.status_code == 403) == (status == 403), (host, method)

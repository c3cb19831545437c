"""What holds for every answer: its shape, its id, its documentation; and what starting costs."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy.exc import OperationalError

from service.http.app import create_app
from service.http.openapi import EVERYWHERE
from service.jobs import service as jobs
from service.shared.logs import JsonFormatter
from service.shared.settings import Settings
from tests.service.support import Service, error_of

START = """
import sys, time
began = time.perf_counter()
import service.http.app
seconds = time.perf_counter() - began
heavy = {"torch", "transformers", "peft", "sklearn", "celery", "adamss_core.model"} & set(sys.modules)
print(round(seconds, 2), sorted(heavy))
"""


def test_importing_the_api_imports_no_torch(capsys: pytest.CaptureFixture[str]) -> None:
    output = subprocess.run([sys.executable, "-c", START], capture_output=True, text=True, check=True).stdout
    with capsys.disabled():
        print(f"\nimport of service.http.app: {output.split()[0]} s")
    assert output.split(maxsplit=1)[1].strip() == "[]"


def test_making_an_app_touches_nothing(settings: Settings) -> None:
    create_app(settings)
    assert not settings.home.exists()


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/nothing", 404, "not_found"), ("PUT", "/jobs", 405, "method_not_allowed")],
)
def test_what_is_not_there(service: Service, method: str, path: str, status: int, code: str) -> None:
    response = service.client.request(method, path)
    assert response.status_code == status
    assert error_of(response.json())["code"] == code


def test_bodies_that_cannot_be_read(service: Service) -> None:
    json_header = {"content-type": "application/json"}
    for content, headers, status, code in [
        (b"{", json_header, 400, "invalid_json"),
        (b"\xff\xfe", json_header, 400, "invalid_json"),
        (b"[" * 100_000, json_header, 400, "malformed_request"),
        (b"[]", json_header, 422, "body_missing"),
        (b"", json_header, 422, "body_missing"),
        (b"{}", {"content-type": "text/plain"}, 422, "body_missing"),
        (b'{"name": "' + b"x" * 1_100_000 + b'"}', json_header, 413, "too_large"),
    ]:
        response = service.client.post("/jobs", content=content, headers=headers)
        assert response.status_code == status, (content[:20], response.text)
        assert error_of(response.json())["code"] == code, content[:20]


def test_every_answer_has_an_id(service: Service) -> None:
    ids = {service.client.get(path).headers["x-request-id"] for path in ("/jobs", "/nothing", "/healthz", "/docs")}
    assert len(ids) == 4
    sent = service.client.get("/jobs", headers={"x-request-id": "mine-1.2_3"})
    assert sent.headers["x-request-id"] == "mine-1.2_3"
    for bad in ("x" * 200, "a b", "<script>", "a\tb"):
        assert service.client.get("/jobs", headers={"x-request-id": bad}).headers["x-request-id"] != bad


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


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def test_an_unexpected_error_leaks_nothing_and_is_logged(
    service: Service, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the password is canary")

    monkeypatch.setattr(jobs, "show", broken)
    response = service.client.get("/jobs/job_1", headers={"x-request-id": "seen-again"})
    assert response.status_code == 500
    error = error_of(response.json())
    assert (error["type"], error["code"]) == ("server_error", "internal_error")
    assert "seen-again" in error["message"]
    assert response.headers["x-request-id"] == "seen-again"
    assert "canary" not in response.text
    (entry,) = [line for line in lines(log) if "traceback" in line]
    assert entry["request_id"] == "seen-again"
    assert "the password is canary" in entry["traceback"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OperationalError("select", {}, Exception("canary")), "database_unavailable"),
        (OSError(28, "No space left on device"), "disk_full"),
    ],
)
def test_what_may_pass_is_503(service: Service, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str) -> None:
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(jobs, "show", broken)
    response = service.client.get("/jobs/job_1")
    assert (response.status_code, error_of(response.json())["code"]) == (503, code)
    assert "canary" not in response.text


def cut_off() -> OperationalError:
    return OperationalError("select", {}, Exception("terminating connection"), connection_invalidated=True)


def test_what_only_reads_survives_a_cut_connection(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    show, asked = jobs.show, []

    def broken_once(caller: Any, job_id: str) -> Any:
        asked.append(job_id)
        if len(asked) == 1:
            raise cut_off()
        return show(caller, job_id)

    monkeypatch.setattr(jobs, "show", broken_once)
    assert service.client.get("/jobs/job_1").status_code == 404  # the answer of the second look
    assert asked == ["job_1", "job_1"]


def test_what_changes_something_is_not_done_twice(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def broken(_: Any, job_id: str) -> Any:
        asked.append(job_id)
        raise cut_off()

    monkeypatch.setattr(jobs, "cancel", broken)
    response = service.client.post("/jobs/job_1/cancel")
    assert (response.status_code, error_of(response.json())["code"]) == (503, "database_unavailable")
    assert asked == ["job_1"]


def test_a_request_is_one_line_without_keys(service: Service, log: io.StringIO) -> None:
    service.client.get("/signin?code=canary-in-query")
    service.client.get("/jobs/a%0A%7B%22level%22:%22error%22%7D", headers={"authorization": "Bearer canary-in-header"})
    found = [line for line in lines(log) if line["message"] == "request"]
    assert [line["status"] for line in found] == [200, 401]
    ours = [line for line in lines(log) if line["logger"] != "httpx2"]  # the test's own client logs too
    assert "canary" not in json.dumps(ours)
    assert {"time", "level", "logger", "request_id", "method", "path", "seconds"} <= set(found[0])


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    app: FastAPI = create_app(Settings(home=tmp_path_factory.mktemp("home")))
    return app.openapi()


def operations(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def test_every_call_is_explained_with_its_errors(schema: dict[str, Any]) -> None:
    envelope = {"$ref": "#/components/schemas/ErrorOut"}
    for name, operation in operations(schema):
        assert operation["description"], name
        assert operation["tags"][0] in {tag["name"] for tag in schema["tags"]}, name
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), (name, parameter["name"])
        answers = operation["responses"]
        if name not in ("get /healthz", "get /readyz"):
            assert {str(status) for status in EVERYWHERE} <= set(answers), name
            assert operation["security"], name
        for status, answer in answers.items():
            if int(status) >= 400 and name != "get /readyz":
                assert answer["content"]["application/json"]["schema"] == envelope, (name, status)
    assert "HTTPValidationError" not in schema["components"]["schemas"]


def test_every_field_is_explained(schema: dict[str, Any]) -> None:
    bare = [
        f"{name}.{field}"
        for name, model in schema["components"]["schemas"].items()
        for field, value in model.get("properties", {}).items()
        if not value.get("description") and not name.startswith(("Page", "Body_"))
    ]
    for allowed in ("ErrorOut.error", "JobSpec.dataset", "JobSpec.adamss", "JobSpec.training"):
        if allowed in bare:
            bare.remove(allowed)
    assert bare == []


def test_the_docs_load_nothing_from_elsewhere(service: Service) -> None:
    page = service.client.get("/docs").text
    assert "https://" not in page
    for name in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"):
        assert f"/docs/assets/{name}" in page
        assert service.client.get(f"/docs/assets/{name}").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/jobs/%00",
        "/jobs?name=a%00b",
        "/datasets/ds_%00",
        "/jobs/{job}/metrics?max_points=5&name=%5C",
        "/jobs/{job}/metrics?max_points=5&name=loss%22",
        "/jobs?after=" + urlsafe_b64encode(b"0001-01-01T00:00:00+14:00 x").decode().rstrip("="),
        "/jobs?after=" + urlsafe_b64encode(b"2026-01-01T00:00:00+00:00 \0").decode().rstrip("="),
    ],
)
def test_what_no_name_or_place_can_be_is_refused(any_service: Service, path: str) -> None:
    """Before: each was answered with 500 or 503, by one database or both."""
    answer = any_service.client.get(path.format(job=any_service.submit()["id"]))
    assert answer.status_code == 422, answer.text
    assert error_of(answer.json())["message"]


def test_text_that_no_json_can_hold_is_refused(service: Service) -> None:
    """Before: the job was made, and neither it nor the list of jobs could be shown any more."""
    body = json.dumps({**service.spec(), "adamss": {"auto_mapping": {"a": "\ud800"}}})
    answer = service.client.post("/jobs", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert service.client.get("/jobs").json()["data"] == []


def test_an_unknown_field_is_compared_with_those_of_its_own_call(service: Service) -> None:
    job = service.submit()["id"]
    answer = service.client.post(f"/jobs/{job}/predict", json={"inputs": [{"text": "x"}], "top_q": 3})
    message = error_of(answer.json())["message"]
    assert answer.status_code == 422
    assert "inputs" in message
    assert "base_model" not in message

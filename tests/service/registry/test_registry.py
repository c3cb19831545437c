"""Registered models: versions, labels, rollback, and artifacts that stay as long as they are registered."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from service.shared.database.tables import Artifact, Delivery, Job, now
from service.shared.settings import Settings
from tests.service.support import Service, error_of, finish, run_job
from worker.expired_files import Retention


def trained(service: Service) -> str:
    job_id: str = service.submit()["id"]
    run_job(service, job_id)
    finish(service, job_id, b"PK" + job_id.encode())
    return job_id


def publish(service: Service, job: str, name: str = "sentiment", **body: Any) -> dict[str, Any]:
    answer = service.client.post(f"/registry/{name}/versions", json={"job": job, **body})
    assert answer.status_code == 201, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def refused(answer: Any) -> tuple[int, str]:
    return answer.status_code, error_of(answer.json())["code"]


def test_versions_labels_and_rollback(service: Service) -> None:
    first, second = trained(service), trained(service)
    assert publish(service, first)["labels"] == {"live": 1}
    shown = publish(service, second, labels=["staging"])
    assert shown["labels"] == {"live": 1, "staging": 2}
    newest, oldest = shown["versions"]
    assert (newest["job"], oldest["job"], oldest["labels"]) == (second, first, ["live"])
    assert newest["metric"] == {"name": "accuracy", "direction": "max", "value": 0.9}
    assert (set(newest["artifacts"]), len(newest["datasets"])) == ({"lora"}, 1)
    moved = service.client.post("/registry/sentiment/labels", json={"label": "live", "version": 2}).json()
    assert (moved["labels"], moved["previous"]) == ({"live": 2, "staging": 2}, {"live": 1})
    assert publish(service, second)["labels"]["live"] == 2  # a repeated request makes no third version
    back = service.client.post("/registry/sentiment/rollback").json()
    assert (back["labels"], back["previous"]) == ({"live": 1, "staging": 2}, {})
    assert refused(service.client.post("/registry/sentiment/rollback")) == (409, "no_previous_version")
    removed = service.client.post("/registry/sentiment/labels", json={"label": "staging", "version": None}).json()
    assert removed["labels"] == {"live": 1}
    assert [one["name"] for one in service.client.get("/registry").json()["data"]] == ["sentiment"]


def test_a_withdrawn_version_gives_its_label_to_the_one_before(service: Service) -> None:
    first, second = trained(service), trained(service)
    publish(service, first)
    publish(service, second)
    path = "/registry/sentiment/versions/2"
    assert refused(service.client.delete(path)) == (409, "version_in_use")
    assert service.client.delete(path, params={"force": "true"}).status_code == 204
    assert service.client.get("/registry/sentiment").json()["labels"] == {"live": 1}
    assert publish(service, second)["labels"] == {"live": 3}  # the number 2 is not used again
    assert service.client.delete("/registry/sentiment").status_code == 204
    assert refused(service.client.get("/registry/sentiment")) == (404, "registered_model_not_found")


def test_a_way_back_never_leads_to_the_version_that_is_there(service: Service) -> None:
    first, second = trained(service), trained(service)
    publish(service, first)
    publish(service, second)
    for version in (2, 1):
        service.client.post("/registry/sentiment/labels", json={"label": "live", "version": version})
    assert service.client.delete("/registry/sentiment/versions/2").status_code == 204
    shown = service.client.get("/registry/sentiment").json()
    assert (shown["labels"], shown["previous"]) == ({"live": 1}, {})
    assert refused(service.client.post("/registry/sentiment/rollback")) == (409, "no_previous_version")


def test_registered_artifacts_stay(service: Service, settings: Settings) -> None:
    job_id = trained(service)
    publish(service, job_id)
    error = error_of(service.client.delete(f"/jobs/{job_id}").json())
    assert (error["code"], "sentiment@1" in error["message"]) == ("job_registered", True)
    with service.db.write() as session:
        job = session.get_one(Job, job_id)
        job.ended_at = now() - timedelta(days=9)
    short = service.settings.model_copy(update={"retain_artifacts_days": 1.0})
    retention = Retention(short, service.db, seconds=1.0, pass_seconds=60.0)
    assert retention.apply() == []
    with service.db.read() as session:
        assert session.get(Artifact, (job_id, "lora")) is not None
    assert service.client.delete(f"/jobs/{job_id}", params={"force": "true"}).status_code == 204
    assert service.client.get("/registry/sentiment").json()["versions"] == []
    other = trained(service)
    publish(service, other)
    service.client.delete("/registry/sentiment")
    with service.db.write() as session:
        session.get_one(Job, other).ended_at = now() - timedelta(days=9)
    assert [one.id for one in retention.apply()] == [other]


def test_changes_are_announced(service: Service) -> None:
    service.settings.webhook_hosts.append("example.org")
    first, second = trained(service), trained(service)
    publish(service, first)
    denied = service.client.patch("/registry/sentiment", json={"webhook": "https://example.com/"})
    assert refused(denied) == (422, "webhook_not_allowed")
    hook = {"webhook": "https://example.org/models"}
    assert service.client.patch("/registry/sentiment", json=hook).json()["webhook"] == hook["webhook"]
    publish(service, second)
    service.client.post("/registry/sentiment/rollback")
    service.client.delete("/registry/sentiment/versions/2")
    with service.db.read() as session:
        rows = session.scalars(select(Delivery).order_by(Delivery.created_at)).all()
        told = [json.loads(row.body) for row in rows]
    assert [one["type"] for one in told] == ["model.published", "model.rolled_back", "model.withdrawn"]
    assert told[0]["data"] == {"name": "sentiment", "version": 2, "job": second, "label": "live", "labels": {"live": 2}}
    assert told[1]["data"]["labels"] == {"live": 1}


def test_what_cannot_be_published(service: Service) -> None:
    unfinished = service.submit()["id"]
    path = "/registry/sentiment/versions"
    assert refused(service.client.post(path, json={"job": unfinished})) == (409, "job_queued")
    assert refused(service.client.post(path, json={"job": "job_none"})) == (404, "job_not_found")
    job_id = trained(service)
    assert refused(service.client.post("/registry/tiny/versions", json={"job": job_id})) == (409, "name_taken")
    assert service.client.post("/registry/a%20b/versions", json={"job": job_id}).status_code == 422
    publish(service, job_id)
    missing = service.client.post("/registry/sentiment/labels", json={"label": "live", "version": 7})
    assert refused(missing) == (404, "version_not_found")
    assert refused(service.client.post("/registry/sentiment/rollback", json={"label": "x"})) == (404, "label_not_found")
    for reference, code in (("sentiment@x", "label_not_found"), ("other", "registered_model_not_found")):
        answer = service.client.post(f"/registry/{reference}/predict", json={"inputs": ["good film"]})
        assert refused(answer) == (404, code)


def test_a_name_stands_for_its_job(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions of a name are asked of the artifact of the version that it stands for at that moment."""
    asked: list[str] = []

    def ask(order: dict[str, Any]) -> dict[str, Any]:
        asked.append(order["sha256"])
        return {"answers": [{"label": "a"}], "seconds": 0.1}

    monkeypatch.setattr(service.context.predictor, "ask", ask)
    jobs = [trained(service), trained(service)]
    hashes = [publish(service, job)["versions"][0]["artifacts"]["lora"] for job in jobs]
    for reference, number in (("sentiment", 2), ("sentiment@live", 2), ("sentiment@1", 1)):
        answer = service.client.post(f"/registry/{reference}/predict", json={"inputs": ["good film"]})
        assert answer.json()["job"] == jobs[number - 1]
        assert asked.pop() == hashes[number - 1]
    service.client.post("/registry/sentiment/rollback")
    service.client.post("/registry/sentiment/predict", json={"inputs": ["good film"]})
    assert asked == [hashes[0]]


def test_names_in_openais_routes(service: Service) -> None:
    publish(service, trained(service))
    found = service.client.get("/v1/models/sentiment@live").json()
    assert (found["id"], found["object"]) == ("sentiment@live", "model")
    absent = service.client.get("/v1/models/sentiment@staging")
    assert (absent.status_code, error_of(absent.json())["code"]) == (404, "model_not_found")
    kept = service.client.delete("/v1/models/sentiment")
    assert (kept.status_code, error_of(kept.json())["code"]) == (409, "job_registered")
    chat = {"model": "sentiment", "messages": [{"role": "user", "content": "hi"}]}
    answer = service.client.post("/v1/chat/completions", json=chat)
    assert (answer.status_code, error_of(answer.json())["code"]) == (400, "wrong_model")

"""Checkpoints as a start of other jobs, and published by a job of their own."""

from __future__ import annotations

import pytest

from service.shared.database.tables import Checkpoint, Job, JobStatus, now
from tests.service.support import Service, error_of, run_job, status_of
from worker.request import build_request


def with_checkpoint(service: Service, *, ended: bool = True) -> str:
    """A job that keeps a checkpoint of step 4."""
    job_id: str = service.submit()["id"]
    run_job(service, job_id)
    with service.db.write() as session:
        kept = {"attempt": 1, "path": "checkpoints/step-00000004", "best": True, "values": {}}
        session.add(Checkpoint(job_id=job_id, step=4, created_at=now(), **kept))
        if ended:
            job = session.get_one(Job, job_id)
            job.status, job.ended_at = JobStatus.FAILED, now()
    return job_id


def test_a_job_starts_from_a_checkpoint(service: Service) -> None:
    source = with_checkpoint(service)
    job = service.submit(init_from={"job": source, "checkpoint": 4})
    assert job["resolved"]["spec_version"] == 2
    with service.db.read() as session:
        request = build_request(service.db, session.get_one(Job, job["id"]), service.settings)
    start = request.init_from
    assert start is not None
    assert getattr(start, "folder", None) == service.settings.files.job(source).checkpoints / "step-00000004"
    assert type(request).from_json(request.to_json()) == request
    refused = service.client.delete(f"/jobs/{source}")
    assert (refused.status_code, error_of(refused.json())["code"]) == (409, "job_in_use")


def test_checkpoints_that_cannot_be_started_from(service: Service) -> None:
    source = with_checkpoint(service)
    refused = service.refused(init_from={"job": source, "checkpoint": 5})
    assert (refused["code"], refused["param"]) == ("no_checkpoint", "init_from.checkpoint")
    assert "steps 4" in refused["message"]
    running = with_checkpoint(service, ended=False)
    assert "has not ended" in service.refused(init_from={"job": running, "checkpoint": 4})["message"]
    assert service.refused(init_from={"job": source, "checkpoint": 0})["param"] == "init_from"


def test_a_checkpoint_is_published_by_a_job(service: Service) -> None:
    source = with_checkpoint(service)
    path = f"/jobs/{source}/checkpoints/4/publish"
    answers = [service.client.post(path, json={"artifacts": ["lora"]}, headers={"idempotency-key": "a"}) for _ in "ab"]
    assert [answer.status_code for answer in answers] == [201, 201]
    first, again = (answer.json() for answer in answers)
    assert first["id"] == again["id"]
    assert first["resolved"]["publishes"] == {"job": source, "step": 4}
    assert (first["name"], first["resolved"]["spec"]["artifacts"]) == ("reviews at step 4", ["lora"])
    with service.db.read() as session:
        request = build_request(service.db, session.get_one(Job, first["id"]), service.settings)
    assert request.publishes == service.settings.files.job(source).checkpoints / "step-00000004"
    assert type(request).from_json(request.to_json()) == request
    assert status_of(service, first["id"]) == "queued"
    assert service.client.delete(f"/jobs/{source}").status_code == 409


@pytest.mark.parametrize(
    ("step", "body", "status", "param"),
    [(5, {}, 404, "step"), (0, {}, 422, "step"), (4, {"artifacts": ["zip"]}, 422, "artifacts[0]")],
)
def test_publishing_in_vain(service: Service, step: int, body: dict[str, list[str]], status: int, param: str) -> None:
    source = with_checkpoint(service)
    refused = service.client.post(f"/jobs/{source}/checkpoints/{step}/publish", json=body)
    assert (refused.status_code, error_of(refused.json())["param"]) == (status, param)


def test_checkpoints_of_a_running_job_are_not_published(service: Service) -> None:
    source = with_checkpoint(service, ended=False)
    refused = service.client.post(f"/jobs/{source}/checkpoints/4/publish")
    assert (refused.status_code, error_of(refused.json())["code"]) == (409, "job_running")

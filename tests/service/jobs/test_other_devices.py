"""A job is resumed on another number of devices."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import select

from service.shared.database.tables import Event, Job
from service.shared.jobs import states
from tests.service.jobs.test_device_rules import forget_workers, refuse_missing, register
from tests.service.jobs.test_evaluating import evaluate, other_rows, trained
from tests.service.support import Service, beside_few_rows, error_of
from worker.request import build_request


def paused(service: Service, devices: int = 2, **changes: Any) -> str:
    job: str = service.submit(resources={"devices": devices, "kind": "a10"}, training={"max_length": 64}, **changes)[
        "id"
    ]
    assert service.client.post(f"/jobs/{job}/pause").json()["status"] == "paused"
    return job


def resume(service: Service, job: str, devices: Any) -> Any:
    return service.client.post(f"/jobs/{job}/resume", json={"resources": {"devices": devices}})


def test_a_paused_job_is_resumed_on_other_devices(service: Service) -> None:
    register(service, 4)
    job = paused(service)
    before = service.client.get(f"/jobs/{job}").json()
    answer = resume(service, job, 4).json()
    assert (answer["status"], answer["devices"]) == ("queued", 4)
    assert answer["spec"]["resources"] == {"devices": 4, "kind": "a10"}
    assert answer["resolved"]["spec"]["resources"]["devices"] == 4
    assert answer["resolved"]["estimate"]["devices"] == 4
    assert answer["resolved"]["estimate"]["memory_bytes"] < before["resolved"]["estimate"]["memory_bytes"]
    assert answer["resolved"]["estimate"]["steps"] == before["resolved"]["estimate"]["steps"]
    with service.db.read() as session:
        needs = states.needs_of(session, job)
        request = build_request(service.db, session.get_one(Job, job), service.settings)
        events = session.scalars(select(Event).where(Event.job_id == job).order_by(Event.seq)).all()
    assert needs == states.Needs(4, "a10", answer["resolved"]["estimate"]["memory_bytes"])
    assert request.spec.resources.devices == 4
    assert (events[-1].type, events[-1].data) == ("resumed", {"devices": 4})


def test_one_device_becomes_two(service: Service) -> None:
    """The row then asks for workers that know of devices."""
    register(service)
    job: str = service.submit(training={"max_length": 64})["id"]
    assert service.client.get(f"/jobs/{job}").json()["spec_version"] == 1
    service.client.post(f"/jobs/{job}/pause")
    answer = resume(service, job, 2).json()
    assert (answer["devices"], answer["spec_version"]) == (2, 2)
    with service.db.read() as session:
        assert session.get_one(Job, job).resolved["spec"]["resources"]["devices"] == 2


def test_devices_that_are_not_there_are_said_and_may_be_refused(service: Service, monkeypatch: Any) -> None:
    register(service)
    job = paused(service)
    refuse_missing(service, monkeypatch)
    error = error_of(resume(service, job, 3).json())
    assert (error["code"], error["param"]) == ("no_such_devices", "resources.devices")
    assert service.client.get(f"/jobs/{job}").json()["status"] == "paused"
    forget_workers(service)
    (warning,) = beside_few_rows(resume(service, job, 1).json()["resolved"]["warnings"])
    assert "No live worker has 1 device of kind a10" in warning


def test_numbers_that_are_none_and_jobs_that_train_nothing_are_refused(service: Service) -> None:
    job = paused(service)
    for odd in (0, 65, 1.5, "two", None):
        error = error_of(resume(service, job, odd).json())
        assert error["param"] == "resources.devices", json.dumps(error)
    evaluation = evaluate(service, trained(service), other_rows(service)).json()["id"]
    service.client.post(f"/jobs/{evaluation}/pause")
    assert error_of(resume(service, evaluation, 2).json())["code"] == "no_training"

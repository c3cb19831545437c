"""A plan is held against the workers: their memory, what they can compute in, and how fast they were."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from service.jobs import repository
from service.shared.database.tables import Job, JobStatus, Worker, now
from service.shared.resources import Resources
from tests.service.support import Service, beside_few_rows

GIGABYTE = 10**9


def register(service: Service, *, age: float = 0.0, **fields: Any) -> None:
    resources = Resources(**{"kind": "cpu", "memory_bytes": 64 * GIGABYTE, **fields}).model_dump()
    seen = now() - timedelta(seconds=age)
    row = Worker(
        id=f"w{age}{fields}", host="h", pid=1, devices=["cpu"], resources=resources, started_at=seen, seen_at=seen
    )
    with service.db.write() as session:
        session.merge(row)


def plan(service: Service, **changes: Any) -> dict[str, Any]:
    changes["training"] = {"max_length": 64, **changes.get("training", {})}  # the tiny model takes no more
    response = service.client.post("/jobs?dry_run=true", json=service.spec(**changes))
    answer: dict[str, Any] = response.json()
    assert response.status_code == 200, answer
    return answer | {"warnings": beside_few_rows(answer["warnings"])}


def test_memory_beyond_every_worker_is_a_warning(service: Service) -> None:
    assert plan(service)["warnings"] == []
    register(service, memory_bytes=GIGABYTE // 10)
    register(service, memory_bytes=900 * GIGABYTE, age=3_600)  # not heard from
    (warning,) = plan(service)["warnings"]
    assert "the workers have 100 MB at most" in warning
    assert "training.batch_size" in warning
    register(service, memory_bytes=8 * GIGABYTE)
    assert plan(service)["warnings"] == []


def test_memory_is_estimated_for_the_kind_of_device(service: Service) -> None:
    assert plan(service)["estimate"]["device"] == "cpu"
    assert plan(service)["estimate"]["memory_bytes"] > 400_000_000
    register(service, kind="cuda", bf16=True, fp16=True)
    found = plan(service)["estimate"]
    assert (found["device"], found["memory_phases"]) == ("cuda", None)
    assert found["memory_bytes"] < 100_000_000


@pytest.mark.parametrize(
    ("training", "has", "says"),
    [
        ({"precision": "fp16"}, {"fp16": True}, "training.precision is fp16"),
        ({"quantization": "4bit"}, {"quantization": True}, "training.quantization is 4bit"),
    ],
)
def test_what_no_worker_has_is_a_warning(
    service: Service, training: dict[str, Any], has: dict[str, Any], says: str
) -> None:
    assert plan(service, training=training)["warnings"] == []  # no worker is known
    register(service)
    (warning,) = plan(service, training=training)["warnings"]
    assert says in warning
    register(service, **has)
    assert plan(service, training=training)["warnings"] == []


def finish(service: Service, job_id: str, **result: Any) -> None:
    with service.db.write() as session:
        job = session.get_one(Job, job_id)
        job.status, job.ended_at, job.result = JobStatus.SUCCEEDED, now(), result


def test_seconds_come_from_finished_jobs(service: Service) -> None:
    spec = service.spec()
    assert service.client.post("/jobs?dry_run=true", json=spec).json()["estimate"]["seconds"] is None
    job_id = service.client.post("/jobs", json=spec).json()["id"]
    measured = {"training_seconds": 8.0, "seconds": 10.0, "train_rows": 40, "train_tokens": 200, "epochs": 2.0}
    finish(service, job_id, device="cuda", **measured)
    assert service.client.post("/jobs?dry_run=true", json=spec).json()["estimate"]["seconds"] is None
    finish(service, job_id, device="cpu", **measured)
    # 0.1 s a row, and 2 s for everything beside the steps
    rows = 36 * 3
    assert service.client.post("/jobs?dry_run=true", json=spec).json()["estimate"]["seconds"] == 0.1 * rows + 2
    calibrated = spec | {"adamss": {"basis": "inputs"}}
    found = service.client.post("/jobs?dry_run=true", json=calibrated).json()["estimate"]
    assert found["seconds"] == pytest.approx(0.1 * (rows + 0.7 * found["calibration_rows"]) + 2, abs=0.1)
    finish(service, job_id, device="cpu", **measured, calibration={"seconds": 1.0})
    assert service.client.post("/jobs?dry_run=true", json=spec).json()["estimate"]["seconds"] == 0.1 * rows + 1
    slower = spec | {"training": {"gradient_checkpointing": True}}
    assert service.client.post("/jobs?dry_run=true", json=slower).json()["estimate"]["seconds"] is None


def test_only_the_newest_succeeded_jobs_are_searched(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = service.spec()
    old, other = (service.client.post("/jobs", json=spec).json()["id"] for _ in range(2))
    measured = {"training_seconds": 8.0, "seconds": 10.0, "train_rows": 40, "train_tokens": 200, "epochs": 2.0}
    finish(service, old, device="cpu", **measured)
    finish(service, other)
    plan = "/jobs?dry_run=true"
    assert service.client.post(plan, json=spec).json()["estimate"]["seconds"] is not None
    monkeypatch.setattr(repository, "AMONG", 1)
    assert service.client.post(plan, json=spec).json()["estimate"]["seconds"] is None


def test_a_result_of_an_older_version_says_nothing_of_time(service: Service) -> None:
    spec = service.spec()
    job_id = service.client.post("/jobs", json=spec).json()["id"]
    finish(service, job_id, device="cpu", training_seconds=8.0, seconds=10.0)
    assert service.client.post("/jobs?dry_run=true", json=spec).json()["estimate"]["seconds"] is None

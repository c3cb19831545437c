"""Starting a job from the adapter of another one."""

from __future__ import annotations

from typing import Any

import pytest

from service.shared.database.tables import Artifact, Job, JobStatus, now
from tests.service.support import Service, error_of
from worker.request import build_request


def with_adapter(service: Service, job_id: str) -> None:
    with service.db.write() as session:
        path = f"artifacts/{job_id}/adapter.zip"
        sizes: dict[str, Any] = {"size_bytes": 3, "sha256": "0" * 64, "manifest": {}}
        session.get_one(Job, job_id).status = JobStatus.SUCCEEDED
        session.add(Artifact(job_id=job_id, name="adapter", path=path, created_at=now(), **sizes))


def test_a_job_of_the_same_shape_is_found_by_the_worker(service: Service) -> None:
    source = service.submit()["id"]
    with_adapter(service, source)
    job = service.submit(init_from=source)
    with service.db.read() as session:
        request = build_request(service.db, session.get_one(Job, job["id"]), service.settings)
    assert request.init_from == service.settings.files.artifact(source, "adapter")
    assert type(request).from_json(request.to_json()) == request


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"adamss": {"num_subspaces": 7}}, "adamss.num_subspaces"),
        ({"adamss": {"target_modules": ["key"]}}, "adamss.target_modules"),
        ({"adamss": {"target_modules": ["query", "value"], "bias": "frozen"}}, "adamss.bias"),
        ({"adamss": {"basis": "inputs"}}, "adamss.basis"),
        ({"adamss": {"layers_to_transform": [0]}}, "adamss.layers_to_transform"),
        ({"adamss": {"modules_to_save": ["pooler"]}}, "adamss.modules_to_save"),
    ],
)
def test_a_job_of_another_shape(service: Service, changes: dict[str, Any], param: str) -> None:
    source = service.submit()["id"]
    with_adapter(service, source)
    refused = service.refused(init_from=source, **changes)
    assert (refused["code"], refused["param"]) == ("init_from_differs", param)


@pytest.mark.parametrize(
    ("classes", "says"),
    [
        (["label0", "label1"], None),
        (["Label1", "Label0"], None),  # sorted the other way
        (["label0", "label1", "label2"], "but this job's classes are 'label0', 'label1'"),
        (["good", "bad"], "use data with the same classes"),
    ],
)
def test_other_classes_are_warned_of(service: Service, classes: list[str], says: str | None) -> None:
    source = service.submit()["id"]
    with_adapter(service, source)
    with service.db.write() as session:
        session.get_one(Job, source).result = {"labels": classes}
    plan = service.client.post("/jobs?dry_run=true", json=service.spec(init_from=source)).json()
    warnings = [warning for warning in plan["warnings"] if source in warning]
    assert len(warnings) == (says is not None)
    assert says is None or says in warnings[0]


def test_jobs_that_cannot_be_started_from(service: Service) -> None:
    waiting = service.submit()["id"]
    assert service.refused(init_from=waiting)["code"] == "no_adapter"
    assert service.refused(init_from="job_nothere1234")["code"] == "unknown_job"
    with_adapter(service, waiting)
    spec = service.spec(init_from=waiting)
    key = {"Authorization": f"Bearer {service.key_for('elsewhere')}"}
    dataset = service.client.post(
        "/datasets", files={"file": ("a.csv", "text,label\n" + "a,1\nb,2\n" * 9)}, headers=key
    )
    other = service.client.post("/jobs", json=spec | {"dataset": {"train": dataset.json()["id"]}}, headers=key)
    assert (other.status_code, error_of(other.json())["code"]) == (422, "unknown_job")


def test_an_adapter_that_a_job_waits_for_is_not_deleted(any_service: Service) -> None:
    """Before: the deletion was taken, and the job failed when its turn came."""
    source = any_service.submit()["id"]
    with_adapter(any_service, source)
    any_service.client.post(f"/jobs/{source}/cancel")
    waiting = any_service.submit(init_from=source)["id"]
    refused = any_service.client.delete(f"/jobs/{source}")
    assert (refused.status_code, error_of(refused.json())["code"]) == (409, "job_in_use")
    assert waiting in error_of(refused.json())["message"]
    any_service.client.post(f"/jobs/{waiting}/cancel")
    assert any_service.client.delete(f"/jobs/{source}").status_code == 204

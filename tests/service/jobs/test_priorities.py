"""Priorities of jobs, who may give them, and owners of jobs."""

from __future__ import annotations

from typing import Any

import pytest

from service.keys.service import create_key
from service.shared.database.tables import Job, Role
from service.shared.jobs import states
from tests.service.support import Service, add_worker, error_of, run_job


def headers(service: Service, role: Role, name: str = "ada") -> dict[str, str]:
    with service.db.write() as session:
        return {"authorization": f"Bearer {create_key(session, name, role=role).key}"}


def test_priority_decides_before_age(any_service: Service) -> None:
    """Seen to fail with jobs in the order of their age alone."""
    service = any_service
    data = {"train": service.add_rows()}
    for priority in (0, -5, -1):
        service.submit(name=f"at {priority}", dataset=data, priority=priority)
    high = service.client.post(
        "/jobs", json=service.spec(name="at 7", dataset=data, priority=7), headers=headers(service, Role.ADMIN)
    ).json()
    assert (high["priority"], high["preemptible"], high["owner"]) == (7, True, "ada")
    assert (high["devices"], high["device_kind"]) == (1, None)
    order = []
    with service.db.write() as session:
        add_worker(session)
    for _ in range(4):
        with service.db.write() as session:
            job_id = states.next_in_turn(session)
            assert job_id is not None
            order.append(session.get_one(Job, job_id).name)
            assert states.claim(session, job_id, "worker-1", 60.0) is not None
    assert order == ["at 7", "at 0", "at -1", "at -5"]


def test_above_0_needs_the_role_admin(any_service: Service) -> None:
    service = any_service
    plain = headers(service, Role.SUBMIT)
    for path in ("/jobs", "/jobs?dry_run=true"):
        refused = service.client.post(path, json=service.spec(priority=1), headers=plain)
        error = error_of(refused.json())
        assert (refused.status_code, error["code"], error["param"]) == (403, "priority_needs_admin", "priority")
        assert "role admin" in error["message"]
    job = service.client.post("/jobs", json=service.spec(priority=-1, preemptible=False), headers=plain).json()
    assert (job["priority"], job["preemptible"]) == (-1, False)
    assert service.client.patch(f"/jobs/{job['id']}", json={"priority": 1}, headers=plain).status_code == 403
    raised = service.client.patch(f"/jobs/{job['id']}", json={"priority": 0}, headers=plain).json()
    assert (raised["priority"], raised["spec"]["priority"]) == (0, -1)
    admin = headers(service, Role.ADMIN)
    assert service.client.patch(f"/jobs/{job['id']}", json={"priority": 100}, headers=admin).json()["priority"] == 100
    events = service.client.get(f"/jobs/{job['id']}/events").json()["data"]
    assert [event["data"] for event in events if event["type"] == "priority"] == [
        {"before": -1, "priority": 0},
        {"before": 0, "priority": 100},
    ]


def test_priority_of_a_job_that_waits_no_more_stays(any_service: Service) -> None:
    service = any_service
    job = service.submit()
    run_job(service, job["id"])
    refused = service.client.patch(f"/jobs/{job['id']}", json={"priority": -1, "name": "x"})
    error = error_of(refused.json())
    assert (refused.status_code, error["code"], error["param"]) == (409, "job_running", "priority")
    found = service.client.get(f"/jobs/{job['id']}").json()
    assert (found["priority"], found["name"]) == (0, "reviews"), "nothing of it is changed"
    assert service.client.patch(f"/jobs/{job['id']}", json={"priority": 0}).status_code == 200


@pytest.mark.parametrize("priority", [101, -101, 1.5, "high", True])
def test_bad_priorities_are_refused(service: Service, priority: Any) -> None:
    assert service.refused(priority=priority)["param"] == "priority"


def test_lists_are_narrowed_to_an_owner(any_service: Service) -> None:
    service = any_service
    data = {"train": service.add_rows()}
    ada, bob = (headers(service, Role.SUBMIT, name) for name in ("ada", "bob"))
    for name, key in (("one", ada), ("two", bob)):
        assert service.client.post("/jobs", json=service.spec(name=name, dataset=data), headers=key).status_code == 201

    def names(owner: str, key: dict[str, str]) -> list[str]:
        return [job["name"] for job in service.client.get("/jobs", params={"owner": owner}, headers=key).json()["data"]]

    assert names("me", ada) == names("ada", bob) == ["one"]
    assert names("me", bob) == ["two"]
    assert names("nobody", ada) == []
    all_jobs = service.client.get("/jobs", headers=ada).json()["data"]
    assert {job["name"]: job["mine"] for job in all_jobs} == {"one": True, "two": False}
    assert [service.client.get(f"/jobs/{job['id']}", headers=bob).json()["mine"] for job in all_jobs] == [True, False]

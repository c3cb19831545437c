"""Workers claim what they understand, and the database keeps out those that do not ask."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import text, update

from adamss_core.spec import SPEC_VERSION
from service.shared.database.clock import database_now
from service.shared.database.tables import Job, JobStatus, Worker, now
from service.shared.jobs import states
from tests.service.support import Service

NEWER = {"adamss": {"basis": "inputs"}}


def register(service: Service, name: str, version: int | None) -> None:
    """Register a worker; one without a version does so as releases before the versions did."""
    with service.db.write() as session:
        known = {} if version is None else {"spec_version": version}
        moment = database_now(session)
        session.merge(Worker(id=name, host="h", pid=1, devices=["cpu"], started_at=moment, seen_at=moment, **known))


def claim_without_asking(service: Service, job_id: str, worker: str) -> bool:
    """Claim a job as releases before the versions did."""
    taken = "UPDATE jobs SET status = 'running', attempt = attempt + 1, worker = :worker, lease_until = :until"
    with service.db.write() as session:
        values = {"worker": worker, "id": job_id, "until": now() + timedelta(seconds=60)}
        result = session.execute(text(f"{taken} WHERE id = :id AND status = 'queued'"), values)
        return bool(result.rowcount == 1)  # type: ignore[attr-defined]


def status(service: Service, job_id: str) -> tuple[JobStatus, int]:
    with service.db.read() as session:
        job = session.get_one(Job, job_id)
        return job.status, job.attempt


def test_an_older_worker_leaves_a_newer_job_in_the_queue(any_service: Service) -> None:
    plain, newer = any_service.submit(), any_service.submit(**NEWER)
    assert (plain["spec_version"], newer["spec_version"]) == (1, 2)
    register(any_service, "old", None)
    assert claim_without_asking(any_service, plain["id"], "old")
    assert not claim_without_asking(any_service, newer["id"], "old")
    assert not claim_without_asking(any_service, newer["id"], "unknown")
    assert status(any_service, newer["id"]) == (JobStatus.QUEUED, 0)
    register(any_service, "new", SPEC_VERSION)
    assert claim_without_asking(any_service, newer["id"], "new")


def test_every_way_back_into_the_queue_keeps_it_from_older_workers(any_service: Service) -> None:
    job_id = any_service.submit(**NEWER)["id"]
    register(any_service, "old", None)
    register(any_service, "new", SPEC_VERSION)
    with any_service.db.write() as session:
        assert states.claim(session, job_id, "new", 0.0) is not None
    with any_service.db.write() as session:
        assert states.expire_leases(session) == [job_id]
    assert not claim_without_asking(any_service, job_id, "old")
    with any_service.db.write() as session:
        states.pause(session, session.get_one(Job, job_id))
        states.resume(session, session.get_one(Job, job_id))
    assert not claim_without_asking(any_service, job_id, "old")


def test_this_worker_passes_over_a_job_of_a_later_version(any_service: Service) -> None:
    later, plain = any_service.submit()["id"], any_service.submit()["id"]
    register(any_service, "new", SPEC_VERSION)
    with any_service.db.write() as session:
        session.execute(update(Job).where(Job.id == later).values(spec_version=SPEC_VERSION + 1))
        assert states.next_in_turn(session) == plain
        assert states.claim(session, later, "new", 60.0) is None
        assert states.claim(session, plain, "new", 60.0) is not None
        assert states.next_in_turn(session) is None


@pytest.mark.parametrize(("worker", "warned"), [(None, True), (SPEC_VERSION, False)])
def test_a_dry_run_warns_where_no_live_worker_understands_the_job(
    service: Service, worker: int | None, warned: bool
) -> None:
    register(service, "worker", worker)
    answer = service.client.post("/jobs", params={"dry_run": "true"}, json=service.spec(**NEWER)).json()
    assert any("version 1 at most" in warning for warning in answer["warnings"]) is warned
    plain = service.client.post("/jobs", params={"dry_run": "true"}, json=service.spec()).json()
    assert not any("at most: it waits" in warning for warning in plain["warnings"])


def test_a_row_has_no_field_that_older_workers_would_refuse(service: Service) -> None:
    answer = service.submit()
    with service.db.read() as session:
        stored = session.get_one(Job, answer["id"]).resolved["spec"]
    assert "basis" not in stored["adamss"]
    assert answer["resolved"]["spec"]["adamss"]["basis"] == "weights"

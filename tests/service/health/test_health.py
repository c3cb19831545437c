"""Liveness, readiness and numbers."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text, update

from service.keys.service import create_key, identify
from service.shared.database.tables import Job, JobStatus, Role, Worker, now
from service.shared.jobs import states
from service.shared.settings import Settings
from tests.service.support import Service, report_metrics, run_job, running


def beat(service: Service, age: float) -> None:
    with service.db.write() as session:
        session.merge(
            Worker(id="w1", host="h", pid=1, devices=["cpu"], started_at=now(), seen_at=now() - timedelta(seconds=age))
        )


def test_liveness_needs_nothing(service: Service) -> None:
    response = service.client.get("/healthz", headers={"authorization": ""})
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_ready_once_a_worker_was_heard_from(any_service: Service) -> None:
    response = any_service.client.get("/readyz", headers={"authorization": ""})
    assert response.status_code == 503
    assert response.json() == {"ready": False, "database": True, "migrated": True, "broker": True, "worker": False}
    beat(any_service, 1)
    assert any_service.client.get("/readyz").json()["ready"] is True
    beat(any_service, any_service.settings.lease_seconds + 5)
    assert any_service.client.get("/readyz").status_code == 503


def test_not_ready_without_a_broker(settings: Settings) -> None:
    with running(settings.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"})) as service:
        beat(service, 1)
        state = service.client.get("/readyz")
        assert state.status_code == 503
        assert state.json() == {"ready": False, "database": True, "migrated": True, "broker": False, "worker": True}


@pytest.mark.parametrize(("revision", "known"), [("0001", False), ("9999", True), ("9.9999", False)])
def test_not_ready_on_a_schema_that_this_release_does_not_know(service: Service, revision: str, known: bool) -> None:
    beat(service, 1)
    with service.db.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
    answer = service.client.get("/readyz")
    assert (answer.status_code, answer.json()["migrated"]) == (200 if known else 503, known)


def test_numbers_for_prometheus(any_service: Service) -> None:
    any_service.client.post(f"/jobs/{any_service.submit()['id']}/cancel")
    any_service.submit()
    beat(any_service, 1)
    any_service.client.get("/jobs/job_abc")
    text = any_service.client.get("/metrics").text
    assert 'adamss_jobs{status="queued"} 1.0' in text
    assert 'adamss_jobs{status="cancelled"} 1.0' in text
    assert 'adamss_jobs{status="failed"} 0.0' in text
    assert "adamss_workers 1.0" in text
    assert "adamss_workers_busy 0.0" in text
    assert 'adamss_devices{device="cpu"} 1.0' in text
    assert "adamss_queue_age_seconds " in text
    assert 'adamss_requests_total{method="GET",route="/jobs/{job_id}",status="404"} 1.0' in text
    assert "job_abc" not in text


@pytest.mark.parametrize("role", [Role.READ, Role.SUBMIT, Role.ADMIN])
def test_a_key_sees_the_numbers_of_its_project_and_an_admin_all(any_service: Service, role: Role) -> None:
    """Seen to fail: every key saw the jobs of all projects, which workers were busy, and who asked for what."""
    any_service.client.post(f"/jobs/{any_service.submit()['id']}/cancel")
    for _ in range(2):
        any_service.submit()
    run_job(any_service, any_service.submit()["id"])
    beat(any_service, 1)
    with any_service.db.write() as session:
        key = create_key(session, "a scraper", "others", role).key
        session.execute(update(Job).values(queued_at=now() - timedelta(hours=1)))
    text = any_service.client.get("/metrics", headers={"authorization": f"Bearer {key}"}).text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    if role is Role.ADMIN:
        assert [lines[f'adamss_jobs{{status="{status}"}}'] for status in ("queued", "running")] == ["2.0", "1.0"]
        assert float(lines["adamss_queue_age_seconds"]) > 3_000
        assert lines["adamss_workers_busy"] == "1.0"
        assert "adamss_requests_total" in text
    else:
        assert lines == {f'adamss_jobs{{status="{status}"}}': "0.0" for status in JobStatus} | {
            "adamss_queue_age_seconds": "0.0"
        }
        with any_service.db.write() as session:  # one of the two waiting jobs becomes the scraper's
            scraper = identify(session, any_service.settings, key)
            assert scraper is not None
            waiting = select(Job).where(Job.status == JobStatus.QUEUED).limit(1)
            session.scalars(waiting).one().project_id = scraper.project_id
        text = any_service.client.get("/metrics", headers={"authorization": f"Bearer {key}"}).text
        assert 'adamss_jobs{status="queued"} 1.0' in text


def test_running_jobs_say_what_they_use(any_service: Service) -> None:
    """The last logged step of each job that runs; of others nothing, and no number that was not measured."""
    running, ended = any_service.submit()["id"], any_service.submit()["id"]
    for job, used in ((running, 150.0), (ended, 10.0)):
        run_job(any_service, job)
        report_metrics(any_service, job, [{"cpu_percent": 1.0}, {"cpu_percent": used, "process_memory_bytes": 5e8}])
        report_metrics(any_service, job, [{"eval_loss": 0.5}], kind="eval", first=2)
    with any_service.db.write() as session:
        states.succeed(session, ended, 1, {})
    text = any_service.client.get("/metrics").text
    lines = [line for line in text.splitlines() if line.startswith("adamss_job_")]
    assert lines == [
        f'adamss_job_cpu_percent{{job="{running}"}} 150.0',
        f'adamss_job_process_memory_bytes{{job="{running}"}} 5e+08',
    ]


def test_the_dashboard_asks_for_numbers_that_exist(service: Service) -> None:
    dashboard = json.loads(Path("docs/grafana/adamss.json").read_text())
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"adamss_\w+", target["expr"])
    }
    beat(service, 1)
    service.client.get("/jobs")  # a counter is there from the first request on
    text = service.client.get("/metrics").text
    assert len(asked) >= 6
    assert {name for name in asked if f"\n{name}" not in text} == set()

"""Liveness, readiness and numbers."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

from service.shared.database.tables import Worker, now
from service.shared.settings import Settings
from tests.service.support import Service, running


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
    assert response.json() == {"ready": False, "database": True, "broker": True, "worker": False}
    beat(any_service, 1)
    assert any_service.client.get("/readyz").json()["ready"] is True
    beat(any_service, any_service.settings.lease_seconds + 5)
    assert any_service.client.get("/readyz").status_code == 503


def test_not_ready_without_a_broker(settings: Settings) -> None:
    with running(settings.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"})) as service:
        beat(service, 1)
        state = service.client.get("/readyz")
        assert state.status_code == 503
        assert state.json() == {"ready": False, "database": True, "broker": False, "worker": True}


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

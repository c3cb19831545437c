"""Metrics that were moved to an artifact are read as they were before, by every route."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from pyarrow import parquet
from sqlalchemy import delete

from service.shared.database.tables import Artifact, Job, MetricRow, now
from service.shared.jobs import states
from service.shared.storage.home import Home
from tests.service.support import Service, error_of, report_metrics, run_job
from worker.artifact_rows import register
from worker.metrics_file import metrics_file

QUERIES = (
    "limit=10000",
    "limit=7",
    "after=90&limit=50",
    "after=100000",
    "name=loss&limit=10000",
    "name=eval_loss",
    "name=nothing",
    "name=eval_loss&limit=3&after=10",
    "max_points=1",
    "max_points=20",
    "max_points=10000",
    "max_points=20&name=loss",
    "max_points=2&name=eval_loss",
    "max_points=20&after=60",
    "max_points=20&name=nothing",
)


@pytest.fixture
def finished(any_service: Service) -> str:
    """A job with rows, evaluations and events between them."""
    job_id = str(any_service.submit()["id"])
    attempt = run_job(any_service, job_id)
    losses = [{"loss": 1 / step, "grad_norm": float(step % 13), "memory_bytes": 10**9} for step in range(1, 101)]
    for first in range(0, 100, 25):
        report_metrics(any_service, job_id, losses[first : first + 25], first=first + 1)
        report_metrics(any_service, job_id, [{"eval_loss": 1.0 / (first + 1)}], kind="eval", first=first + 25)
    with any_service.db.write() as session:
        assert states.succeed(session, job_id, attempt, {})
    return job_id


def move(service: Service, job_id: str) -> None:
    """Move the rows, as a worker does."""
    files: Home = service.settings.files
    made = metrics_file(service.db, files.job(job_id), job_id)
    with service.db.write() as session:
        register(session, files, job_id, [made])
        session.execute(delete(MetricRow).where(MetricRow.job_id == job_id))
        session.get_one(Job, job_id).metrics_archived_at = now()


def reads(service: Service, job_id: str) -> dict[str, Any]:
    found = {query: service.client.get(f"/jobs/{job_id}/metrics?{query}").json() for query in QUERIES}
    file = service.client.get(f"/jobs/{job_id}/metrics.parquet").content
    found["parquet"] = parquet.read_table(BytesIO(file)).to_pylist()
    for after in (0, 55):
        stream = service.client.get(f"/jobs/{job_id}/stream", headers={"last-event-id": str(after)}).text
        found[f"stream {after}"] = [frame for frame in stream.split("\n\n") if "event: state" not in frame]
    return found


def test_every_read_is_as_before(any_service: Service, finished: str) -> None:
    before = reads(any_service, finished)
    assert len(before["limit=10000"]["data"]) == 104
    assert len(before["parquet"]) == 104
    assert len(before["stream 0"]) > 104
    assert any_service.client.get(f"/jobs/{finished}").json()["metrics_archived_at"] is None
    move(any_service, finished)
    after = reads(any_service, finished)
    for name, answer in before.items():
        assert after[name] == answer, name
    assert any_service.client.get(f"/jobs/{finished}").json()["metrics_archived_at"] is not None


def test_a_job_without_metrics_has_none(service: Service) -> None:
    job_id = service.submit()["id"]
    assert service.client.get(f"/jobs/{job_id}/metrics").json()["data"] == []
    assert service.client.get(f"/jobs/{job_id}/metrics?max_points=5").json()["data"] == []


@pytest.mark.parametrize("gone", ["file", "row"])
def test_an_artifact_that_is_gone_is_said(service: Service, gone: str) -> None:
    job_id = str(service.submit()["id"])
    attempt = run_job(service, job_id)
    report_metrics(service, job_id, [{"loss": 1.0}])
    with service.db.write() as session:
        assert states.succeed(session, job_id, attempt, {})
    move(service, job_id)
    if gone == "file":
        service.settings.files.artifact(job_id, "metrics").unlink()
    else:
        with service.db.write() as session:
            session.execute(delete(Artifact).where(Artifact.job_id == job_id))
    for path in ("metrics", "metrics?max_points=5", "metrics.parquet"):
        answer = service.client.get(f"/jobs/{job_id}/{path}")
        assert answer.status_code == 404
        assert error_of(answer.json())["code"] == "metrics_gone"


def test_groups_of_rows_of_a_long_history(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of many groups is read at its ends and across their borders."""
    monkeypatch.setattr("service.shared.jobs.metrics_parquet.PAGE", 10)
    job_id = str(service.submit()["id"])
    attempt = run_job(service, job_id)
    report_metrics(service, job_id, [{"loss": float(step)} for step in range(95)])
    with service.db.write() as session:
        assert states.succeed(session, job_id, attempt, {})
    path = f"/jobs/{job_id}/metrics"
    queries = ["limit=25&after=14", "limit=5&after=90", "max_points=7", "max_points=50", "name=loss&limit=33"]
    before = [service.client.get(f"{path}?{query}").json() for query in queries]
    move(service, job_id)
    assert [service.client.get(f"{path}?{query}").json() for query in queries] == before

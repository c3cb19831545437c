"""Metric rows that are moved to a job's artifact, and come back where the job runs again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from service.shared.database.tables import Job, JobStatus, MetricRow, now
from service.shared.jobs.metric_archive import find_archive
from tests.worker.support import Service, scaled_settings
from worker.artifact_rows import register
from worker.metrics_archiver import MetricsArchiver
from worker.metrics_file import metrics_file
from worker.report_store import ReportStore
from worker.reporter import BufferedReporter

STEPS = 300


@pytest.fixture(params=["sqlite", "postgresql"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    url = None if request.param == "sqlite" else request.getfixturevalue("migrated_postgres_url")
    service = Service(scaled_settings(tmp_path / "home", **({} if url is None else {"database_url": url})))
    yield service
    service.db.close()


def ended(service: Service, days: float, status: JobStatus = JobStatus.SUCCEEDED, **odd: Any) -> str:
    """Add a job with a history; `odd` is among the values of one of its rows."""
    job_id = service.add_job()
    with service.db.write() as session:
        job, moment = session.get_one(Job, job_id), now()
        for step in range(1, STEPS + 1):
            values = {"loss": 1 / step, "memory_bytes": 10**9 + step} | (odd if step == 100 else {})
            row = MetricRow(job_id=job_id, seq=2 * step, attempt=1, kind="train", step=step, epoch=step / 7)
            row.time, row.values = moment + timedelta(microseconds=step), values
            session.add(row)
        job.status, job.ended_at, job.last_seq = status, moment - timedelta(days=days), 2 * STEPS
    return job_id


def contents(rows: list[MetricRow]) -> list[tuple[Any, ...]]:
    return [(row.seq, row.kind, row.step, row.epoch, row.time, row.values) for row in rows]


def archive(service: Service, days: float = 30.0) -> None:
    times = {"seconds": 0.0, "pass_seconds": 60.0}
    MetricsArchiver(service.db, service.settings.files, days, None, **times).round()


def archived(service: Service, job_id: str) -> list[MetricRow] | None:
    with service.db.read() as session:
        found = find_archive(session, service.settings.files, job_id)
    return None if found is None else found.after(0, 10_000)


def test_rows_move_to_the_artifact_when_their_time_has_come(service: Service) -> None:
    old, young = ended(service, days=31), ended(service, days=29)
    running = ended(service, days=31, status=JobStatus.RUNNING)
    with service.db.write() as session:
        session.get_one(Job, running).ended_at = None
    before = {job_id: contents(service.metrics(job_id)) for job_id in (old, young, running)}
    archive(service)
    assert service.metrics(old) == []
    rows = archived(service, old)
    assert rows is not None
    assert contents(rows) == before[old]
    assert isinstance(rows[0].values["memory_bytes"], int)
    assert [row.name for row in service.artifacts(old)] == ["metrics"]
    for job_id in (young, running):
        assert archived(service, job_id) is None
        assert contents(service.metrics(job_id)) == before[job_id]


def test_an_artifact_that_the_run_published_is_kept_as_it_is(service: Service) -> None:
    job_id = ended(service, days=1)
    made = metrics_file(service.db, service.settings.files.job(job_id), job_id)
    with service.db.write() as session:
        register(session, service.settings.files, job_id, [made])
    archive(service, days=0.5)
    assert service.metrics(job_id) == []
    assert [row.sha256 for row in service.artifacts(job_id)] == [made.sha256]
    assert len(archived(service, job_id) or []) == STEPS


def test_rows_that_the_file_does_not_give_back_stay(service: Service) -> None:
    """A null is not told from a missing value in the file, nor is a value that only a row in the middle has."""
    jobs = [ended(service, days=2, **odd) for odd in ({"loss": None}, {"rare": 1.0})]
    other = ended(service, days=1)
    archive(service, days=0.5)
    for job_id in jobs:
        assert len(service.metrics(job_id)) == STEPS
        assert archived(service, job_id) is None
    assert len(archived(service, other) or []) == STEPS


def test_a_job_that_runs_again_has_its_rows_back(service: Service) -> None:
    job_id = ended(service, days=2)
    before = contents(service.metrics(job_id))
    archive(service, days=0.5)
    with service.db.write() as session:
        job = session.get_one(Job, job_id)
        job.status, job.attempt = JobStatus.RUNNING, 2
    files = service.settings.files
    store = ReportStore(service.db, job_id, 2, files.job(job_id), files)
    reporter = BufferedReporter(store, lease_seconds=60)
    reporter.resumed(200)
    reporter.metrics(kind="train", step=201, epoch=1.0, values={"loss": 0.5})
    reporter.close(60)
    rows = service.metrics(job_id)
    assert contents(rows[:200]) == before[:200]
    assert service.job(job_id).metrics_archived_at is None
    assert rows[-1].step == 201

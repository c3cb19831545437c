from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from service.shared.database.tables import Checkpoint, Job, SubspaceMap, now
from service.shared.jobs import states
from tests.worker.support import Service
from worker import report_store, reporter
from worker.batch import Batch, Row
from worker.report_store import DatabaseUnavailable, ReportStore, StaleAttempt


@pytest.fixture
def job(service: Service) -> Job:
    job_id = service.add_job()
    service.settings.files.job(job_id).path.mkdir()
    return claim(service, job_id)


def claim(service: Service, job_id: str) -> Job:
    with service.db.write() as session:
        job = states.claim(session, job_id, "worker", 60.0)
    assert job is not None
    return job


def store_of(service: Service, job: Job) -> ReportStore:
    return ReportStore(service.db, job.id, job.attempt, service.settings.files.job(job.id), service.settings.files)


def metric(step: int, loss: float = 1.0) -> Row:
    return {"kind": "train", "step": step, "epoch": 0.1, "time": now(), "values": {"loss": loss}}


def batch_of(*reports: tuple[str, Row], resumed: int | None = None) -> Batch:
    batch = Batch(resumed=resumed)
    for kind, row in reports:
        batch.add(kind, row)
    return batch


def test_rows_are_numbered_by_time_and_maps_come_last(service: Service, job: Job) -> None:
    event = {"type": "note", "message": "m", "data": {}, "time": now() - timedelta(seconds=5)}
    reports = [("subspaces", {"step": 1, "summary": {}}), ("metric", metric(1)), ("event", event)]
    store_of(service, job).write(batch_of(*reports), [])
    started, note = service.events(job.id)
    with service.db.read() as session:
        map_seq = session.get_one(SubspaceMap, (job.id, 1)).seq
    assert [started.seq, note.seq, service.metrics(job.id)[0].seq, map_seq] == [1, 2, 3, 4]
    assert service.job(job.id).last_seq == 4


def test_a_stale_attempt_writes_nothing(service: Service, job: Job) -> None:
    with service.db.write() as session:
        assert states.give_back(session, job.id, job.attempt, charge=True)
    claim(service, job.id)
    with pytest.raises(StaleAttempt):
        store_of(service, job).write(batch_of(("metric", metric(1)), resumed=0), [("metric", metric(2))])
    assert service.metrics(job.id) == []
    assert service.count(Checkpoint) == 0


def test_only_rows_left_behind_that_are_missing_and_not_void_are_written(service: Service, job: Job) -> None:
    store_of(service, job).write(batch_of(("metric", metric(1, loss=0.5)), ("metric", metric(3, loss=0.5))), [])
    with service.db.write() as session:
        assert states.give_back(session, job.id, job.attempt, charge=False)
    newer = store_of(service, claim(service, job.id))
    left = [("metric", metric(step, loss=9.0)) for step in (1, 2, 3, 4)]
    newer.write(batch_of(("metric", metric(4, loss=0.1)), resumed=2), left)
    rows = service.metrics(job.id)
    assert sorted((row.step, row.attempt, row.values["loss"]) for row in rows) == [
        (1, 1, 0.5),
        (2, 2, 9.0),
        (4, 2, 0.1),
    ]


def test_progress_without_asa_keeps_the_counts_shown(service: Service, job: Job) -> None:
    store, shown = store_of(service, job), {"total": 4, "active": 3, "target": 2}
    progress = {"step": 1, "total_steps": 9, "epoch": 0.1, "eta_seconds": float("nan")}
    store.write(Batch(progress=progress | {"asa": shown}), [])
    store.write(Batch(progress=progress | {"step": 2, "asa": None}), [])
    row = service.job(job.id)
    assert (row.step, row.total_steps, row.eta_seconds, row.asa) == (2, 9, None, shown)


def test_an_outage_is_told_apart_from_a_bug(service: Service, job: Job) -> None:
    with service.db.engine.begin() as connection:
        connection.exec_driver_sql("alter table metrics rename to elsewhere")
    with pytest.raises(DatabaseUnavailable, match="metrics") as caught:
        store_of(service, job).write(batch_of(("metric", metric(1))), [])
    assert not caught.value.disk_full


def test_the_store_has_no_thread_and_the_buffer_no_sql() -> None:
    assert "threading" not in Path(report_store.__file__).read_text()
    assert "sqlalchemy" not in Path(reporter.__file__).read_text()

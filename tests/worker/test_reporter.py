from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from time import monotonic

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import OperationalError

from service.shared.database.engine import Database
from service.shared.database.tables import Job, JobStatus, MetricRow, SubspaceMap
from service.shared.jobs import states
from tests.worker.support import Service, wait_until
from worker.batch import Batch, Row
from worker.report_store import DatabaseUnavailable, ReportStore
from worker.reporter import BufferedReporter


@pytest.fixture
def job(service: Service) -> Job:
    job_id = service.add_job()
    (service.settings.files.job(job_id).path).mkdir()
    return claim(service.db, job_id)


@pytest.fixture
def reporter(service: Service, job: Job) -> Iterator[BufferedReporter]:
    reporter = make(service, job)
    yield reporter
    reporter.close(5)


def make(service: Service, job: Job, **fields: object) -> BufferedReporter:
    folder = service.settings.files.job(job.id)
    options = {"lease_seconds": 10.0, "interval": 0.05, **fields}
    store = ReportStore(service.db, job.id, job.attempt, folder, service.settings.files)
    return BufferedReporter(store, **options)  # type: ignore[arg-type]


def claim(db: Database, job_id: str) -> Job:
    with db.write() as session:
        job = states.claim(session, job_id, "worker", 60.0)
    assert job is not None
    return job


def claim_again(service: Service, job: Job) -> Job:
    with service.db.write() as session:
        assert states.give_back(session, job.id, job.attempt, charge=True)
    return claim(service.db, job.id)


def metric(reporter: BufferedReporter, step: int, loss: float = 1.0, kind: str = "train") -> None:
    reporter.metrics(kind=kind, step=step, epoch=step / 10, values={"loss": loss})


def test_everything_reported_is_written_when_it_is_closed(service: Service, job: Job) -> None:
    reporter = make(service, job, interval=60.0)
    for step in range(1, 501):
        metric(reporter, step)
        reporter.progress(step=step, total_steps=500, epoch=step / 10, eta_seconds=1.5, asa=None)
    reporter.event("done", "All steps were made.", {})
    assert reporter.close(5)
    rows, events = service.metrics(job.id), service.events(job.id)
    assert [row.step for row in rows] == list(range(1, 501))
    assert [event.type for event in events] == ["started", "done"]
    assert [events[0].seq, *(row.seq for row in rows), events[1].seq] == list(range(1, 503))
    assert (service.job(job.id).step, service.job(job.id).last_seq) == (500, 502)


def test_the_newest_result_is_shown_before_the_job_has_ended(
    service: Service, job: Job, reporter: BufferedReporter
) -> None:
    assert not reporter.started.is_set()
    for step in (1, 2):
        reporter.result({"eval_accuracy": 0.5, "comparison": {"running": {"step": step, "eta_seconds": float("nan")}}})
    assert reporter.started.is_set()  # from here on a stop is worth a checkpoint
    assert reporter.close(5)
    found = service.job(job.id)
    assert (found.status, found.result) == (
        JobStatus.RUNNING,
        {"eval_accuracy": 0.5, "comparison": {"running": {"step": 2, "eta_seconds": None}}},
    )


def test_a_stale_attempt_shows_no_result(service: Service, job: Job) -> None:
    stale = make(service, job)
    claim_again(service, job)
    stale.result({"eval_accuracy": 0.5})
    assert not stale.close(5)
    assert service.job(job.id).result is None


def test_rows_are_at_most_an_interval_old(service: Service, job: Job, reporter: BufferedReporter) -> None:
    metric(reporter, 1)
    wait_until(lambda: len(service.metrics(job.id)) == 1)


def test_calls_return_while_the_database_is_locked(service: Service, job: Job, reporter: BufferedReporter) -> None:
    with service.db.write() as session:
        session.connection()  # begins the transaction
        begin = monotonic()
        for step in range(1, 1001):
            metric(reporter, step)
            assert not reporter.stop_requested()
        assert monotonic() - begin < 1
    assert reporter.flush(5)
    assert len(service.metrics(job.id)) == 1000


def test_json_is_valid_whatever_is_reported(service: Service, job: Job, reporter: BufferedReporter) -> None:
    bad = {"loss": float("nan"), "grad_norm": float("inf"), "memory_bytes": 3}
    reporter.metrics(kind="train", step=1, epoch=0.1, values=bad)
    reporter.subspaces(step=1, summary={"importance": [0.5, float("-inf")], "shape": (1, 2)})
    reporter.event("diverged", "The loss is not a number.", {"loss": float("nan"), "path": Path("x")})
    reporter.checkpoint(step=1, path="checkpoints/1", best=True, values={"eval_loss": float("nan")})
    assert reporter.flush(5)
    assert service.metrics(job.id)[0].values == {"loss": None, "grad_norm": None, "memory_bytes": 3}
    assert service.events(job.id)[-1].data == {"loss": None, "path": "x"}
    with service.db.read() as session:
        raw = session.connection().exec_driver_sql("select summary from subspace_maps").scalar_one()
    assert json.loads(raw, parse_constant=pytest.fail) == {"importance": [0.5, None], "shape": [1, 2]}


def test_stale_attempt_writes_nothing_and_asks_to_stop(service: Service, job: Job) -> None:
    told = Event()
    reporter = make(service, job, on_stale=told.set)
    claim_again(service, job)
    metric(reporter, 1)
    reporter.event("late", "Too late.", {})
    assert told.wait(5)
    assert reporter.stop_requested()
    assert not reporter.close(1)
    assert service.metrics(job.id) == []
    assert [event.type for event in service.events(job.id)] == ["started", "requeued", "started"]


def test_job_that_was_deleted_or_ended_takes_nothing(service: Service, job: Job) -> None:
    with service.db.write() as session:
        assert states.succeed(session, job.id, job.attempt, {})
    reporter = make(service, job)
    metric(reporter, 1)
    assert reporter.stale.wait(5)
    assert service.metrics(job.id) == []


def test_newest_attempt_wins_and_voids_what_came_after_its_start(service: Service, job: Job) -> None:
    first = make(service, job)
    for step in range(1, 11):
        metric(first, step)
        first.subspaces(step=step, summary={})
    metric(first, 10, kind="eval")
    assert first.close(5)
    seen = service.metrics(job.id)[-1].seq
    second_job = claim_again(service, job)
    second = make(service, second_job)
    second.resumed(4)
    metric(second, 4, loss=0.5)
    metric(second, 5, loss=0.5)
    assert second.close(5)
    rows = service.metrics(job.id)
    assert [(row.step, row.attempt) for row in rows] == [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2)]
    assert all(row.seq > seen for row in rows if row.attempt == 2)
    assert service.count(SubspaceMap) == 4


def test_a_step_reported_twice_is_there_once(service: Service, job: Job, reporter: BufferedReporter) -> None:
    metric(reporter, 1, loss=1.0)
    metric(reporter, 1, loss=2.0)
    assert reporter.flush(5)
    metric(reporter, 1, loss=3.0)
    assert reporter.flush(5)
    assert [row.values["loss"] for row in service.metrics(job.id)] == [3.0]


def test_one_best_checkpoint_and_none_that_is_gone(service: Service, job: Job, reporter: BufferedReporter) -> None:
    folder = service.settings.files.job(job.id).checkpoints
    for step in (10, 20, 30):
        (folder / str(step)).mkdir(parents=True)
        reporter.checkpoint(step=step, path=f"checkpoints/{step}", best=step < 30, values={})
    assert reporter.flush(5)
    assert [(row.step, row.best) for row in service.checkpoints(job.id)] == [(10, False), (20, True), (30, False)]
    (folder / "10").rmdir()
    (folder / "40").mkdir()
    reporter.checkpoint(step=40, path="checkpoints/40", best=True, values={})
    assert reporter.flush(5)
    assert [(row.step, row.best) for row in service.checkpoints(job.id)] == [(20, False), (30, False), (40, True)]


def test_outage_is_waited_out_and_nothing_is_lost_or_doubled(service: Service, job: Job) -> None:
    reporter = make(service, job)
    with service.db.engine.begin() as connection:
        connection.exec_driver_sql("alter table metrics rename to elsewhere")
    for step in range(1, 6):
        metric(reporter, step)
        reporter.event("step", f"step {step}", {})
    assert not reporter.flush(0.5)
    assert not reporter.stop_requested()
    with service.db.engine.begin() as connection:
        connection.exec_driver_sql("alter table elsewhere rename to metrics")
    assert reporter.close(5)
    assert [row.step for row in service.metrics(job.id)] == [1, 2, 3, 4, 5]
    assert [event.message for event in service.events(job.id)[1:]] == [f"step {step}" for step in range(1, 6)]


class AnswerLost(ReportStore):
    """The connection breaks after the first commit, before its response."""

    lost = False

    def write(self, batch: Batch, left: Sequence[tuple[str, Row]]) -> None:
        super().write(batch, left)
        if not self.lost:
            self.lost = True
            raise DatabaseUnavailable(OperationalError("commit", {}, Exception("connection lost")))


def test_commit_whose_answer_was_lost_is_not_written_twice(service: Service, job: Job) -> None:
    store = AnswerLost(service.db, job.id, job.attempt, service.settings.files.job(job.id), service.settings.files)
    reporter = BufferedReporter(store, lease_seconds=10.0, interval=0.05)
    metric(reporter, 1)
    reporter.event("step", "one", {})
    wait_until(lambda: store.lost)
    reporter.event("step", "two", {})
    assert reporter.close(5)
    assert [row.step for row in service.metrics(job.id)] == [1]
    assert [event.message for event in service.events(job.id)[1:]] == ["one", "two"]


def test_outage_longer_than_the_lease_ends_the_run(service: Service, job: Job) -> None:
    reporter = make(service, job, lease_seconds=0.2)
    with service.db.engine.begin() as connection:
        connection.exec_driver_sql("alter table metrics rename to elsewhere")
    metric(reporter, 1)
    wait_until(reporter.stop_requested)
    assert reporter.database_lost.is_set()
    assert not reporter.close(0.2)


def test_signs_of_life_come_with_progress_only(service: Service, job: Job, reporter: BufferedReporter) -> None:
    alive = service.settings.files.job(job.id).heartbeat
    wait_until(alive.exists)
    written = alive.stat().st_mtime_ns
    reporter.stop_requested()
    wait_until(lambda: alive.stat().st_mtime_ns > written)


def test_readers_after_a_number_miss_no_row(service: Service, job: Job, reporter: BufferedReporter) -> None:
    """While the run reports and the service adds events under the same numbers."""
    finished = Event()

    def add_events() -> None:
        while not finished.wait(0.005):  # SQLite's lock is not fair to those who wait for it
            with service.db.write() as session:
                states.add_event(session, session.get_one(Job, job.id), "noise", "from elsewhere", {})

    other = Thread(target=add_events)
    other.start()
    seen: list[int] = []
    try:
        for step in range(1, 101):
            metric(reporter, step)
            if step % 10 == 0:
                reporter.flush(5)
            with service.db.read() as session:
                newer = select(MetricRow.seq).where(
                    MetricRow.job_id == job.id, MetricRow.seq > (seen[-1] if seen else 0)
                )
                seen += session.scalars(newer.order_by(MetricRow.seq))
    finally:
        finished.set()
        other.join()
    assert reporter.flush(5)
    with service.db.read() as session:
        assert seen == list(session.scalars(select(MetricRow.seq).order_by(MetricRow.seq)))
        assert session.scalar(select(func.count()).select_from(MetricRow)) == 100


def test_cancelled_run_may_still_report(service: Service, job: Job, reporter: BufferedReporter) -> None:
    with service.db.write() as session:
        session.execute(update(Job).where(Job.id == job.id).values(status=JobStatus.CANCELLING))
    metric(reporter, 1)
    assert reporter.flush(5)
    assert service.job(job.id).lease_until - service.job(job.id).queued_at > timedelta()  # type: ignore[operator]


def test_what_a_killed_process_had_not_written_is_written_by_the_next(service: Service, job: Job) -> None:
    """As after a checkpoint of step 3: the steps up to it are not made again."""
    dead = make(service, job, interval=60.0)  # it never comes to write
    for step in range(1, 6):
        metric(dead, step)
    dead.metrics(kind="eval", step=3, epoch=0.3, values={"eval_loss": float("nan")})
    dead.subspaces(step=2, summary={"active": 3})
    dead.event("micro_batch_halved", "Memory ran out.", {"step": 2})
    with (service.settings.files.job(job.id).reports).open("a") as file:
        file.write('{"kind": "metric", "row": {"kind": "tr')  # cut off by the kill
    newer = make(service, claim_again(service, job))
    newer.resumed(3)
    metric(newer, 4, loss=0.5)
    assert newer.flush(5)
    rows = service.metrics(job.id)
    expected = [(1, "train"), (2, "train"), (3, "eval"), (3, "train"), (4, "train")]
    assert sorted((row.step, row.kind) for row in rows) == expected
    assert rows[-1].values == {"loss": 0.5}
    assert [event.type for event in service.events(job.id)].count("micro_batch_halved") == 1
    assert service.count(SubspaceMap) == 1
    assert newer.close(5)
    assert (service.settings.files.job(job.id).reports).read_text() == ""
    dead.stale.set()
    dead.close(0)

from __future__ import annotations

import os
from datetime import datetime, timedelta
from threading import Barrier, Thread
from typing import Any

import pytest
from sqlalchemy import select

from service.shared.database.engine import Database
from service.shared.database.tables import Job, JobStatus, Worker, now
from service.shared.jobs import states
from tests.processes import ANEW
from tests.worker.support import Service, wait_until
from worker.device_locks import open_devices
from worker.runner import Runner
from worker.sweeper import Sweeper


class Sweep:
    """A sweeper that remembers the ids with which it started jobs, one call for each slot; they stay as they are."""

    def __init__(self, service: Service, *, free: int = 1, name: str = "worker-1") -> None:
        self.started: list[str] = []
        self.sweeper = Sweeper(
            service.settings, service.db, name, open_devices(service.settings, name), self.started.append, lambda: free
        )

    def __call__(self) -> list[str]:
        self.started.clear()
        self.sweeper.sweep()
        return list(self.started)


def change(db: Database, job_id: str, **fields: Any) -> None:
    with db.write() as session:
        job = session.get_one(Job, job_id)
        for name, value in fields.items():
            setattr(job, name, value)


def test_waiting_job_is_started_without_a_message(service: Service) -> None:
    job_id = service.add_job()
    change(service.db, job_id, hinted_at=now())
    sweep = Sweep(service)
    assert sweep() == [job_id]
    with service.db.write() as session:
        assert states.claim(session, job_id, "worker-1", 60.0)
    assert sweep() == []


def test_busy_worker_starts_nothing_and_a_free_one_fills_its_slots(service: Service) -> None:
    job_ids = [service.add_job() for _ in range(5)]
    assert Sweep(service, free=0)() == []
    assert Sweep(service, free=1)() == job_ids[:1]
    assert len(Sweep(service, free=3)()) == 3


def test_backoff_is_kept(service: Service) -> None:
    job_id = service.add_job()
    change(service.db, job_id, not_before=now() + timedelta(seconds=60))
    assert Sweep(service)() == []
    change(service.db, job_id, not_before=now())
    assert Sweep(service)() == [job_id]


def test_expired_lease_returns_the_job_and_starts_it_at_once(service: Service) -> None:
    job_id = service.add_job(retries=1)
    with service.db.write() as session:
        assert states.claim(session, job_id, "dead", -1.0)
    assert Sweep(service)() == [job_id]
    job = service.job(job_id)
    assert (job.status, job.failures) == (JobStatus.QUEUED, 1)
    with service.db.write() as session:
        assert states.claim(session, job_id, "dead", -1.0)
    assert Sweep(service)() == []
    assert service.job(job_id).status == JobStatus.FAILED
    assert service.job(job_id).error == states.LOST_WORKER


def test_many_sweepers_run_a_job_once_and_charge_once(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six workers with two free slots each, on two jobs."""
    ran: list[str] = []
    monkeypatch.setattr(Runner, "_supervise", lambda _, job, claimed_at, held: ran.append(job.id))
    waiting, lost = service.add_job(), service.add_job()
    with service.db.write() as session:
        assert states.claim(session, lost, "dead", -1.0)
    settings = service.settings.model_copy(update={"worker_concurrency": 2})
    names = [f"worker-{number}" for number in range(6)]
    devices = [open_devices(settings, name) for name in names]
    runners = [Runner(settings, service.db, name, own, ANEW) for name, own in zip(names, devices, strict=True)]
    for runner in runners:
        runner.begin()
    sweepers = [
        Sweeper(settings, service.db, name, own, runner.start, runner.free)
        for name, own, runner in zip(names, devices, runners, strict=True)
    ]
    start = Barrier(len(sweepers))

    def run(sweeper: Sweeper) -> None:
        start.wait()
        sweeper.sweep()

    threads = [Thread(target=run, args=(sweeper,)) for sweeper in sweepers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for runner in runners:
        runner.wait()
    assert sorted(ran) == sorted([waiting, lost])
    assert service.job(lost).failures == 1


def test_worker_is_listed_while_it_lives_and_forgotten_after(service: Service) -> None:
    with service.db.write() as session:
        old = now() - timedelta(days=2)
        session.add(Worker(id="old", host="h", pid=1, devices=["cpu"], started_at=old, seen_at=old))
    sweep = Sweep(service)
    sweep.sweeper.start()
    wait_until(lambda: listed(service) == ["worker-1"])
    with service.db.read() as session:
        row = session.get_one(Worker, "worker-1")
    assert (row.pid, row.devices) == (os.getpid(), ["cpu"])
    sweep.sweeper.wake()
    wait_until(lambda: seen_at(service) > row.seen_at)
    sweep.sweeper.close()
    assert listed(service) == []


def listed(service: Service) -> list[str]:
    with service.db.read() as session:
        return list(session.scalars(select(Worker.id)))


def seen_at(service: Service) -> datetime:
    with service.db.read() as session:
        return session.get_one(Worker, "worker-1").seen_at


def test_dead_database_is_survived(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    sweep = Sweep(service)
    with service.db.engine.begin() as connection:
        connection.exec_driver_sql("alter table jobs rename to elsewhere")
    assert sweep() == []
    assert "put off" in caplog.text
    with service.db.engine.begin() as connection:
        connection.exec_driver_sql("alter table elsewhere rename to jobs")
    job_id = service.add_job()
    assert sweep() == [job_id]

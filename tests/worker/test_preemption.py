"""A higher priority takes the devices of lower ones, which are queued again uncharged; large jobs get places kept."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from service.shared.database.tables import LEASED, HostDevice, Job, JobStatus, Worker, now
from service.shared.jobs import kept_places, states
from service.shared.jobs.device_rows import DeviceState, register
from service.shared.jobs.kept_places import Places
from tests.worker.support import Service, scaled_settings, wait_for, wait_until


@pytest.fixture(params=["sqlite", "postgresql"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    url: dict[str, str] = (
        {} if request.param == "sqlite" else {"database_url": request.getfixturevalue("migrated_postgres_url")}
    )
    service = Service(scaled_settings(tmp_path / "home", **url))
    yield service
    service.db.close()


def change(service: Service, job_id: str, **fields: object) -> None:
    with service.db.write() as session:
        session.execute(update(Job).where(Job.id == job_id).values(**fields))


class Host:
    """A worker of four devices, without a process."""

    def __init__(self, service: Service, name: str = "worker-1", devices: int = 4) -> None:
        self.service, self.name = service, name
        self.devices = [DeviceState(f"cuda:{n}", f"{name}/{n}", "a10", None, None) for n in range(devices)]
        with service.db.write() as session:
            moment = now()
            session.add(Worker(id=name, host=name, pid=1, devices=[], started_at=moment, seen_at=moment))
            session.flush()
            register(session, name, self.devices)

    @property
    def places(self) -> Places:
        with self.service.db.read() as session:
            rows = session.query(HostDevice).filter_by(worker_id=self.name).order_by(HostDevice.place).all()
            holders = {row.name: row.job_id for row in rows}
        held = [DeviceState(d.name, d.key, d.kind, None, None, holders[d.name]) for d in self.devices]
        return Places(self.name, held)

    def claim(self) -> Job | None:
        places = self.places
        with self.service.db.write() as session:
            job_id = states.next_in_turn(session, fit=kept_places.fits_now(session, places))
            if job_id is None:
                return None
            needs = states.needs_of(session, job_id)
            assert needs is not None
            chosen = states.choose(places.free, needs)
            assert chosen is not None
            return states.claim(session, job_id, self.name, 60.0, devices=[device.key for device in chosen])

    def make_room(self) -> list[str]:
        places = self.places
        with self.service.db.write() as session:
            return kept_places.make_room(session, places)

    def leave(self, job: Job) -> None:
        """End the attempt as a supervisor does that was asked to make room."""
        with self.service.db.write() as session:
            assert states.give_back(session, job.id, job.attempt, charge=False)
            for device in self.devices:
                session.execute(
                    update(HostDevice)
                    .where(HostDevice.key == device.key, HostDevice.job_id == job.id)
                    .values(job_id=None)
                )


def test_the_newest_of_the_lowest_priority_makes_room(service: Service) -> None:
    host = Host(service)
    ranks = [5, 9, 9, 0]  # the priorities are -5, -9, -9 and 0
    running = []
    for rank in ranks:
        job_id = service.add_job()
        change(service, job_id, rank=rank)
        running.append(host.claim())
        change(service, job_id, started_at=now() + timedelta(seconds=len(running)))
    assert all(running)
    change(service, service.add_job(), rank=9)
    assert host.make_room() == [], "nobody leaves for an equal"
    high = service.add_job()
    change(service, high, rank=-1, devices=2)
    fixed = running[1]
    assert fixed is not None
    change(service, fixed.id, preemptible=False)
    asked = host.make_room()
    assert asked == [job.id for job in (running[2], running[0]) if job is not None]
    assert host.make_room() == [], "asked once"
    for job in running:
        if job is not None and job.id in asked:
            before = service.job(job.id).queued_at
            host.leave(job)
            back = service.job(job.id)
            assert (back.status, back.failures, back.preempted_by) == (JobStatus.QUEUED, 0, None)
            assert back.queued_at == before, "it keeps its place among equals"
            last = service.events(job.id)[-1]
            assert (last.type, last.data["charged"], last.data["reason"]["code"]) == ("requeued", False, "preempted")
    claimed = host.claim()
    assert claimed is not None
    assert claimed.id == high
    assert host.claim() is None


def test_nobody_makes_room_where_another_worker_is_free(service: Service) -> None:
    host = Host(service, devices=1)
    low = service.add_job()
    change(service, low, rank=1)
    assert host.claim() is not None
    service.add_job()
    other = Host(service, "worker-2", devices=1)
    assert host.make_room() == []
    assert other.claim() is not None
    high = service.add_job()
    assert host.make_room() == [low]
    assert service.job(high).reserved_for == host.name


def test_smaller_jobs_pass_a_large_one_until_it_has_waited(service: Service) -> None:
    """Seen to fail with `keep_places` left out: the small ones go on passing."""
    host = Host(service)
    small = [service.add_job() for _ in range(2)]
    first, second = host.claim(), host.claim()
    large = service.add_job()
    change(service, large, devices=4, queued_at=now() - timedelta(seconds=50))
    small += [service.add_job() for _ in range(4)]
    assert host.claim() is not None, "a small one passes"
    with service.db.write() as session:
        assert kept_places.keep_places(session, host.places, 60.0) is None
        assert kept_places.keep_places(session, host.places, 40.0) == large
    assert host.claim() is None, "the last free device is kept"
    high = service.add_job()
    change(service, high, rank=-1)
    third = host.claim()
    assert third is not None
    assert third.id == high, "a higher priority may take it"
    running = [job for job in small if service.job(job).status in LEASED]
    for job in [service.job(job_id) for job_id in [*running, high]]:
        host.leave(job)
        change(service, job.id, status=JobStatus.CANCELLED)
    claimed = host.claim()
    assert claimed is not None
    assert (claimed.id, claimed.reserved_for) == (large, None)
    assert first is not None
    assert second is not None


def test_a_running_job_is_preempted_and_ends_as_it_would(tmp_path: Path) -> None:
    service = Service(scaled_settings(tmp_path))
    low = service.add_job("steps=400 pause=0.02")
    change(service, low, rank=10)
    with service.worker():
        wait_until(lambda: service.job(low).step > 3)
        high = service.add_job("steps=3")
        assert wait_for(service, high, JobStatus.SUCCEEDED, JobStatus.FAILED).status == JobStatus.SUCCEEDED
        assert service.job(low).ended_at is None
        wait_until(lambda: service.job(low).attempt == 2)
        change(service, low, name="steps=3")
    kinds = [event.type for event in service.events(low)]
    assert kinds[:5] == ["started", "fake_run", "preempting", "requeued", "started"]
    assert (service.job(low).failures, service.job(low).preempted_by) == (0, None)
    service.db.close()

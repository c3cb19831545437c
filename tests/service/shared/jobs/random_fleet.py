"""Random states of jobs, projects and workers, in the database and as the rule sees them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random

from sqlalchemy import delete, insert
from sqlalchemy.orm import Session

from service.shared.database.clock import database_now
from service.shared.database.tables import DeviceUse, Event, Job, JobStatus, Project, Worker, now
from service.shared.jobs.device_rows import DeviceState
from service.shared.jobs.device_use import HOUR, month_of
from service.shared.jobs.fleet_rule import FleetWorker, HeldJob, QueuedJob, Share
from service.shared.jobs.states import Needs

GIGABYTE = 10**9
BEGIN = datetime.now(UTC)
DEAD = "dead"  # a worker that lives no more
KINDS = ("a10", "h100")


@dataclass(frozen=True)
class Fleet:
    """A state: the rule's arguments."""

    jobs: list[QueuedJob]
    shares: dict[str, Share]
    workers: list[FleetWorker]
    running: list[HeldJob]


def random_fleet(random: Random) -> Fleet:
    """Make a state of few values, so that ties, limits that are just reached, and jobs that just fit are common."""
    shares = {f"proj_{name}": _share(random) for name in "abcd"[: random.randint(1, 4)]}
    workers = [_worker(random, f"worker-{number}") for number in range(random.randint(1, 3))]
    names = [*(worker.id for worker in workers), DEAD]
    jobs = [_job(random, f"job_{number}", list(shares), names) for number in range(random.randint(0, 12))]
    return Fleet(jobs, shares, workers, [])


def _share(random: Random) -> Share:
    inf = float("inf")
    running = random.randint(0, 3)
    return Share(
        standing=random.choice([0.0, 0.0, 1.5, 99.25]),
        running_jobs=running,
        running_devices=running * random.choice([1, 1, 2]),
        used_seconds=random.choice([0.0, HOUR, 2 * HOUR]),
        jobs=random.choice([inf, inf, 0, 2, 3]),
        devices=random.choice([inf, inf, 0, 3, 4]),
        seconds=random.choice([inf, inf, HOUR, 3 * HOUR]),
    )


def _worker(random: Random, name: str) -> FleetWorker:
    kinds = random.choice([KINDS, KINDS[:1]])
    devices = []
    for place in range(random.randint(0, 5)):
        free = random.choice([None, 24 * GIGABYTE, 80 * GIGABYTE])
        holder = random.choice([None, None, "job_running"])
        most = 1 if free is None else random.choice([1, 3])
        sharing = 0 if most == 1 or holder is not None else random.randint(0, 3)
        shares = tuple((f"job_sharing-{number}", random.choice([2, 20]) * GIGABYTE) for number in range(sharing))
        sizes = (80 * GIGABYTE, free)
        devices.append(
            DeviceState(f"cuda:{place}", f"{name}/{place}", random.choice(kinds), *sizes, holder, shares, most)
        )
    return FleetWorker(name, tuple(devices))


def _job(random: Random, name: str, projects: list[str], workers: list[str]) -> QueuedJob:
    needs = Needs(
        devices=random.choice([1, 1, 2, 3]),
        kind=random.choice([None, None, *KINDS]),
        memory=random.choice([None, GIGABYTE, 20 * GIGABYTE, 24 * GIGABYTE, 60 * GIGABYTE]),
    )
    reserved = random.choice(workers) if random.random() < 0.2 else None
    waited = random.choice([0.0, 1_000.0, 1_000.0, 2_000.0])
    return QueuedJob(name, random.choice(projects), random.choice([0, 0, 0, -5, 5]), -waited, needs, reserved)


def write(session: Session, fleet: Fleet) -> None:
    """Put a state into the database in the place of the last one."""
    for table in (Event, Job, DeviceUse, Project, Worker):
        session.execute(delete(table))
    session.execute(insert(Project), [_project_row(name, share) for name, share in fleet.shares.items()])
    month, moment = month_of(database_now(session)), database_now(session)
    used = [
        {"project_id": name, "month": month, "owner": "", "device_seconds": share.used_seconds, "attempts": 0}
        for name, share in fleet.shares.items()
    ]
    before = [row | {"month": "2020-01", "device_seconds": 1e9} for row in used]
    session.execute(insert(DeviceUse), used + before)
    seen = {worker.id: moment for worker in fleet.workers} | {DEAD: moment - timedelta(hours=1)}
    session.execute(
        insert(Worker),
        [
            {"id": name, "host": name, "pid": 1, "devices": [], "started_at": at, "seen_at": at, "spec_version": 1}
            for name, at in seen.items()
        ],
    )
    rows = [_waiting_row(job) for job in fleet.jobs]
    for name, share in fleet.shares.items():
        devices = share.running_devices
        for number in range(share.running_jobs):
            held = devices if number == share.running_jobs - 1 else 1
            devices -= held
            rows.append(_row(f"{name}-running-{number}", name, JobStatus.RUNNING, devices=held))
    if rows:
        session.execute(insert(Job), rows)


def _project_row(name: str, share: Share) -> dict[str, object]:
    def limit(value: float) -> float | None:
        return None if value == float("inf") else value

    seconds = limit(share.seconds)
    return {
        "id": name,
        "name": name,
        "created_at": now(),
        "standing": share.standing,
        "max_running_jobs": limit(share.jobs),
        "max_running_devices": limit(share.devices),
        "max_device_hours": None if seconds is None else seconds / HOUR,
    }


def _waiting_row(job: QueuedJob) -> dict[str, object]:
    needs = {"devices": job.needs.devices, "device_kind": job.needs.kind, "device_memory": job.needs.memory}
    row = _row(job.id, job.project, JobStatus.QUEUED, **needs)
    return row | {"rank": job.rank, "queued_at": at(job.queued_at), "reserved_for": job.reserved_for}


def at(seconds: float) -> datetime:
    """Return the moment that a state's number of seconds means, the same for every state."""
    return BEGIN + timedelta(seconds=seconds)


def _row(job_id: str, project: str, status: JobStatus, **fields: object) -> dict[str, object]:
    base: dict[str, object] = {
        "id": job_id,
        "project_id": project,
        "name": "job",
        "status": status,
        "spec": {},
        "resolved": {},
    }
    numbers = {"retries": 3, "total_steps": 1, "attempt": 0, "failures": 0, "step": 0, "epoch": 0.0, "last_seq": 0}
    times = {"created_at": BEGIN, "queued_at": BEGIN}
    needs: dict[str, object] = {"devices": 1, "device_kind": None, "device_memory": None}
    places = {"rank": 0, "reserved_for": None, "preemptible": True, "spec_version": 1}
    return base | numbers | times | needs | places | fields


def without_dead(fleet: Fleet) -> list[QueuedJob]:
    """Return the waiting jobs with the reservations of live workers alone."""
    return [replace(job, reserved_for=None) if job.reserved_for == DEAD else job for job in fleet.jobs]

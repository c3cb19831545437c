"""Read the state that the rule of the fleet decides on: live workers, what they run, projects and waiting jobs."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import timedelta
from math import inf

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session, load_only

from service.shared.database.clock import database_now
from service.shared.database.tables import LEASED, DeviceUse, Drain, HostDevice, Job, Project, Worker
from service.shared.jobs.device_rows import DeviceState, state_of
from service.shared.jobs.device_use import HOUR, month_of
from service.shared.jobs.fleet_rule import FleetWorker, HeldJob, QueuedJob, Share
from service.shared.jobs.states.fitting import Needs
from service.shared.jobs.states.waiting import may_run
from service.shared.resources import Resources


def read_workers(session: Session, live_seconds: float) -> list[FleetWorker]:
    """Return the live workers with their devices and free slots."""
    since = database_now(session) - timedelta(seconds=live_seconds)
    drained = set(session.scalars(select(Drain.host)))
    running = Counter(session.scalars(select(Job.worker).where(Job.status.in_(LEASED))))
    workers = session.scalars(select(Worker).where(Worker.seen_at >= since).order_by(Worker.id)).all()
    devices: dict[str, list[DeviceState]] = defaultdict(list)
    for row in session.scalars(select(HostDevice).order_by(HostDevice.worker_id, HostDevice.place)):
        devices[row.worker_id].append(state_of(row))
    return [
        FleetWorker(
            worker.id, tuple(devices[worker.id]), _slots(worker) - running[worker.id], drained=worker.host in drained
        )
        for worker in workers
    ]


def _slots(worker: Worker) -> int:
    known = Resources.model_validate(worker.resources) if worker.resources else None
    return 1 if known is None or known.slots is None else known.slots


def read_running(session: Session, worker_id: str) -> list[HeldJob]:
    """Return the jobs that a worker runs."""
    held = select(Job).where(Job.status.in_(LEASED), Job.worker == worker_id)
    return [
        HeldJob(
            job.id,
            job.rank,
            0.0 if job.started_at is None else job.started_at.timestamp(),
            job.preemptible,
            job.preempted_by,
        )
        for job in session.scalars(held)
    ]


def read_waiting(session: Session, *conditions: ColumnElement[bool]) -> list[QueuedJob]:
    """Return the waiting jobs that some worker of this version may run now, in no order."""
    waiting = select(Job).where(*may_run(database_now(session)), *conditions)
    columns = (Job.project_id, Job.rank, Job.queued_at, Job.devices, Job.device_kind, Job.device_memory)
    return [as_queued(job) for job in session.scalars(waiting.options(load_only(*columns, Job.reserved_for)))]


def as_queued(job: Job) -> QueuedJob:
    """Return a waiting job as the rule sees it."""
    needs = Needs(job.devices, job.device_kind, job.device_memory)
    return QueuedJob(job.id, job.project_id, job.rank, job.queued_at.timestamp(), needs, job.reserved_for)


def read_shares(session: Session, running_jobs: int | None) -> dict[str, Share]:
    """Return each project by its id.

    Args:
        running_jobs: the limit of a project without a limit of its own; None is no limit.
    """
    month = month_of(database_now(session))
    used: dict[str, float] = dict(
        session.execute(
            select(DeviceUse.project_id, func.sum(DeviceUse.device_seconds))
            .where(DeviceUse.month == month)
            .group_by(DeviceUse.project_id)
        ).all()
    )
    held = select(Job.project_id, func.count(), func.sum(Job.devices)).where(Job.status.in_(LEASED))
    running = {project: (jobs, devices) for project, jobs, devices in session.execute(held.group_by(Job.project_id))}
    return {
        project.id: Share(
            project.standing,
            project.weight,
            *running.get(project.id, (0, 0)),
            used_seconds=used.get(project.id, 0.0),
            jobs=_limit(running_jobs if project.max_running_jobs is None else project.max_running_jobs),
            devices=_limit(project.max_running_devices),
            seconds=_limit(project.max_device_hours) * HOUR,
        )
        for project in session.scalars(select(Project))
    }


def _limit(value: float | None) -> float:
    return inf if value is None else value

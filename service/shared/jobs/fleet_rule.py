"""Decide which job a worker takes, keeps places for, and pauses others for: the rule, without a database.

A job is taken if it fits (kind, free devices, memory) and its project's limits allow it. Among those, the order is
priority, then the project's standing (decayed use divided by weight), then age. A job that has waited for long without
fitting gets a worker that keeps places for it; a higher priority pauses lower ones. The claim in SQL
(`service.shared.jobs.states.waiting`) chooses the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

from service.shared.jobs.device_rows import DeviceState, HasDevices
from service.shared.jobs.states.fitting import ONE_DEVICE, Needs, choose, suits


@dataclass(frozen=True)
class Share:
    """A project, as far as its turn depends on it.

    Attributes:
        standing: as `service.shared.jobs.standing` computes it; the lowest is next.
        weight: its share beside others'.
        used_seconds: device seconds of this month.
        jobs, devices, seconds: its limits; none by default.
    """

    standing: float = 0.0
    weight: float = 1.0
    running_jobs: int = 0
    running_devices: int = 0
    used_seconds: float = 0.0
    jobs: float = inf
    devices: float = inf
    seconds: float = inf

    def allows(self, needs: Needs) -> bool:
        """Tell whether one more job may start."""
        return (
            self.running_jobs < self.jobs
            and self.running_devices + needs.devices <= self.devices
            and self.used_seconds < self.seconds
        )

    def with_job(self, needs: Needs) -> Share:
        """Return the project with one more running job."""
        return replace(self, running_jobs=self.running_jobs + 1, running_devices=self.running_devices + needs.devices)


@dataclass(frozen=True)
class QueuedJob:
    """A job that waits.

    Attributes:
        rank: minus its priority.
        queued_at: seconds, on any clock.
        reserved_for: the worker that keeps places for it.
    """

    id: str
    project: str
    rank: int = 0
    queued_at: float = 0.0
    needs: Needs = ONE_DEVICE
    reserved_for: str | None = None


@dataclass(frozen=True)
class HeldJob:
    """A job that a worker runs.

    Attributes:
        started_at: of its first attempt; seconds, on any clock.
        pauses_for: the job of a higher priority that it has been asked to make room for.
    """

    id: str
    rank: int = 0
    started_at: float = 0.0
    preemptible: bool = True
    pauses_for: str | None = None


@dataclass(frozen=True)
class FleetWorker(HasDevices):
    """A worker with its devices.

    Attributes:
        slots: how many more jobs it could start.
    """

    id: str
    devices: tuple[DeviceState, ...]
    slots: int = 1
    drained: bool = False


def claim_order(job: QueuedJob, shares: Mapping[str, Share]) -> tuple[int, float, float, str]:
    """Return the key by which waiting jobs are sorted."""
    return job.rank, shares[job.project].standing, job.queued_at, job.id


def next_job(jobs: Iterable[QueuedJob], shares: Mapping[str, Share], worker: FleetWorker) -> QueuedJob | None:
    """Return the job that a worker takes now."""
    jobs = list(jobs)
    if worker.drained or worker.slots <= 0:
        return None
    reserved = kept_for(jobs, shares, worker)
    free = worker.free
    fitting: dict[tuple[Needs, bool], bool] = {}  # by needs, and whether kept devices are open; many jobs are alike

    def fits(job: QueuedJob) -> bool:
        key = (job.needs, is_open_to(job, reserved))
        if key not in fitting:
            fitting[key] = choose(open_to(free, job, reserved), job.needs) is not None
        return fitting[key]

    taken = (job for job in jobs if shares[job.project].allows(job.needs) and fits(job))
    return min(taken, key=lambda job: claim_order(job, shares), default=None)


def kept_for(jobs: Iterable[QueuedJob], shares: Mapping[str, Share], worker: FleetWorker) -> QueuedJob | None:
    """Return the job that a worker keeps places for, unless its project may not start it."""
    own = (job for job in jobs if job.reserved_for == worker.id and shares[job.project].allows(job.needs))
    return min(own, key=lambda job: claim_order(job, shares), default=None)


def is_open_to(job: QueuedJob, reserved: QueuedJob | None) -> bool:
    """Tell whether a job may take devices that are kept for a reserved one."""
    return reserved is None or job.id == reserved.id or job.rank < reserved.rank


def open_to(free: Sequence[DeviceState], job: QueuedJob, reserved: QueuedJob | None) -> list[DeviceState]:
    """Return the free devices that a job may take: those that suit a reserved job are kept for it and for higher
    priorities."""
    if reserved is None or is_open_to(job, reserved):
        return list(free)
    return [device for device in free if not suits(device, reserved.needs)]


def job_to_reserve(
    jobs: Iterable[QueuedJob], shares: Mapping[str, Share], worker: FleetWorker, queued_before: float
) -> QueuedJob | None:
    """Return the job that a worker begins to keep places for; it does so for one job at a time.

    It is the first that has waited since before a time, that takes several devices, as smaller ones pass no other,
    and that fits the worker's devices, but not the free ones.
    """
    jobs = list(jobs)
    if worker.drained or kept_for(jobs, shares, worker) is not None:
        return None
    waits: dict[Needs, bool] = {}  # many jobs are alike

    def fits_later(needs: Needs) -> bool:
        if needs not in waits:
            waits[needs] = choose(worker.free, needs) is None and choose(worker.emptied, needs) is not None
        return waits[needs]

    starving = (
        job
        for job in jobs
        if job.needs.devices > 1
        and job.queued_at <= queued_before
        and job.reserved_for is None
        and shares[job.project].allows(job.needs)
        and fits_later(job.needs)
    )
    return min(starving, key=lambda job: claim_order(job, shares), default=None)


def jobs_to_pause(job: QueuedJob, worker: FleetWorker, running: Sequence[HeldJob]) -> list[HeldJob]:
    """Return the running jobs that make room for a waiting one of a higher priority, as few as that takes; none if they
    cannot. The lowest priority leaves first, and of equal ones the newest; nobody leaves for an equal."""
    if worker.drained:
        return []
    leaving = {one.id for one in running if one.pauses_for == job.id}
    lower = [one for one in running if one.preemptible and one.rank > job.rank and one.pauses_for is None]
    paused: list[HeldJob] = []
    for one in sorted(lower, key=lambda one: (-one.rank, -one.started_at, one.id)):
        if _makes_room(job, worker, leaving.union(held.id for held in paused)):
            break
        paused.append(one)
    if not _makes_room(job, worker, leaving.union(held.id for held in paused)):
        return []
    for one in list(paused):  # whose devices turned out not to be needed
        others = leaving.union(held.id for held in paused if held is not one)
        if _makes_room(job, worker, others):
            paused.remove(one)
    return paused


def _makes_room(job: QueuedJob, worker: FleetWorker, leaving: set[str]) -> bool:
    left = (device.without(leaving) for device in worker.devices)
    return choose([device for device in left if device.is_open], job.needs) is not None

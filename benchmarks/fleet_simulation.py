"""Play a fleet in simulated time, with the rule that the claim follows (`service.shared.jobs.fleet_rule`)."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count

from service.shared.jobs.device_rows import DeviceState
from service.shared.jobs.fleet_rule import (
    FleetWorker,
    HeldJob,
    QueuedJob,
    Share,
    job_to_reserve,
    jobs_to_pause,
    next_job,
)
from service.shared.jobs.standing import ENTRY_SECONDS, EPOCH, charged
from service.shared.jobs.states.fitting import Needs, choose

RESUME_SECONDS = 60.0  # that a preempted job takes longer: its checkpoint, and the start of the next attempt


@dataclass(frozen=True)
class Arrival:
    """A job that is submitted at a moment and runs for some seconds."""

    at: float
    job: QueuedJob
    seconds: float
    preemptible: bool = True


@dataclass
class Played:
    """What became of a job.

    Attributes:
        began: seconds of its first start; None while it waits.
        left: seconds that it still takes.
    """

    arrival: Arrival
    left: float
    began: float | None = None
    ended: float | None = None
    since: float = 0.0
    worker: str = ""
    attempt: int = 0
    preemptions: int = 0


@dataclass(frozen=True)
class Policy:
    """How jobs are ordered: by all of the rule, or by a part of it.

    Attributes:
        priorities: whether they count, and preempt.
        shares: whether the standings of projects count.
    """

    priorities: bool = True
    shares: bool = True


class Simulation:
    """A fleet of equal hosts, whose workers look for jobs when one arrives and when devices become free.

    Args:
        shares: weights and limits of the projects.
        reserve_seconds: after which places are kept for a job of several devices.
        meter_seconds: after which the use of running jobs is counted again; workers count each minute.
    """

    def __init__(
        self,
        workers: Sequence[FleetWorker],
        shares: dict[str, Share],
        policy: Policy = Policy(),
        reserve_seconds: float = 600.0,
        meter_seconds: float = 600.0,
    ) -> None:
        self.workers = {worker.id: worker for worker in workers}
        self.shares = {name: own if policy.shares else replace(own, standing=0.0) for name, own in shares.items()}
        self.policy, self.reserve_seconds = policy, reserve_seconds
        self.jobs: dict[str, Played] = {}
        self.moment = 0.0
        self._meter_seconds, self._metered_at = meter_seconds, 0.0
        self.preemptions = 0
        self.used: dict[str, float] = defaultdict(float)  # device seconds by project
        self._charged_at: dict[str, float] = defaultdict(float)  # when running jobs of a project were charged last
        # Waiting jobs that differ in age alone, oldest first: only the first of each can be next.
        self._waiting: dict[tuple[str, int, Needs, str | None], list[tuple[float, str, QueuedJob]]] = defaultdict(list)
        self._held: dict[str, set[str]] = {worker.id: set() for worker in workers}
        self._ends: list[tuple[float, int, str, int]] = []
        self._numbers = count()

    def play(self, arrivals: Sequence[Arrival], until: float) -> None:
        """Play all events up to a moment."""
        pending = sorted(arrivals, key=lambda arrival: arrival.at, reverse=True)
        while pending or self._ends:
            comes = pending[-1].at if pending else float("inf")
            ends = self._ends[0][0] if self._ends else float("inf")
            if min(comes, ends) > until:
                break
            self.moment = min(comes, ends)
            if self.moment - self._metered_at > self._meter_seconds:
                self._meter()
            if comes <= ends:
                self._arrive(pending.pop())
            else:
                _, _, job_id, attempt = heapq.heappop(self._ends)
                self._end(job_id, attempt)
        self.moment = until

    def _meter(self) -> None:
        self._metered_at = self.moment
        for project, share in self.shares.items():
            if share.running_devices:
                self._charge(project)

    def _arrive(self, arrival: Arrival) -> None:
        self.jobs[arrival.job.id] = Played(arrival, arrival.seconds)
        self._queue(replace(arrival.job, queued_at=arrival.at))
        for worker in list(self.workers.values()):
            if choose(worker.free, arrival.job.needs) is not None and self._look(worker.id):
                return
        if self.policy.priorities:
            self._make_room(arrival.job)

    def _queue(self, job: QueuedJob) -> None:
        if not self.policy.priorities:
            job = replace(job, rank=0)
        own = self._waiting[job.project, job.rank, job.needs, job.reserved_for]
        heapq.heappush(own, (job.queued_at, job.id, job))

    def _heads(self, worker: FleetWorker) -> list[QueuedJob]:
        """Return the jobs that may be next on a worker: others need more devices than are free there."""
        most, whole = len(worker.free), len(worker.devices)
        return [
            own[0][2]
            for (_, _, needs, kept_by), own in self._waiting.items()
            if needs.devices <= most or (kept_by == worker.id and needs.devices <= whole)
        ]

    def _starving(self, worker: FleetWorker) -> list[QueuedJob]:
        """Return the jobs that a worker may begin to keep places for, and those that it keeps places for."""
        before = self.moment - self.reserve_seconds
        return [
            own[0][2]
            for (_, _, needs, kept_by), own in self._waiting.items()
            if kept_by == worker.id or (kept_by is None and needs.devices > 1 and own[0][0] <= before)
        ]

    def _look(self, worker_id: str) -> bool:
        """Keep places for a job that waits for long, then take jobs for as long as one fits; tell whether any did."""
        taken = False
        self._reserve(self.workers[worker_id])
        while (worker := self.workers[worker_id]).free:
            job = next_job(self._heads(worker), self.shares, worker)
            if job is None:
                break
            self._start(job, worker)
            taken = True
        return taken

    def _reserve(self, worker: FleetWorker) -> None:
        job = job_to_reserve(self._starving(worker), self.shares, worker, self.moment - self.reserve_seconds)
        if job is not None:
            self._unqueue(job)
            self._queue(replace(job, reserved_for=worker.id))

    def _unqueue(self, job: QueuedJob) -> None:
        key = (job.project, job.rank, job.needs, job.reserved_for)
        assert heapq.heappop(self._waiting[key])[1] == job.id
        if not self._waiting[key]:
            del self._waiting[key]

    def _start(self, job: QueuedJob, worker: FleetWorker) -> None:
        self._unqueue(job)
        chosen = {device.key for device in choose(worker.free, job.needs) or ()}
        assert len(chosen) == job.needs.devices, "all of its devices or none"
        self._hold(worker.id, chosen, job.id)
        self._held[worker.id].add(job.id)
        played = self.jobs[job.id]
        played.began = self.moment if played.began is None else played.began
        played.since = self.moment
        played.worker, played.attempt = worker.id, played.attempt + 1
        self._charge(job.project, job.needs.devices * ENTRY_SECONDS)
        self.shares[job.project] = self.shares[job.project].with_job(job.needs)
        heapq.heappush(self._ends, (self.moment + played.left, next(self._numbers), job.id, played.attempt))

    def _hold(self, worker_id: str, keys: set[str], holder: str | None) -> None:
        worker = self.workers[worker_id]
        assert all(device.job_id is None for device in worker.devices if device.key in keys) or holder is None
        devices = tuple(replace(device, job_id=holder) if device.key in keys else device for device in worker.devices)
        self.workers[worker_id] = replace(worker, devices=devices)

    def _charge(self, project: str, more: float = 0.0) -> None:
        """Charge a project for what its running jobs have used since the last time, and for more device seconds."""
        share, moment = self.shares[project], EPOCH + timedelta(days=365, seconds=self.moment)
        used = share.running_devices * (self.moment - self._charged_at[project]) + more
        self._charged_at[project] = self.moment
        if used and self.policy.shares:
            self.shares[project] = replace(share, standing=charged(share.standing, used, share.weight, moment))

    def _end(self, job_id: str, attempt: int) -> None:
        played = self.jobs[job_id]
        if played.attempt != attempt or played.ended is not None:
            return  # it was preempted
        self._release(played)
        played.left, played.ended = 0.0, self.moment
        self._look(played.worker)

    def _release(self, played: Played) -> None:
        """Free the devices of a running job, and count what it has used."""
        job = played.arrival.job
        worker = self.workers[played.worker]
        self._hold(worker.id, {device.key for device in worker.devices if device.job_id == job.id}, None)
        self._held[worker.id].discard(job.id)
        self.used[job.project] += job.needs.devices * (self.moment - played.since)
        self._charge(job.project)
        share = self.shares[job.project]
        running = share.running_devices - job.needs.devices
        self.shares[job.project] = replace(share, running_jobs=share.running_jobs - 1, running_devices=running)

    def _make_room(self, job: QueuedJob) -> None:
        """Preempt on the worker where the fewest jobs leave for it."""
        if job.rank >= max((self.jobs[one].arrival.job.rank for own in self._held.values() for one in own), default=0):
            return
        if self.jobs[job.id].began is not None or not self.shares[job.project].allows(job.needs):
            return
        options = [
            (leaving, worker)
            for worker in self.workers.values()
            if (leaving := jobs_to_pause(job, worker, self._running_on(worker.id)))
        ]
        if not options:
            return
        leaving, worker = min(options, key=lambda option: len(option[0]))
        for one in leaving:
            self._preempt(self.jobs[one.id])
        self._look(worker.id)

    def _running_on(self, worker_id: str) -> list[HeldJob]:
        found = (self.jobs[job_id] for job_id in self._held[worker_id])
        return [
            HeldJob(one.arrival.job.id, one.arrival.job.rank, one.began or 0.0, one.arrival.preemptible)
            for one in found
        ]

    def _preempt(self, played: Played) -> None:
        self._release(played)
        played.left = played.left - (self.moment - played.since) + RESUME_SECONDS
        played.attempt += 1
        played.preemptions += 1
        self.preemptions += 1
        self._queue(replace(played.arrival.job, queued_at=played.arrival.at))

    def busy_since(self, played: Played) -> float:
        """Return the device seconds of a job that runs now, since it began to."""
        job = played.arrival.job
        runs = played.worker != "" and job.id in self._held[played.worker]
        return job.needs.devices * (self.moment - played.since) if runs else 0.0

    def waits(self) -> list[tuple[Played, float]]:
        """Return each job with the seconds until its first start, up to now where it has not started."""
        return [(one, (self.moment if one.began is None else one.began) - one.arrival.at) for one in self.jobs.values()]


def fleet(hosts: int, devices: int, kind: str = "h100") -> list[FleetWorker]:
    """Make equal hosts with free devices."""
    return [
        FleetWorker(
            f"host-{host:04}",
            tuple(DeviceState(f"cuda:{n}", f"{host}/{n}", kind, None, None) for n in range(devices)),
            slots=devices,
        )
        for host in range(hosts)
    ]

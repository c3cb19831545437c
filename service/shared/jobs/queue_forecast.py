"""Expect when waiting jobs start, from how long running and waiting ones take: the rule of the fleet played forward.

A forecast is not a plan: later jobs may pass, and devices are counted without the borders of hosts.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from math import inf

from service.shared.jobs.device_rows import DeviceState
from service.shared.jobs.fleet_rule import FleetWorker, QueuedJob, Share, claim_order
from service.shared.jobs.standing import ENTRY_SECONDS, charged
from service.shared.jobs.states.fitting import Needs, choose, suits


@dataclass(frozen=True)
class Outlook:
    """What is known of the times to come.

    Attributes:
        seconds: that each waiting job takes, by id; the others take `usual`.
        left: seconds that each running job still takes, by id; the others take `usual`.
        usual: seconds of a job of which nothing is known; None if nothing is known of any.
        spread: factors within which four of five jobs' times were, of what had been expected.
    """

    seconds: Mapping[str, float]
    left: Mapping[str, float]
    usual: float | None = None
    spread: tuple[float, float] = (0.5, 2.0)

    def of(self, job_id: str) -> float:
        """Return the seconds that a waiting job takes; of any other order of magnitude if nothing is known."""
        return self.seconds.get(job_id, self.usual or 0.0)

    def until_free(self, device: DeviceState) -> float:
        """Return the seconds until a device is free."""
        if device.is_open:
            return 0.0
        return min(self.left.get(job_id, self.usual or 0.0) for job_id in device.holders)


@dataclass(frozen=True)
class ExpectedStart:
    """When a job is expected to start, in seconds from now."""

    seconds: float
    earliest: float
    latest: float


def claim_sequence(
    jobs: Iterable[QueuedJob], shares: Mapping[str, Share], outlook: Outlook, moment: datetime
) -> list[QueuedJob]:
    """Sort waiting jobs as they are expected to be claimed: each charges its project for the time that it will take."""
    waiting: dict[str, list[QueuedJob]] = defaultdict(list)
    for job in sorted(jobs, key=lambda job: (job.rank, job.queued_at, job.id), reverse=True):
        waiting[job.project].append(job)
    now = dict(shares)
    heads = [(*claim_order(own[-1], now), project) for project, own in waiting.items()]
    heapq.heapify(heads)
    sequence: list[QueuedJob] = []
    while heads:
        *_, project = heapq.heappop(heads)
        job, share = waiting[project].pop(), now[project]
        sequence.append(job)
        used = job.needs.devices * (ENTRY_SECONDS + outlook.of(job.id))
        now[project] = replace(share, standing=charged(share.standing, used, share.weight, moment))
        if waiting[project]:
            heapq.heappush(heads, (*claim_order(waiting[project][-1], now), project))
    return sequence


def expected_starts(
    sequence: Sequence[QueuedJob], shares: Mapping[str, Share], workers: Sequence[FleetWorker], outlook: Outlook
) -> dict[str, ExpectedStart]:
    """Expect the start of each job of a sequence; those are missing that no worker could take, or whose project may run
    none. Nothing is expected where nothing is known of how long jobs take."""
    if outlook.usual is None:
        return {}
    low, high = outlook.spread
    played = [_play(sequence, shares, workers, outlook, factor) for factor in (1.0, low, high)]
    return {
        job_id: ExpectedStart(seconds, min(seconds, played[1][job_id]), max(seconds, played[2][job_id]))
        for job_id, seconds in played[0].items()
    }


def _play(
    sequence: Sequence[QueuedJob],
    shares: Mapping[str, Share],
    workers: Sequence[FleetWorker],
    outlook: Outlook,
    factor: float,
) -> dict[str, float]:
    """Start the jobs one after the other, each on the devices that are free first."""
    open_workers = [worker for worker in workers if not worker.drained]
    pools: dict[tuple[str, int | None], list[float]] = defaultdict(list)  # seconds until each device is free
    samples: dict[tuple[str, int | None], DeviceState] = {}
    for device in (device for worker in open_workers for device in worker.devices):
        pools[device.kind, device.free_bytes].append(factor * outlook.until_free(device))
        samples[device.kind, device.free_bytes] = device
    for pool in pools.values():
        heapq.heapify(pool)
    ends: dict[str, list[float]] = {name: [0.0] * share.running_jobs for name, share in shares.items()}
    starts: dict[str, float] = {}
    possible: dict[Needs, bool] = {}  # whether any worker has it all, by needs
    for job in sequence:
        share, needs = shares[job.project], job.needs
        fitting = [pools[key] for key, one in samples.items() if suits(one, needs) and len(pools[key]) >= needs.devices]
        if not fitting or min(share.jobs, share.devices) < 1 or share.used_seconds >= share.seconds:
            continue
        if needs not in possible:
            possible[needs] = any(choose(worker.emptied, needs) for worker in open_workers)
        if not possible[needs]:
            continue
        pool = min(fitting, key=lambda pool: heapq.nsmallest(needs.devices, pool)[-1])
        start = [heapq.heappop(pool) for _ in range(needs.devices)][-1]
        own = ends[job.project]
        if share.jobs < inf and len(own) >= share.jobs:
            start = max(start, heapq.heappop(own))
        starts[job.id] = start
        end = start + factor * outlook.of(job.id)
        heapq.heappush(own, end)
        for _ in range(needs.devices):
            heapq.heappush(pool, end)
    return starts

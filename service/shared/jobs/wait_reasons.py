"""Say in words why a job waits."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from service.shared.jobs.device_use import HOUR
from service.shared.jobs.fleet_rule import FleetWorker, QueuedJob, Share
from service.shared.jobs.states.fitting import Needs, choose, suits

GIGABYTE = 10**9


class Shortages:
    """What the workers lack for jobs, by the jobs' needs, which many share."""

    def __init__(self, workers: Sequence[FleetWorker]) -> None:
        self._workers = [worker for worker in workers if not worker.drained]
        self._known: dict[Needs, str | None] = {}

    def of(self, needs: Needs) -> str | None:
        """Say what is missing for a job; None where a worker could take it now."""
        if needs not in self._known:
            self._known[needs] = self._look(needs)
        return self._known[needs]

    def _look(self, needs: Needs) -> str | None:
        if not self._workers:
            return "no worker takes jobs"
        if any(choose(worker.free, needs) is not None and worker.slots > 0 for worker in self._workers):
            return None
        wanted = f"needs {needs.devices} device{'s' * (needs.devices != 1)}{_of(needs)}"
        if not any(choose(worker.emptied, needs) is not None for worker in self._workers):
            largest = max(sum(suits(one, needs) for one in worker.devices) for worker in self._workers)
            return f"{wanted}: no worker has {'any' if largest == 0 else f'more than {largest}'}"
        free = max(min(_whole(worker, needs), _open(worker)) for worker in self._workers)
        return f"{wanted}: {free} free" + (" on one worker" if needs.devices > 1 else "")


def why_waiting(job: QueuedJob, share: Share, shortages: Shortages, place: int, next_month: str) -> str:
    """Say what keeps a job from starting now; all reasons at once.

    Args:
        place: among all waiting jobs, from 1.
        next_month: its first day.
    """
    shortage = shortages.of(job.needs)
    reasons = [*([] if shortage is None else [shortage]), *_limits(share, job.needs, next_month)]
    if reasons:
        return "; ".join(reasons)
    if place == 1:
        return "a worker is about to take it"
    return f"{place - 1:,} {'job is' if place == 2 else 'jobs are'} before it"


def _whole(worker: FleetWorker, needs: Needs) -> int:
    """Count the devices that suit and that nobody holds a part of."""
    return sum(one.is_free and suits(one, needs) for one in worker.free)


def _open(worker: FleetWorker) -> float:
    """Return 0 for a worker that runs as many jobs as it may."""
    return inf if worker.slots > 0 else 0


def _of(needs: Needs) -> str:
    kind = "" if needs.kind is None else f" of kind {needs.kind}"
    return kind if needs.memory is None else f"{kind} with {needs.memory / GIGABYTE:.3g} GB"


def _limits(share: Share, needs: Needs, next_month: str) -> list[str]:
    reasons = []
    if share.running_jobs >= share.jobs:
        reasons.append(f"project at its limit of {share.jobs:,.0f} running job{'s' * (share.jobs != 1)}")
    if share.running_devices + needs.devices > share.devices:
        reasons.append(f"project at its limit of {share.devices:,.0f} devices: {share.running_devices:,} in use")
    if share.used_seconds >= share.seconds:
        hours = share.seconds / HOUR
        reasons.append(f"project has used its {hours:,.0f} device hours of this month; the next begin on {next_month}")
    return reasons

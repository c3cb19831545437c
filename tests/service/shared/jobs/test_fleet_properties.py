"""Properties of the rule, played on random fleets in simulated time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.fleet_simulation import Arrival, Policy, Simulation, fleet
from service.shared.jobs.fleet_rule import FleetWorker, HeldJob, QueuedJob, Share, jobs_to_pause, next_job
from service.shared.jobs.states import Needs, choose

HOUR = 3_600.0
FOREVER = 1e9
sizes = st.sampled_from([1, 1, 1, 2, 4])


class Watched(Simulation):
    """A simulation that checks each start against every waiting job, not only the first of each kind."""

    def _start(self, job: QueuedJob, worker: FleetWorker) -> None:
        waiting = [one for own in self._waiting.values() for _, _, one in own]
        kept = any(one.reserved_for == worker.id for one in waiting)
        for one in waiting:
            if one.rank < job.rank and self.shares[one.project].allows(one.needs):
                free = worker.free
                assert choose(free, one.needs) is None or (kept and one.rank >= 0), "a higher priority would have fit"
        super()._start(job, worker)
        share = self.shares[job.project]
        assert share.running_jobs <= share.jobs
        assert share.running_devices <= share.devices


@st.composite
def arrivals(draw: st.DrawFn) -> list[Arrival]:
    made = []
    for number in range(draw(st.integers(1, 40))):
        rank = draw(st.sampled_from([0, 0, 0, -5, 5]))
        job = QueuedJob(f"job-{number:03}", draw(st.sampled_from("abc")), rank, needs=Needs(draw(sizes)))
        made.append(
            Arrival(draw(st.floats(0, 5 * HOUR)), job, draw(st.floats(60, 4 * HOUR)), preemptible=draw(st.booleans()))
        )
    return made


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(arrivals(), st.sampled_from([Share(), Share(jobs=2), Share(devices=4)]))
def test_nobody_is_left_and_nothing_is_given_twice(made: list[Arrival], share: Share) -> None:
    """Every job ends, though large ones wait beside small ones, higher priorities take devices, and limits hold.

    A device is held by one job, a job holds all of its devices or none: the simulation asserts both at each start.
    """
    played = Watched(fleet(2, 4), dict.fromkeys("abc", share), reserve_seconds=600.0)
    played.play(made, FOREVER)
    left = [one.arrival.job.id for one in played.jobs.values() if one.ended is None]
    assert not left
    assert all(device.job_id is None for worker in played.workers.values() for device in worker.devices)
    for one in played.jobs.values():
        assert one.arrival.preemptible or one.preemptions == 0


def test_large_jobs_start_though_small_ones_never_end() -> None:
    """Seen to fail without `job_to_reserve`: the large job waits until the last small one was taken."""
    small = [Arrival(60.0 * n, QueuedJob(f"small-{n:04}", "a"), 1_000.0) for n in range(2_000)]
    large = Arrival(5_000.0, QueuedJob("large", "a", needs=Needs(8)), 100.0)
    played = Simulation(fleet(1, 8), {"a": Share()}, reserve_seconds=600.0)
    played.play([*small, large], 60_000.0)
    began = played.jobs["large"].began
    assert began is not None
    assert began - 5_000.0 < 600.0 + 2 * 1_000.0


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (1.0, 2.0, 4.0)])
def test_shares_follow_the_weights(weights: Sequence[float]) -> None:
    """Three projects ask for more than there is, one of them with jobs ten times as long as another's: within 5 %."""
    shares = {name: Share(weight=weight) for name, weight in zip("abc", weights, strict=True)}
    rng = Random(0)
    made = []
    for name, seconds, count in (("a", 2 * HOUR, 800), ("b", HOUR, 1_600), ("c", 0.2 * HOUR, 8_000)):
        for number in range(count):
            job = QueuedJob(f"{name}-{number:05}", name)
            made.append(Arrival(rng.random() * 60, job, seconds * rng.uniform(0.8, 1.2)))
    played = Simulation(fleet(4, 4), shares, meter_seconds=60.0)
    played.play(made, 96 * HOUR)
    whole = sum(played.used.values())
    for name, weight in zip("abc", weights, strict=True):
        assert played.used[name] / whole == pytest.approx(weight / sum(weights), rel=0.05)


def test_priority_alone_and_plain_order_are_parts_of_the_rule() -> None:
    """The benchmark's other policies: without shares a busy project's older jobs come first, without priorities age."""
    worker = fleet(1, 1)[0]
    shares = {"a": Share(standing=9.0), "b": Share()}
    jobs = [QueuedJob("a", "a", 0, 1.0), QueuedJob("b", "b", 0, 2.0), QueuedJob("c", "b", 5, 0.0)]
    first = {}
    for policy in (Policy(), Policy(shares=False), Policy(priorities=False, shares=False)):
        played = Simulation([worker], shares, policy)
        for job in jobs:
            played._queue(job)
        chosen = next_job(played._heads(worker), played.shares, worker)
        assert chosen is not None
        first[policy] = chosen.id
    assert list(first.values()) == ["b", "a", "c"]


@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 3), st.booleans()), max_size=4), sizes, st.integers(-3, 3))
def test_as_few_as_it_takes_leave_and_never_an_equal(
    running: list[tuple[int, int, bool]], devices: int, rank: int
) -> None:
    (worker,) = fleet(1, 4)
    held = [HeldJob(f"job-{n}", own, float(age), willing) for n, (own, age, willing) in enumerate(running)]
    pairs = zip(worker.devices, held, strict=False)
    taken = [replace(device, job_id=one.id) for device, one in pairs]
    worker = FleetWorker(worker.id, (*taken, *worker.devices[len(taken) :]))
    job = QueuedJob("job-high", "a", rank, needs=Needs(devices))
    leaving = jobs_to_pause(job, worker, held)
    assert all(one.rank > rank and one.preemptible for one in leaving)
    free = len(worker.free)
    possible = free + sum(one.rank > rank and one.preemptible for one in held) >= devices
    assert len(leaving) == (max(0, devices - free) if possible else 0)
    stays = [one for one in held if one.rank > rank and one.preemptible and one not in leaving]
    for one in leaving:
        assert all((one.rank, one.started_at) >= (other.rank, other.started_at) for other in stays)

"""A month of a fleet in simulated time, by the rule of the claim beside plain first-come-first-served and beside
priorities alone; and what a real claim costs on PostgreSQL.

python -m benchmarks.fleet --hosts 125 --devices 8 --projects 200 --jobs 100000

All three choose by the same function: without shares the projects' standings are equal, without priorities all jobs
have one. Preempted jobs take a minute longer each time.
"""

from __future__ import annotations

import argparse
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median, quantiles

from benchmarks.fleet_claims import claim_costs
from benchmarks.fleet_simulation import Arrival, Policy, Simulation, fleet
from benchmarks.report import Section, write_json
from service.shared.jobs.fleet_rule import QueuedJob, Share
from service.shared.jobs.states import Needs

MONTH = 30 * 86_400.0
SIZES, SIZE_WEIGHTS = (1, 2, 4, 8), (70, 12, 10, 8)
RANKS, RANK_WEIGHTS = (-10, 0, 10), (5, 75, 20)
POLICIES = {
    "the rule": Policy(),
    "priority alone": Policy(shares=False),
    "first come, first served": Policy(priorities=False, shares=False),
}


def workload(projects: int, jobs: int, devices: int, load: float, seed: int) -> tuple[list[Arrival], dict[str, Share]]:
    """Make jobs of projects that are unequally busy (the largest asks for a fifth), in bursts of up to forty.

    Args:
        load: device seconds that all jobs ask for, as a share of what the fleet has in a month.
    """
    rng = random.Random(seed)
    names = [f"project-{number:03}" for number in range(projects)]
    popularity = [1 / (rank + 1) ** 0.9 for rank in range(projects)]
    shares = {name: Share(weight=rng.choice([1.0, 1.0, 2.0, 4.0])) for name in names}
    drawn: list[tuple[float, str, int, int, float]] = []
    while len(drawn) < jobs:
        project, begin = rng.choices(names, popularity)[0], rng.random() * MONTH
        size, rank = rng.choices(SIZES, SIZE_WEIGHTS)[0], rng.choices(RANKS, RANK_WEIGHTS)[0]
        for _ in range(min(jobs - len(drawn), rng.randint(1, 40))):
            drawn.append((begin + rng.random() * 600, project, size, rank, rng.lognormvariate(0.0, 1.2)))
    scale = load * devices * MONTH / sum(size * seconds for _, _, size, _, seconds in drawn)
    arrivals = [
        Arrival(at, QueuedJob(f"job-{number:06}", project, rank, needs=Needs(size)), seconds * scale)
        for number, (at, project, size, rank, seconds) in enumerate(drawn)
    ]
    return arrivals, shares


def month(arguments: argparse.Namespace) -> list[Section]:
    """Play the month by each policy."""
    devices = arguments.hosts * arguments.devices
    arrivals, shares = workload(arguments.projects, arguments.jobs, devices, arguments.load, arguments.seed)
    title = f"{arguments.jobs:,} jobs of {arguments.projects} projects ask for {arguments.load:.0%} of {devices:,} GPUs"
    columns = [
        "policy",
        "used",
        "done",
        "preempted",
        "mean wait h",
        "p95 h",
        "half of the projects below h",
        "largest h",
    ]
    notes = ["the last two are means of projects: of the one in the middle, and of the one that asks for most"]
    whole = Section(f"A month: {title}", columns, notes=notes)
    groups = [*(f"{size} GPU" for size in SIZES), "high", "usual", "low"]
    sizes = Section("Waits in hours, mean / p95, by size and by priority", ["policy", *groups])
    for name, policy in POLICIES.items():
        played = Simulation(fleet(arguments.hosts, arguments.devices), shares, policy)
        played.play(arrivals, MONTH)
        whole.rows.append([name, *_whole(played, devices)])
        sizes.rows.append([name, *_by_size(played)])
        print(f"{name} is played", flush=True)
    return [whole, sizes]


def _whole(played: Simulation, devices: int) -> list[object]:
    waits = [wait / 3_600 for _, wait in played.waits()]
    by_project: dict[str, list[float]] = defaultdict(list)
    asked: dict[str, float] = defaultdict(float)
    busy = sum(played.used.values())
    for one, wait in played.waits():
        job = one.arrival.job
        by_project[job.project].append(wait / 3_600)
        asked[job.project] += job.needs.devices * one.arrival.seconds
    busy += sum(played.busy_since(one) for one, _ in played.waits())
    means = {name: fmean(own) for name, own in by_project.items()}
    done = sum(one.ended is not None for one, _ in played.waits()) / len(waits)
    largest = max(asked, key=lambda name: asked[name])
    used = f"{busy / (devices * MONTH):.1%}"
    shown = (fmean(waits), _p95(waits), median(means.values()), means[largest])
    return [used, f"{done:.1%}", played.preemptions, *shown]


def _by_size(played: Simulation) -> list[str]:
    found = [(job.arrival.job, wait / 3_600) for job, wait in played.waits()]
    of_sizes = [[wait for job, wait in found if job.needs.devices == size] for size in SIZES]
    of_ranks = [[wait for job, wait in found if job.rank == rank] for rank in RANKS]
    return [f"{fmean(own):.2f} / {_p95(own):.2f}" if own else "-" for own in (*of_sizes, *of_ranks)]


def _p95(values: Sequence[float]) -> float:
    return quantiles(values, n=20)[-1] if len(values) > 1 else values[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=125)
    parser.add_argument("--devices", type=int, default=8, help="of each host")
    parser.add_argument("--projects", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--load", type=float, default=0.97, help="what all jobs ask for, of what the fleet has")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--waiting", type=int, default=100_000, help="jobs that wait at a real claim; 0: none")
    parser.add_argument("--claiming", type=int, default=50, help="workers that claim at once")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/fleet.json"))
    arguments = parser.parse_args()
    sections = month(arguments) if arguments.jobs else []
    if arguments.waiting:
        sections.append(claim_costs(arguments.waiting, arguments.projects, arguments.claiming))
    for section in sections:
        print(section.render())
    write_json(arguments.out, sections)


if __name__ == "__main__":
    main()

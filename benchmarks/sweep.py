"""`make bench-sweep`: a sweep of 12 trials beside 12 single jobs over a grid, and the same sweep killed twice.

Usage: python -m benchmarks.sweep [--rows N] [--epochs N] [--json FILE] [--docs FILE]

All train MiniLM on the same movie reviews, one job at a time. The grid has four rates by three rates of the head; the
sweep tries the ready space `quick`. CPU is that of all processes of the service, start-up left out.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmarks.documents import as_markdown, replace_table
from benchmarks.report import Limit, Section, write_json
from benchmarks.start import DOCS, running
from examples.demo import DATA, SPEC
from examples.demo_model import install_model
from service.client import Client
from service.client.sweep_types import SweepJson
from service.shared.storage.home import Home

RATES, HEAD_RATES = (2.5e-3, 5e-3, 1e-2, 2e-2), (1e-3, 2e-3, 5e-3)
TRIALS = len(RATES) * len(HEAD_RATES)
GOAL, POINTS = 0.6, 1.0
WAIT_SECONDS = 3_600.0
SINGLES, SWEEP, KILLED = "12 single jobs", "sweep of 12", "sweep of 12, killed twice"
WORKER, API = ("worker.main", "celeryd"), ("service.cli api",)  # in their command lines; Celery changes its own
NOTES = [
    "Wall: from the first submit to the last end. best: accuracy of the best published model on the held-out rows, %.",
    "Killed: the worker after three trials and the API after six; both are started again by `adamss up`.",
]


@dataclass(frozen=True)
class Cost:
    """Seconds of a contender, and the accuracy of its best model."""

    wall: float
    cpu: float
    best: float


class SweepBench:
    """Runs the contenders on one service.

    Args:
        home: of the running service that `client` reaches.
    """

    def __init__(self, folder: Path, home: Path, client: Client, rows: int, epochs: int) -> None:
        self._client = client
        install_model(Home(home).models)
        reviews = folder / "reviews.csv"
        reviews.write_text("".join(DATA.open(encoding="utf-8").readlines()[: rows + 1]), encoding="utf-8")
        self._spec: dict[str, Any] = yaml.safe_load(SPEC.read_text(encoding="utf-8"))
        self._spec["dataset"] |= {"train": client.upload_dataset(reviews)["id"], "eval_fraction": 0.4}
        self._spec["training"] |= {"epochs": epochs}
        self._value(client.wait(client.submit(self._spec)["id"], WAIT_SECONDS))  # it also makes everything ready

    def singles(self) -> Cost:
        """Run the grid, all jobs submitted at once."""

        def run() -> float:
            specs = [self._with(rate, head) for rate, head in product(RATES, HEAD_RATES)]
            jobs = [self._client.submit(spec)["id"] for spec in specs]
            return max(self._value(self._client.wait(job, WAIT_SECONDS)) for job in jobs)

        return _measured(run)

    def sweep(self, killed: bool) -> tuple[Cost, list[tuple[Any, ...]]]:
        """Run the sweep; return its table too."""
        ended: list[SweepJson] = []

        def run() -> float:
            begun = self._client.sweep(self._spec, "quick", trials=TRIALS, parallel=1)
            if killed:
                for trials, titles in ((3, WORKER), (6, API)):
                    self._until_ended(begun["id"], trials)
                    _kill(titles)
            ended.append(self._client.wait_sweep(begun["id"], WAIT_SECONDS))
            best = ended[0]["best"]
            assert best, ended
            assert best["value"] is not None, ended
            return 100.0 * best["value"]

        return _measured(run), _table(ended[0])

    def _until_ended(self, sweep: str, trials: int) -> None:
        while sum(trial["ended_at"] is not None for trial in self._client.get_sweep(sweep)["trials"]) < trials:
            time.sleep(0.2)

    def _with(self, rate: float, head_rate: float) -> dict[str, Any]:
        rates = {"learning_rate": rate, "head_learning_rate": head_rate}
        return self._spec | {"training": self._spec["training"] | rates}

    @staticmethod
    def _value(job: Any) -> float:
        assert job["status"] == "succeeded", job["error"]
        return 100.0 * float(job["result"]["eval_accuracy"])


def _table(sweep: SweepJson) -> list[tuple[Any, ...]]:
    names = ("number", "params", "state", "value")
    return [
        (*(trial[name] for name in names), trial["evaluations"][: trial["stopped_after"]])  # type: ignore[literal-required]
        for trial in sweep["trials"]
    ]


def _measured(run: Callable[[], float]) -> Cost:
    before, begun = _cpu(), time.perf_counter()
    best = run()
    cost = Cost(time.perf_counter() - begun, _cpu() - before, best)
    print(cost, flush=True)  # half an hour's work is not lost with what comes after it
    return cost


def _cpu() -> float:
    """Return the CPU seconds of the service: its processes that live, and those that they have waited for."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            total += sum(process.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue
    return total


def _kill(titles: tuple[str, ...]) -> None:
    below = psutil.Process().children(recursive=True)
    found = [one for one in below if any(title in " ".join(one.cmdline()) for title in titles)]
    assert found, titles
    found[0].kill()


def measure(rows: int, epochs: int) -> Section:
    """Run all contenders once, one after another on one service."""
    with tempfile.TemporaryDirectory(prefix="adamss-sweep-") as folder:
        home = Path(folder) / "home"
        with running(home) as (client, _):
            bench = SweepBench(Path(folder), home, client, rows, epochs)
            sweep, table = bench.sweep(killed=False)
            singles = bench.singles()
            killed, same = bench.sweep(killed=True)
    return section_of({SINGLES: singles, SWEEP: sweep, KILLED: killed}, table == same, rows, epochs)


def section_of(measured: dict[str, Cost], same: bool, rows: int, epochs: int) -> Section:
    """Return seconds, and the ratios to single jobs."""
    columns = ["contender", "wall", "CPU", "best"]
    notes = [*NOTES, f"The table of trials after two kills is {'the same' if same else 'another one'}."]
    section = Section(f"A sweep: {rows} reviews, {epochs} epochs (seconds)", columns, notes=notes)
    for name, cost in measured.items():
        known = "-" if name == KILLED else cost.cpu  # who is killed takes the count of its seconds along
        section.rows.append([name, cost.wall, known, cost.best])
    sweep, singles = measured[SWEEP], measured[SINGLES]
    ratios = {"wall": sweep.wall / singles.wall, "CPU": sweep.cpu / singles.cpu}
    section.rows.append(["sweep / single jobs", *ratios.values(), sweep.best - singles.best])
    section.limits += [Limit(f"sweep / single jobs, {name}", ratio, GOAL) for name, ratio in ratios.items()]
    section.limits.append(Limit("points below the best of the grid", singles.best - sweep.best, POINTS))
    return section


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweep", description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_500, help="reviews, of which 40 %% are held out")
    parser.add_argument("--epochs", type=int, default=4, help="with an evaluation after each")
    parser.add_argument("--json", type=Path, default=DOCS / "measurements" / "sweep.json", metavar="FILE")
    parser.add_argument("--docs", type=Path, default=DOCS / "benchmarks.md", metavar="FILE", help="takes the table")
    options = parser.parse_args(arguments)
    section = measure(options.rows, options.epochs)
    print(section.render(), flush=True)
    write_json(options.json, [section], rows=options.rows, epochs=options.epochs)
    replace_table(options.docs, "sweep", as_markdown(section))


if __name__ == "__main__":
    main()

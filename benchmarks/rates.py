"""`make bench-rates`: which learning rates AdaMSS wants on each task, beside LoRA's; of A, of the head; and a sweep.

Each figure is of one run on 1,500 rows for two epochs, measured on 1,000 others. The sweep is what a job could do by
itself: a run of an eighth of the steps at each rate, and the rate whose loss on held-out training rows is lowest.

Usage: python -m benchmarks.rates [--tasks NAME ...] [--seeds N ...] [--share X] [--json FILE] [--threads N]
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from transformers.utils import logging

from benchmarks.quality.bases import encoder_folder, fresh
from benchmarks.quality.contenders import Contender, Ours, Preparation, lora
from benchmarks.quality.data import Rows, Task, batches
from benchmarks.quality.training import Rates, predict, train
from benchmarks.rate_tasks import MAKERS, load
from benchmarks.report import Section, environment, write_json

RESULTS = Path(__file__).parent / "results" / "rates.json"
LORA = Contender("LoRA r=1", "LoRA", lora(1), "LoRA")
STOCK = Contender("AdaMSS r=100 K=10", "weights", Ours(100, K=10), "AdaMSS")
WIDE = Contender("AdaMSS inputs r=128 K=1", "inputs", Ours(128, basis="inputs"), "AdaMSS")
RATES = {"LoRA": (1e-3, 4e-3, 1e-2, 2.5e-2), "AdaMSS": (3e-3, 1e-2, 2e-2, 4e-2)}
DEFAULT = Rates(1e-2, 1e-3)
HEADS, PACES = (1e-3, 5e-3), (2.0, 4.0)
SWEEP_SHARE, SWEEP_ROWS = 8, 256
CPU = torch.device("cpu")


class Bench:
    """Runs of one task; a run that was made is not made again."""

    def __init__(self, name: str, seeds: Sequence[int], share: float) -> None:
        self.name, self._seeds = name, seeds
        self.task, self._rows = load(name, share)
        self._made: dict[tuple[str, Rates], float] = {}

    def score(self, contender: Contender, rates: Rates) -> float:
        """Return the mean score of the seeds, in percent."""
        key = contender.name, rates
        if key not in self._made:
            scores = []
            for seed in self._seeds:
                model = self._train(contender, rates, seed, self._rows["train"])
                scores.append(self._judge(model, self._rows["tune"]))
            self._made[key] = mean(scores)
            print(self.name, contender.name, rates, f"{self._made[key]:.1f}", flush=True)
        return self._made[key]

    def swept(self, contender: Contender) -> float:
        """Return the adapter's rate that short runs find, for the first seed."""
        rows = self._rows["train"]
        held_out = min(SWEEP_ROWS, len(rows) // 4)
        learned, kept = rows.some(list(range(held_out, len(rows)))), rows.some(list(range(held_out)))
        losses = {}
        for rate in RATES[contender.kind]:
            model = self._train(contender, replace(DEFAULT, adapter=rate), self._seeds[0], learned, SWEEP_SHARE)
            losses[rate] = self._loss(model, kept)
        return min(losses, key=lambda rate: losses[rate])

    def _train(self, contender: Contender, rates: Rates, seed: int, rows: Rows, share: int = 1) -> Any:
        used = rows.some(list(range(len(rows) * self.task.epochs // share))) if share > self.task.epochs else rows
        task: Task = replace(self.task, epochs=1) if share > 1 else self.task
        steps = task.epochs * -(-len(used) // task.batch)
        given = Preparation(fresh(task.base, encoder_folder(), task.goal.outputs, seed), task, used, steps, seed, CPU)
        model = contender.make(given)
        train(model, given, rates)
        return model

    def _judge(self, model: Any, rows: Rows) -> float:
        return self.task.goal.score(predict(model, self.task, rows, CPU), rows.targets)

    @torch.inference_mode()
    def _loss(self, model: Any, rows: Rows) -> float:
        model.eval()
        losses = [
            float(self.task.goal.loss(self.task.base.read(model, inputs), targets)) * len(places)
            for inputs, targets, places in batches(rows, None, CPU)
        ]
        return sum(losses) / len(rows)


def table(bench: Bench) -> Section:
    """Measure a task: each contender's rates, then the head's and A's at the best, then the sweep."""
    task = bench.task
    section = Section(
        f"{bench.name}: {task.measure} on {task.tune} rows, {task.epochs} epochs on {task.train}",
        ["contender", "rate", "head", "A", task.measure],
    )
    for contender in (LORA, STOCK, WIDE):
        tried = [Rates(rate, DEFAULT.head) for rate in RATES[contender.kind]]
        tried.append(replace(_best(bench, contender, tried), head=HEADS[1]))
        best = _best(bench, contender, tried)
        tried += [replace(best, a=pace) for pace in PACES if contender is not LORA]
        for rates in tried:
            section.rows.append(
                [contender.name, rates.adapter, rates.head, f"x{rates.a:g}", bench.score(contender, rates)]
            )
        best = _best(bench, contender, tried)
        section.notes.append(f"{contender.name}: best at {best.adapter:g}, head {best.head:g}, A x{best.a:g}")
    for contender in (STOCK, WIDE):
        rate = bench.swept(contender)
        gain = bench.score(contender, replace(DEFAULT, adapter=rate)) - bench.score(contender, DEFAULT)
        section.notes.append(f"{contender.name}: the sweep takes {rate:g}, {gain:+.1f} beside {DEFAULT.adapter:g}")
    return section


def _best(bench: Bench, contender: Contender, tried: Sequence[Rates]) -> Rates:
    return max(tried, key=lambda rates: bench.score(contender, rates))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rates", description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", nargs="+", choices=list(MAKERS), default=list(MAKERS), metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="N")
    parser.add_argument("--share", type=float, default=1.0, help="use only this share of the rows")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="where the numbers go")
    parser.add_argument("--threads", type=int, default=1, help="torch threads; 1 is steadier on a busy machine")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    print(", ".join(f"{name} {value}" for name, value in environment().items()))
    sections = []
    for name in options.tasks:
        sections.append(table(Bench(name, options.seeds, options.share)))
        print(sections[-1].render(), flush=True)
        write_json(options.json, sections)


if __name__ == "__main__":
    main()

"""`make bench-job`: a whole job of the service beside scripts with transformers' Trainer: LoRA, and PEFT's AdaMSS.

Usage: python -m benchmarks.job [--rounds N] [--rows N] [--json FILE] [--docs FILE]

All train MiniLM on the same movie reviews, with as many steps of length-grouped batches, an evaluation and a checkpoint
after each epoch, and the best of them published as adapter and as merged model. Rounds run all three, in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks.documents import as_markdown, replace_table
from benchmarks.report import Limit, Section, write_json
from benchmarks.start import DOCS, WAIT_SECONDS, running
from examples.demo import DATA, SPEC
from examples.demo_model import install_model
from service.client import Client
from service.client.types import JobJson
from service.shared.storage.home import Home

OURS, LORA, PEFT = "ours", "LoRA", "PEFT AdaMSS"
CPU = re.compile(r"used ([\d.]+) s of CPU time")
GOALS = {LORA: 0.9, PEFT: 0.6}
LORA_RATE = 1e-3
LORA_CONFIG = {"r": 8, "lora_alpha": 16}
ADAMSS_FIELDS = (
    *("r", "num_subspaces", "subspace_rank", "use_asa", "asa_target_subspaces"),
    *("init_warmup", "final_warmup", "mask_interval"),
)
NOTES = [
    "ours: from the submit to the published job of a warm service; its CPU is the training process's.",
    "The scripts: from their start to the last file. Without imports: from the first line after them.",
]


@dataclass(frozen=True)
class Measured:
    """Seconds of one job."""

    wall: float
    cpu: float
    wall_after_imports: float
    cpu_after_imports: float


class Bench:
    """Runs jobs of each contender.

    Args:
        folder: for data and whatever the scripts write.
        home: of the running service that `client` reaches.
    """

    def __init__(self, folder: Path, home: Path, client: Client, rows: int) -> None:
        self._folder, self._client = folder, client
        model = install_model(Home(home).models)
        reviews = folder / "reviews.csv"
        reviews.write_text("".join(DATA.open(encoding="utf-8").readlines()[: rows + 1]), encoding="utf-8")
        self._spec = yaml.safe_load(SPEC.read_text(encoding="utf-8")) | {"artifacts": ["adapter", "merged"]}
        self._spec["dataset"]["train"] = client.upload_dataset(reviews)["id"]
        first = self._trained()  # it also makes everything ready
        self.steps, result = first["progress"]["total_steps"], first["result"] or {}
        training, adamss = self._spec["training"], first["resolved"]["spec"]["adamss"]
        shared = {name: training[name] for name in ("max_length", "batch_size", "epochs")}
        self._order = shared | {"rows": str(reviews), "model": str(model), "held_out": result["eval_rows"]}
        targets = {"target_modules": adamss["target_modules"]}
        self._own = {
            LORA: {"config": LORA_CONFIG | targets, "learning_rate": LORA_RATE},
            PEFT: {
                "config": targets | {name: adamss[name] for name in ADAMSS_FIELDS},
                "learning_rate": training["learning_rate"],
            },
        }

    def run(self, contender: str) -> Measured:
        """Run one job to its published artifacts."""
        return self._ours() if contender == OURS else self._script(contender)

    def _trained(self) -> JobJson:
        job = self._client.submit(self._spec)
        job = self._client.wait(job["id"], timeout=WAIT_SECONDS)
        assert job["status"] == "succeeded", job["error"]
        return job

    def _ours(self) -> Measured:
        job: dict[str, Any] = dict(self._trained())
        created, ended = (datetime.fromisoformat(job[name]) for name in ("created_at", "ended_at"))
        wall = (ended - created).total_seconds()
        used = CPU.search(self._client.logs(job["id"]))
        assert used is not None
        return Measured(wall, float(used[1]), wall, float(used[1]))

    def _script(self, kind: str) -> Measured:
        folder = self._folder / "script"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        order = folder / "order.json"
        order.write_text(json.dumps(self._order | self._own[kind] | {"kind": kind, "folder": str(folder)}))
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "TOKENIZERS_PARALLELISM": "false"}
        command = [sys.executable, "-P", "-m", "benchmarks.job_peer", str(order)]
        before, begun = os.times(), time.perf_counter()
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        wall, after = time.perf_counter() - begun, os.times()
        cpu = sum(after[2:4]) - sum(before[2:4])
        answer = json.loads((folder / "answer.json").read_text())
        assert answer["steps"] == self.steps, answer
        return Measured(wall, cpu, wall - answer["imports"]["wall"], cpu - answer["imports"]["cpu"])


def measure(rounds: int, rows: int) -> Section:
    """Measure all contenders, each once in every round."""
    order, shuffle = [OURS, LORA, PEFT], random.Random(0)
    measured: dict[str, list[Measured]] = {name: [] for name in order}
    with tempfile.TemporaryDirectory(prefix="adamss-job-") as folder:
        home = Path(folder) / "home"
        with running(home) as (client, _):
            bench = Bench(Path(folder), home, client, rows)
            for _ in range(rounds):
                shuffle.shuffle(order)
                for name in order:
                    measured[name].append(bench.run(name))
    return section_of(measured, rows, bench.steps)


def section_of(measured: dict[str, list[Measured]], rows: int, steps: int) -> Section:
    """Return medians, and the medians over the rounds of ours / theirs."""
    columns = ["job", "wall", "CPU", "wall without imports", "CPU without imports"]
    section = Section(f"A whole job: {rows} reviews, {steps} steps (seconds)", columns, notes=NOTES)
    names = list(Measured.__annotations__)
    for contender, jobs in measured.items():
        section.rows.append([contender, *(median(getattr(job, name) for job in jobs) for name in names)])
    for contender, goal in GOALS.items():
        pairs = list(zip(measured[OURS], measured[contender], strict=True))
        ratios = [median(getattr(own, name) / getattr(other, name) for own, other in pairs) for name in names]
        section.rows.append([f"ours / {contender}", *ratios])
        section.limits += [Limit(f"ours / {contender}, {columns[i + 1]}", ratios[i], goal) for i in range(4)]
    return section


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.job", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="of all three jobs")
    parser.add_argument("--rows", type=int, default=2_000, help="reviews, of which 15 %% are held out")
    parser.add_argument("--json", type=Path, default=DOCS / "measurements" / "job.json", metavar="FILE")
    parser.add_argument("--docs", type=Path, default=DOCS / "benchmarks.md", metavar="FILE", help="takes the table")
    options = parser.parse_args(arguments)
    section = measure(options.rounds, options.rows)
    print(section.render(), flush=True)
    write_json(options.json, [section], rounds=options.rounds, rows=options.rows)
    replace_table(options.docs, "job", as_markdown(section))


if __name__ == "__main__":
    main()

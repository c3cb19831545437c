"""`make bench-storage`: what a store costs: uploads, training with many checkpoints, publishing, downloads.

Usage: python -m benchmarks.storage [--rounds N] [--rows N] [--megabytes N] [--json FILE] [--docs FILE]

Four services at once take turns in each round: this release with files in its home folder, in a shared folder and on an
S3 server on this machine, and the release before stores, from the history of git.
"""

from __future__ import annotations

import argparse
import csv
import random
import re
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields
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
from service.shared.storage.home import Home
from tests.object_server import BUCKET, ObjectServer

ROOT = Path(__file__).parents[1]
BEFORE_COMMIT = "6d79c25^"  # the last one without a store
BEFORE, HOME, FOLDER, S3 = "before", "home folder", "shared folder", "S3"
CHECKPOINT_STEPS = 2
MOST = 1.05
LOG_SECONDS = 60.0
CPU = re.compile(r"used ([\d.]+) s of CPU time")
NOTES = [
    "upload: a CSV file, from the first byte sent to the answer. training, publishing: phases of a job whose every "
    "other step writes a checkpoint; publishing verifies too. whole job: from its start to its end. download: the "
    "merged model.",
    "Ratios are medians over the rounds. CPU is the training process's.",
]


@dataclass(frozen=True)
class Measured:
    """Seconds of one round of a service."""

    upload: float
    training: float
    publishing: float
    job: float
    cpu: float
    download: float


class Contender:
    """A running service with the model."""

    def __init__(self, folder: Path, home: Path, client: Client, rows: int) -> None:
        self._folder, self._client, self._rows = folder, client, rows
        install_model(Home(home).models)
        self._spec = yaml.safe_load(SPEC.read_text(encoding="utf-8")) | {"artifacts": ["adapter", "merged"]}
        reviews = folder / "reviews.csv"
        reviews.write_text("".join(DATA.open(encoding="utf-8").readlines()[: rows + 1]), encoding="utf-8")
        self._spec["dataset"]["train"] = client.upload_dataset(reviews)["id"]
        self._spec["training"] |= {"epochs": 1, "checkpoint_steps": CHECKPOINT_STEPS}

    def measure(self, table: Path) -> Measured:
        """Upload a table, train a job and download its model."""
        begun = time.perf_counter()
        dataset = self._client.upload_dataset(table, new=True)["id"]
        uploaded = time.perf_counter() - begun
        self._client.delete_dataset(dataset)
        job = self._client.wait(self._client.submit(self._spec)["id"], timeout=WAIT_SECONDS)
        assert job["status"] == "succeeded", job["error"]
        spent: dict[str, float] = {}
        for phase in self._client.phases(job["id"]):
            spent[phase["phase"]] = spent.get(phase["phase"], 0.0) + (phase["seconds"] or 0.0)
        cpu = self._cpu_seconds(job["id"])
        begun = time.perf_counter()
        self._client.download(job["id"], "merged", self._folder / "models").unlink()
        downloaded = time.perf_counter() - begun
        publishing = spent["publishing"] + spent["verifying"]
        whole = sum(seconds for phase, seconds in spent.items() if phase != "waiting")
        return Measured(uploaded, spent["training"], publishing, whole, cpu, downloaded)

    def _cpu_seconds(self, job: str) -> float:
        """Read the training process's CPU time; the log's end reaches the store a moment after the job's end."""
        until = time.monotonic() + LOG_SECONDS
        while (used := CPU.search(self._client.logs(job))) is None:
            if time.monotonic() > until:
                raise TimeoutError(f"the log of {job} does not say its CPU time")
            time.sleep(0.2)
        return float(used[1])


def measure(rounds: int, rows: int, megabytes: float) -> Section:
    """Measure all services, each once in every round."""
    measured: dict[str, list[Measured]] = {}
    shuffle = random.Random(0)
    with tempfile.TemporaryDirectory(prefix="adamss-storage-") as name, ExitStack() as stack:
        folder = Path(name)
        table = folder / "table.csv"
        write_table(table, megabytes)
        contenders = {}
        for contender, variables in environments(folder, stack).items():
            own = folder / contender.replace(" ", "-")
            own.mkdir()
            client, _ = stack.enter_context(running(own / "home", variables))
            contenders[contender] = Contender(own, own / "home", client, rows)
            contenders[contender].measure(table)  # it also makes everything ready
        order = list(contenders)
        for _ in range(rounds):
            shuffle.shuffle(order)
            for contender in order:
                measured.setdefault(contender, []).append(contenders[contender].measure(table))
    return section_of({name: measured[name] for name in contenders}, rows, megabytes)


def environments(folder: Path, stack: ExitStack) -> dict[str, Mapping[str, str]]:
    """Return the variables of each service; the release before is missing where git does not have it."""
    server = ObjectServer(folder / "server")
    stack.callback(server.close)
    found: dict[str, Mapping[str, str]] = {
        HOME: {"PYTHONPATH": str(ROOT)},
        FOLDER: {"PYTHONPATH": str(ROOT), "ADAMSS_STORAGE_URL": f"file://{folder}/shared"},
        S3: {"PYTHONPATH": str(ROOT), "ADAMSS_STORAGE_URL": f"s3://{BUCKET}/bench", **server.environment()},
    }
    try:
        return {BEFORE: {"PYTHONPATH": str(unpack(folder / "release-before"))}, **found}
    except (subprocess.CalledProcessError, FileNotFoundError):
        print(f"git does not have {BEFORE_COMMIT}: only this release is measured", flush=True)
        return found


def unpack(target: Path) -> Path:
    """Unpack the release before stores."""
    target.mkdir()
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", BEFORE_COMMIT], capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", str(target)], input=archive.stdout, check=True)
    return target


def write_table(path: Path, megabytes: float) -> None:
    """Write the demo's reviews again and again, each row with its number."""
    with DATA.open(newline="", encoding="utf-8") as source:
        header, *rows = csv.reader(source)
    with path.open("w", newline="", encoding="utf-8") as target:
        writer = csv.writer(target)
        writer.writerow(["number", *header])
        number = 0
        while target.tell() < megabytes * 1e6:
            writer.writerows([number + place, *row] for place, row in enumerate(rows))
            number += len(rows)


def section_of(measured: Mapping[str, list[Measured]], rows: int, megabytes: float) -> Section:
    """Return medians, and the medians over the rounds of the ratios that have a goal."""
    names = [field.name for field in fields(Measured)]
    columns = ["files", "upload", "training", "publishing", "whole job", "CPU", "download"]
    section = Section(f"Files in a store: {megabytes:g} MB of CSV, {rows} reviews (seconds)", columns, notes=NOTES)
    for contender, rounds in measured.items():
        section.rows.append([contender, *(median(getattr(one, name) for one in rounds) for name in names)])
    pairs = [(HOME, BEFORE)] * (BEFORE in measured) + [(FOLDER, HOME), (S3, HOME)]
    for contender, peer in pairs:
        ratios = ratios_of(measured[contender], measured[peer], names)
        section.rows.append([f"{contender} / {peer}", *(ratios[name] for name in names)])
        goals = ("upload", "training", "publishing") if peer == BEFORE else ("training", "job")
        section.limits += [Limit(f"{contender} / {peer}, {name}", ratios[name], MOST) for name in goals]
    return section


def ratios_of(own: list[Measured], others: list[Measured], names: list[str]) -> dict[str, Any]:
    """Return the median ratio of each number over rounds of both."""
    pairs = list(zip(own, others, strict=True))
    return {name: median(getattr(one, name) / getattr(other, name) for one, other in pairs) for name in names}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storage", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="of all four services")
    parser.add_argument("--rows", type=int, default=640, help="reviews of a job")
    parser.add_argument("--megabytes", type=float, default=20.0, help="of the uploaded table")
    parser.add_argument("--json", type=Path, default=DOCS / "measurements" / "storage.json", metavar="FILE")
    parser.add_argument("--docs", type=Path, default=DOCS / "benchmarks.md", metavar="FILE", help="takes the table")
    options = parser.parse_args(arguments)
    section = measure(options.rounds, options.rows, options.megabytes)
    print(section.render(), flush=True)
    write_json(options.json, [section], rounds=options.rounds, rows=options.rows, megabytes=options.megabytes)
    replace_table(options.docs, "storage", as_markdown(section))


if __name__ == "__main__":
    main()

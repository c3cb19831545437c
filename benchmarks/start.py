"""`make bench-start`: how long a user waits for the service, for a job's first step, and for a first prediction.

Usage: python -m benchmarks.start [--rounds N] [--json FILE] [--docs FILE]

A service with its defaults starts in a home of its own, and MiniLM is trained on a few hundred movie reviews. The first
job finds nothing ready (no warm process, no decomposition); the jobs after it are measured by phase.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks.documents import as_markdown, replace_table
from benchmarks.report import Limit, Section, write_json
from examples.demo import DATA, SPEC
from examples.demo_model import install_model
from service.cli.serve import free_port
from service.client import Client
from service.shared.storage.home import Home

DOCS = Path(__file__).parents[1] / "docs"
ROWS = 640
WAIT_SECONDS = 900.0  # a busy machine
TEXT = "A joy from beginning to end."
# A line of the training process, in local time: a phase of the start, as it ends.
LINE = re.compile(r"^(\S+ \S+),(\d{3}) INFO \S+: start: (.+?)(?: took ([\d.]+) s)?$", re.MULTILINE)
BEGUN, LAST = "the process begins", "making first step"
TOTAL = "submit to first step"
COMMANDS = {
    "import service.client": (["-P", "-c", "import service.client"], 0.15),
    "adamss --help": (["-P", "-m", "service.cli", "--help"], 0.3),
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="of each measurement")
    parser.add_argument("--json", type=Path, default=DOCS / "measurements" / "start.json", metavar="FILE")
    parser.add_argument("--docs", type=Path, default=DOCS / "benchmarks.md", metavar="FILE", help="takes the tables")
    options = parser.parse_args(arguments)
    sections = measure(options.rounds)
    for section in sections:
        print(section.render(), flush=True)
    write_json(options.json, sections, rounds=options.rounds)
    replace_table(options.docs, "start", "\n\n".join(map(as_markdown, sections)))


def measure(rounds: int) -> list[Section]:
    """Measure commands, the service's start, jobs and predictions."""
    commands = {name: command_seconds(command, rounds) for name, (command, _) in COMMANDS.items()}
    with tempfile.TemporaryDirectory(prefix="adamss-start-") as folder:
        homes = [Path(folder) / f"home{number}" for number in range(rounds)]
        ready = []
        for home in homes:
            with running(home) as (client, seconds):
                ready.append(seconds)
                if home is homes[-1]:
                    jobs, predictions = waits(client, home, rounds)
    return [waiting_section(commands, ready), first_step_section(jobs), prediction_section(predictions)]


def command_seconds(command: Sequence[str], rounds: int) -> tuple[float, float]:
    """Return the median seconds of wall and of CPU of a Python command, after a run that fills the disk's cache."""
    walls, cpus = [], []
    for number in range(rounds + 1):
        before, begun = os.times(), time.perf_counter()
        subprocess.run([sys.executable, "-P", *command], check=True, stdout=subprocess.DEVNULL)
        after = os.times()
        if number:
            walls.append(time.perf_counter() - begun)
            cpus.append(sum(after[2:4]) - sum(before[2:4]))
    return median(walls), median(cpus)


@contextmanager
def running(home: Path, variables: Mapping[str, str] = {}) -> Iterator[tuple[Client, float]]:
    """Run `adamss up`, with more variables; yield a client, and the seconds until API and worker were ready."""
    home.mkdir()
    port = free_port("127.0.0.1")
    passed = {name: value for name, value in os.environ.items() if not name.startswith("ADAMSS_")}
    environment = passed | {"ADAMSS_HOME": str(home), "HF_HUB_OFFLINE": "1"} | dict(variables)
    command = [sys.executable, "-P", "-m", "service.cli", "up", "--port", str(port)]
    begun = time.monotonic()
    with home.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        with _ready(f"http://127.0.0.1:{port}", home) as client:
            yield client, time.monotonic() - begun
    finally:
        process.terminate()
        process.wait()


def _ready(url: str, home: Path) -> Client:
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        if (home / "api_key").exists():
            client = Client(url, (home / "api_key").read_text().strip())
            if client.ready():
                return client
            client.close()
        time.sleep(0.02)
    raise TimeoutError(f"no service after {WAIT_SECONDS:g} s; see {home.with_suffix('.log')}")


def waits(client: Client, home: Path, rounds: int) -> tuple[list[dict[str, float]], list[list[float]]]:
    """Return the phases of a first job and of `rounds` more, and of each job a first and a second prediction."""
    install_model(Home(home).models)
    reviews = home.with_suffix(".csv")
    reviews.write_text("".join(DATA.open(encoding="utf-8").readlines()[: ROWS + 1]), encoding="utf-8")
    spec = yaml.safe_load(SPEC.read_text(encoding="utf-8"))
    spec["dataset"]["train"] = client.upload_dataset(reviews)["id"]
    spec["training"] |= {"epochs": 1, "logging_steps": 1}
    jobs, predictions = [], []
    for _ in range(rounds + 1):
        job, phases = job_seconds(client, spec)
        jobs.append(phases)
        predictions.append([_prediction_seconds(client, job) for _ in range(2)])
    return jobs, predictions


def job_seconds(client: Client, spec: dict[str, Any]) -> tuple[str, dict[str, float]]:
    """Train a job to its end; return its id, and the seconds of each phase from the submit to the first step."""
    submitted = time.time()
    job = client.submit(spec)
    answered = time.time()
    job = client.wait(job["id"], timeout=WAIT_SECONDS)
    assert job["status"] == "succeeded", job["error"]
    claimed = max(answered, datetime.fromisoformat(str(job["started_at"])).timestamp())
    ends, phases = read_phases(client.logs(job["id"]))
    known = {
        "request and its answer": answered - submitted,
        "hint and claim": claimed - answered,
        "starting the process": ends[BEGUN] - claimed,
        **phases,
    }
    total = ends[LAST] - submitted
    return job["id"], known | {"all between": total - sum(known.values()), TOTAL: total}


def read_phases(log: str) -> tuple[dict[str, float], dict[str, float]]:
    """Return the moment at which each logged phase ended, and the seconds that each took."""
    ends, phases = {}, {}
    for moment, thousandths, name, seconds in LINE.findall(log):
        ends[name] = datetime.fromisoformat(moment).timestamp() + int(thousandths) / 1000
        if seconds:
            phases[name] = float(seconds)
    return ends, phases


def _prediction_seconds(client: Client, job: str) -> float:
    begun = time.perf_counter()
    client.predict(job, [TEXT])
    return time.perf_counter() - begun


def waiting_section(commands: dict[str, tuple[float, float]], ready: list[float]) -> Section:
    section = Section("Commands and the service (seconds)", ["command", "wall", "CPU"])
    section.rows = [[name, *seconds] for name, seconds in commands.items()]
    section.rows.append(["adamss up, until API and worker are ready", median(ready), "-"])
    section.limits = [Limit(name, commands[name][0], goal) for name, (_, goal) in COMMANDS.items()]
    section.limits.append(Limit("adamss up", median(ready), 3.0))
    return section


def first_step_section(jobs: list[dict[str, float]]) -> Section:
    first, *later = jobs
    section = Section("From the submit to the first step (seconds)", ["phase", "first job", "median", "largest"])
    for name in first:
        values = [job[name] for job in later]
        section.rows.append([name, first[name], median(values), max(values)])
    section.limits = [Limit(TOTAL, median(job[TOTAL] for job in later), 2.0)]
    return section


def prediction_section(predictions: list[list[float]]) -> Section:
    (first, again), *later = predictions
    section = Section("Predictions (seconds)", ["prediction", "first job", "median", "largest"])
    fresh, repeated = ([seconds[number] for seconds in later] for number in (0, 1))
    section.rows = [
        ["first of a model", first, median(fresh), max(fresh)],
        ["second of a model", again, median(repeated), max(repeated)],
    ]
    section.limits = [Limit("first of a model", median(fresh), 1.5)]
    return section


if __name__ == "__main__":
    main()

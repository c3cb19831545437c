"""Time to open a job with a long history: the page's requests to a separate API process.

python -m benchmarks.long_job --steps 100000
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import psutil
from sqlalchemy import insert

from benchmarks.report import Limit, Section, write_json
from service.cli.serve import free_port
from service.keys.service import own_key
from service.shared.database.engine import Database
from service.shared.database.tables import Job, JobStatus, MetricRow, Project, SubspaceMap, now
from service.shared.settings import Settings

JOB = "job_benchmarklonghistory"
SPEC = {"task": "text-classification", "base_model": "minilm", "dataset": {"train": "ds_aaaaaaaaaaaaaaaaaaaa"}}
LAYERS, SUBSPACES, MAPS = 12, 10, 20  # the map: query and value of each layer
BATCH = 10_000
POINTS = 1_000  # as the page asks
REPEATS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    with TemporaryDirectory() as home:
        settings = Settings(home=Path(home), port=free_port("127.0.0.1"))
        with running_api(settings) as api:
            rows = measure(settings, arguments.steps, api)
    whole, work = sum(row[1] for row in rows), sum(row[2] for row in rows)
    section = Section(
        f"Opening a job of {arguments.steps:,} steps", ["call", "seconds (median)", "CPU seconds (mean)", "bytes"]
    )
    section.rows = [[*row] for row in rows]
    section.limits = [Limit("seconds for all calls", whole, 1.0), Limit("of these, the API's work", work, 1.0)]
    print(section.render())
    if arguments.json:
        write_json(arguments.json, [section], steps=arguments.steps)


@contextmanager
def running_api(settings: Settings) -> Iterator[psutil.Process]:
    """Start an API process without a worker, so that nothing else uses the CPU."""
    environ = os.environ | {"ADAMSS_HOME": str(settings.home), "ADAMSS_PORT": str(settings.port)}
    environ["ADAMSS_DATABASE_URL"] = settings.resolved_database_url
    command = [sys.executable, "-P", "-m", "service.cli", "api"]
    process = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=settings.resolved_url, timeout=120) as client:
            wait(client)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def measure(settings: Settings, steps: int, api: psutil.Process) -> list[tuple[str, float, float, int]]:
    with httpx.Client(base_url=settings.resolved_url, timeout=120) as client:
        client.headers["authorization"] = f"Bearer {own_key(settings)}"
        fill(settings, steps)
        paths = [f"/jobs/{JOB}/metrics?max_points={POINTS}", f"/jobs/{JOB}", f"/jobs/{JOB}/events?limit=1000"]
        return [timed(client, api, path) for path in paths]


def wait(client: httpx.Client) -> None:
    for _ in range(600):
        try:
            if client.get("/healthz").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise SystemExit("the API did not start")


def timed(client: httpx.Client, api: psutil.Process, path: str) -> tuple[str, float, float, int]:
    seconds = []
    size = 0
    before = api.cpu_times()
    for _ in range(REPEATS):
        begin = time.perf_counter()
        answer = client.get(path)
        seconds.append(time.perf_counter() - begin)
        answer.raise_for_status()
        size = len(answer.content)
    after = api.cpu_times()
    work = (after.user + after.system - before.user - before.system) / REPEATS
    return path.replace(JOB, "{id}"), sorted(seconds)[REPEATS // 2], work, size


def fill(settings: Settings, steps: int, job_id: str = JOB) -> None:
    """Insert a job's rows as a run would write them."""
    db = Database(settings.resolved_database_url)
    moment = now()
    with db.write() as session:
        project = session.query(Project).first()
        assert project is not None
        job = Job(
            id=job_id,
            project_id=project.id,
            name="long",
            status=JobStatus.SUCCEEDED,
            spec=SPEC,
            resolved={"spec": SPEC},
        )
        job.created_at = job.queued_at = moment
        job.retries, job.total_steps, job.step, job.last_seq = 0, steps, steps, steps + MAPS
        session.add(job)
        session.flush()
        for index in range(MAPS):
            session.add(subspace_map(job_id, index, steps * index // MAPS, steps + 1 + index))
        for start in range(1, steps + 1, BATCH):
            rows = [row(step, moment) for step in range(start, min(start + BATCH, steps + 1))]
            session.execute(insert(MetricRow), [entry | {"job_id": job_id} for entry in rows])
    db.close()


def subspace_map(job_id: str, index: int, step: int, seq: int) -> SubspaceMap:
    """Build a map; over all maps, half of the subspaces are pruned one after the other."""
    names = [f"encoder.layer.{layer}.attention.{kind}" for layer in range(LAYERS) for kind in ("query", "value")]
    total = len(names) * SUBSPACES
    pruned = total * index // (2 * MAPS)
    modules: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for number in range(total):
        entry: dict[str, Any] = {"index": number // len(names), "rows": 40, "rank": 1, "importance": 1 / (1 + number)}
        active = number < total - pruned
        entry |= {"active": active, "pruned_at": None if active else step}
        modules[names[number % len(names)]].append(entry)
    summary = {"total": total, "active": total - pruned, "target": total // 2, "modules": modules, "schedule": []}
    return SubspaceMap(job_id=job_id, step=step, attempt=1, seq=seq, summary=summary)


def row(step: int, moment: object) -> dict[str, object]:
    values = {
        "loss": 2 / math.sqrt(step),
        "learning_rate": 1e-3,
        "grad_norm": 1 + math.sin(step),
        "samples_per_second": 100.0,
        "tokens_per_second": 1e4,
        "memory_bytes": 10**9,
        "active_subspaces": 60,
        "target_subspaces": 60,
        "trainable_parameters": 10_000,
    }
    fixed: dict[str, object] = {"job_id": JOB, "attempt": 1, "kind": "train", "epoch": 0.0, "time": moment}
    return fixed | {"seq": step, "step": step, "values": values}


if __name__ == "__main__":
    main()

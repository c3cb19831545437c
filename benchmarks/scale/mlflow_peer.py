"""The same questions to an MLflow server whose database is as full, in turn with ours."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from sqlalchemy import create_engine, text

from benchmarks.report import Limit, Section
from benchmarks.scale.calls import POINTS
from benchmarks.scale.filling import NAMES, OLD_JOB, Size
from benchmarks.scale.target import Target, running_target
from service.cli.serve import free_port

RUN = "b" * 32  # the run with a long history
API = "/api/2.0/mlflow"
START_SECONDS = 180
SILENT: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
WARM_UP = 5  # calls that do not count


def find_mlflow(python: Path) -> Path | None:
    """Return the interpreter if it has MLflow."""
    try:
        subprocess.run([python, "-P", "-c", "import mlflow"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return python


def beside_mlflow(python: Path, size: Size, repeats: int) -> Section:
    """Measure the waits of both services, each on SQLite, with the calls in turn."""
    section = Section(
        "sqlite: waits beside an MLflow server", ["call", "median, ms", "p99, ms", "MLflow's median", "MLflow's p99"]
    )
    with ExitStack() as stack:
        folder, other = (Path(stack.enter_context(TemporaryDirectory())) for _ in range(2))
        ours = stack.enter_context(running_target(folder, size, "sqlite"))
        theirs = stack.enter_context(running_mlflow(python, other, size))
        section.notes = [f"both: {size}, MLflow without events", "99th percentile of the waits of calls made in turn"]
        for name, (mine, peers) in questions(ours, theirs).items():
            times: list[list[float]] = [[], []]
            for _ in range(10 * repeats + WARM_UP):
                for place, call in enumerate((mine, peers)):
                    begin = time.perf_counter()
                    call().raise_for_status()
                    times[place].append(1000 * (time.perf_counter() - begin))
            (own, own_p99), (peer, peer_p99) = (
                (median(one), percentile(one, 0.99)) for one in (few[WARM_UP:] for few in times)
            )
            section.rows.append([name, own, own_p99, peer, peer_p99])
            section.limits.append(Limit(f"{name}: p99 by MLflow's", own_p99 / peer_p99, 1.0))
            print(*section.rows[-1], flush=True)
    print(section.render(), flush=True)
    return section


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def questions(ours: Target, theirs: httpx.Client) -> dict[str, tuple[Callable[[], httpx.Response], ...]]:
    """Return the calls that both services answer, by their meaning."""

    def search(**query: object) -> Callable[[], httpx.Response]:
        body = {"experiment_ids": ["0"], "max_results": 20, **query}
        return lambda: theirs.post(f"{API}/runs/search", json=body)

    def create() -> httpx.Response:
        return theirs.post(f"{API}/runs/create", json={"experiment_id": "0", "run_name": "a run"})

    history: dict[str, str | int] = {"run_id": RUN, "metric_key": "loss", "max_results": POINTS}
    sampled: dict[str, str | int] = {"run_ids": RUN, "metric_key": "loss", "max_results": POINTS}
    return {
        "a list of 20": (lambda: ours.client.get("/jobs?limit=20"), search()),
        "a list of 20 by name": (
            lambda: ours.client.get("/jobs?limit=20&name=name 7"),
            search(filter="attributes.run_name = 'name 7'"),
        ),
        "one job, or run": (
            lambda: ours.client.get(f"/jobs/{OLD_JOB}"),
            lambda: theirs.get(f"{API}/runs/get", params={"run_id": RUN}),
        ),
        f"a page of {POINTS} values": (
            lambda: ours.client.get(f"/jobs/{OLD_JOB}/metrics?limit={POINTS}&name=loss"),
            lambda: theirs.get(f"{API}/metrics/get-history", params=history),
        ),
        f"a curve of {POINTS} points": (
            lambda: ours.client.get(f"/jobs/{OLD_JOB}/metrics?max_points={POINTS}&name=loss"),
            lambda: theirs.get("/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval", params=sampled),
        ),
        "a new job, or run": (lambda: ours.client.post("/jobs", json=ours.spec), create),
    }


@contextmanager
def running_mlflow(python: Path, folder: Path, size: Size) -> Iterator[httpx.Client]:
    """Start a tracking server of one process on a database with as many runs and values as ours."""
    database, port = folder / "mlflow.db", free_port("127.0.0.1")
    store = ["--backend-store-uri", f"sqlite:///{database}", "--default-artifact-root", str(folder / "artifacts")]
    command = [str(python), "-P", "-m", "mlflow", "server", *store, "--port", str(port), "--workers", "1"]
    server = subprocess.Popen(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": ""}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=300) as client:
            _wait(client)
            _fill(database, size)
            yield client
    finally:
        server.terminate()
        server.wait()


def _wait(client: httpx.Client) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        try:
            if client.get("/health").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise SystemExit("the MLflow server did not start")


def _fill(database: Path, size: Size) -> None:
    """Insert runs with one metric each of as many values, and one run with a long history."""
    statements = [_runs(size.jobs), _metrics("run_uuid LIKE 'run%'", size.rows_per_job)]
    statements += [_runs(1).replace("'run' || substr(CAST(100000000 + i AS TEXT), 2)", f"'{RUN}'")]
    statements += [_metrics(f"run_uuid = '{RUN}'", size.long)]
    statements += [
        "INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) "
        "SELECT 'loss', 1.0, 1, 1, 0, run_uuid FROM runs"
    ]
    engine = create_engine(f"sqlite:///{database}")
    for statement in statements:
        with engine.begin() as connection:
            connection.execute(text(statement))
    engine.dispose()


def _runs(count: int) -> str:
    return f"""
        INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time,
                          end_time, deleted_time, source_version, lifecycle_stage, artifact_uri, experiment_id)
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
        SELECT 'run' || substr(CAST(100000000 + i AS TEXT), 2), 'name ' || (i % {NAMES}), 'LOCAL', 'a', '', 'u',
               'FINISHED', 1700000000000 + i * 7000, 1700000000000 + i * 7001, NULL, '', 'active', 'a', 0
        FROM n"""


def _metrics(where: str, rows: int) -> str:
    return f"""
        INSERT INTO metrics (key, value, timestamp, step, is_nan, run_uuid)
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
        SELECT 'loss', 2.0 / i, 1700000000000 + i, i, 0, run_uuid
        FROM runs, n WHERE {where}"""

"""Rows 31 and 32: two releases at work on one database, and migrations while everything runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx
import pytest
from alembic import command
from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError

from adamss_core.spec import SPEC_VERSION
from migrations.online import BATCH
from service.shared.database.migrate import config_for, open_for_migration, upgrade
from service.shared.database.tables import Job, JobStatus, MetricRow
from tests.faults.conftest import ALL
from tests.faults.postgres import free_port
from tests.faults.topology import KEY, Topology
from tests.worker.support import is_alive, process_state

NEWER: dict[str, Any] = {"adamss": {"asa_pruned": "removed"}}  # which the previous release does not know


def client_of(topology: Topology, port: int) -> httpx.Client:
    """A client of an API on another port, once that answers."""
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=dict(topology.http.headers), timeout=60.0)
    assert KEY in client.headers["authorization"]

    def answers() -> bool:
        try:
            return client.get("/healthz", timeout=2.0).is_success
        except httpx.TransportError:
            return False

    topology.until(answers)
    return client


def step_of(client: httpx.Client, job_id: str) -> int:
    """The job's last step, as an API tells it: our own tables do not fit an older schema."""
    return int(client.get(f"/jobs/{job_id}").json()["progress"]["step"])


def uncharged(topology: Topology, steps: dict[str, int]) -> list[Job]:
    """The jobs once all have made their steps and succeeded, none of them charged with an attempt."""
    jobs = [topology.check_succeeded(job_id, count) for job_id, count in steps.items()]
    assert [job.failures for job in jobs] == [0] * len(jobs)
    return jobs


@pytest.mark.core_in_full
@pytest.mark.unmigrated  # both releases inspect the model, which loads torch: too long for the quick part
def test_row_31a_rolling_upgrade_with_jobs_running(topology: Topology, previous_release: Path) -> None:
    before = topology.of_release(previous_release)
    topology.api(**before)
    old_worker = topology.start_worker(**before)
    running = topology.submit(steps=400, pause=0.1)  # longer than the new API takes to start
    topology.until(lambda: step_of(topology.http, running) >= 15)
    port = free_port()
    topology.start_api(ADAMSS_PORT=str(port))  # migrates under the old processes
    with closing(client_of(topology, port)) as new_api:
        answer = new_api.post("/jobs", json=topology.spec(**NEWER))
        assert answer.status_code == 201, answer.text
        newer = str(answer.json()["id"])
        plain = topology.submit()  # by the old API, on the new schema
        old_worker.ask_to_stop()
        topology.start_worker()
        jobs = uncharged(topology, {running: 400, newer: 40, plain: 40})
        assert [job.spec_version for job in jobs] == [1, 2, 1]
        assert jobs[0].attempt == 2, "the new worker resumed what the old one had begun"
        assert topology.http.get(f"/jobs/{newer}").json()["status"] == "succeeded", "of the old API"
        assert new_api.get("/readyz").status_code == 200


@pytest.mark.core_in_full
def test_row_31b_workers_rolled_back_with_jobs_running(topology: Topology, previous_release: Path) -> None:
    topology.api()
    new_worker = topology.start_worker()
    running = topology.submit(steps=150, pause=0.1)
    topology.wait_step(running, 15)
    topology.start_worker(**topology.of_release(previous_release))
    newer = topology.submit(**NEWER)
    new_worker.ask_to_stop()
    plain = topology.submit()
    (job, _) = uncharged(topology, {running: 150, plain: 40})
    assert job.attempt == 2, "the old worker resumed what the new one had begun"
    left = topology.job(newer)
    assert (left.status, left.attempt, left.failures) == (JobStatus.QUEUED, 0, 0)
    topology.start_worker()
    uncharged(topology, {newer: 40})


@pytest.mark.core
def test_row_31c_a_checkpoint_of_a_later_release(topology: Topology) -> None:
    topology.api()
    job_id = topology.submit(steps=30)
    first = topology.start_worker(FAILPOINT="mid_step:stop:15")
    pid = topology.pid_of_training(job_id)
    topology.until(lambda: process_state(pid) == "T")
    first.kill()
    topology.until(lambda: not is_alive(pid))
    folder = topology.settings.files.job(job_id).checkpoints / "step-00000010"
    manifest = folder / "checkpoint.json"
    own = manifest.read_text()
    manifest.write_text(json.dumps(json.loads(own) | {"version": 99}))
    topology.start_worker()
    topology.until(lambda: topology.job(job_id).spec_version == SPEC_VERSION + 1)
    assert topology.job(job_id).status == JobStatus.QUEUED
    returned = topology.events(job_id)[-1].data
    assert (returned["reason"]["code"], returned["charged"]) == ("checkpoint_format", False)
    manifest.write_text(own)  # all its other files are as they were
    with topology.db.write() as session:
        session.get_one(Job, job_id).spec_version = 1
    topology.check_succeeded(job_id, steps=30)
    begun = [event.data["step"] for event in topology.events(job_id) if event.type == "training_started"]
    assert begun == [0, 10]


PATIENCE_MS = 2_000
FILL = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :rows) {insert} FROM n",
    "postgresql": "{insert} FROM generate_series(1, :rows) AS n(i)",
}
PATIENT = {"sqlite": f"PRAGMA busy_timeout = {PATIENCE_MS}", "postgresql": f"SET lock_timeout = {PATIENCE_MS}"}
COLUMNS = 'job_id, seq, attempt, kind, step, epoch, time, "values"'


def fill_metrics(topology: Topology, job_id: str, rows: int) -> None:
    """Add rows of metrics after those that there are."""
    values = f"""'{job_id}', 1000 + i, 1, 'train', 1000 + i, 0, '2026-01-01', '{{"loss": 0.5, "grad_norm": 2.0}}'"""
    statement = FILL[topology.db.engine.dialect.name].format(insert=f"INSERT INTO metrics ({COLUMNS}) SELECT {values}")
    with topology.db.write() as session:
        session.execute(text(statement), {"rows": rows})


@contextmanager
def impatient_writer(topology: Topology, job_id: str) -> Iterator[list[str]]:
    """Write a row and renew a lease again and again; yields what was refused after two seconds."""
    engine, refused, stopping = topology.db.engine, list[str](), Event()
    metric = f"""INSERT INTO metrics ({COLUMNS}) VALUES ('{job_id}', :n, 1, 'train', :n, 0, '2026-01-01', '{{}}')"""

    def write() -> None:
        with engine.execution_options(adamss_write=True).connect() as connection:
            connection.execute(text(PATIENT[engine.dialect.name]))
            connection.commit()
            for number in count(10_000_000):
                if stopping.is_set():
                    return
                try:
                    connection.execute(text(metric), {"n": number})
                    connection.execute(text("UPDATE jobs SET step = step + 1 WHERE id = :id"), {"id": job_id})
                    connection.commit()
                except OperationalError as error:
                    connection.rollback()
                    refused.append(str(error))

    thread = Thread(target=write)
    thread.start()
    try:
        yield refused
    finally:
        stopping.set()
        thread.join()


@pytest.mark.quick("production")
def test_row_32_migrations_of_many_metrics_beside_writers(topology: Topology) -> None:
    rows = 1_000_000 if ALL else 50_000
    api = topology.api()
    job_id = topology.submit()
    api.stop()
    with open_for_migration(topology.settings) as connection:
        command.downgrade(config_for(connection), "0006")
    fill_metrics(topology, job_id, rows)
    with impatient_writer(topology, job_id) as refused:
        upgrade(topology.settings)
    assert refused == []
    with topology.db.read() as session:
        filled = select(func.count()).select_from(MetricRow).where(MetricRow.loss == 0.5, MetricRow.grad_norm == 2.0)
        assert session.execute(filled).scalar_one() == rows
        assert session.get_one(Job, job_id).step > rows // BATCH, "a write was let in after each batch"

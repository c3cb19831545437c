"""Rows 34, 35 and 42: many waiting jobs, many free workers, and a job that makes room again and again."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from time import monotonic
from typing import Any

import pytest
from sqlalchemy import select, update

from service.shared.database.tables import LEASED, Job, JobStatus, Project, now
from tests.faults.test_training import ASA, adapter, measured
from tests.faults.topology import PATIENCE, ROOT, Topology

WAITING = 1_000


def test_row_34_a_project_at_its_limit_holds_nobody_up(topology: Topology) -> None:
    topology.api()
    running = topology.submit(4_000)
    with topology.db.write() as session:
        session.execute(update(Project).values(max_running_jobs=1))
        session.add(Project(id="proj_other", name="other", created_at=now()))
    topology.start_worker()
    topology.start_worker()
    topology.wait(running, JobStatus.RUNNING)
    short = topology.submit(5)
    topology.copies(short, WAITING - 1)
    before = waiting_rows(topology)
    (others,) = topology.copies(short, 1)
    begin = monotonic()
    with topology.db.write() as session:
        session.execute(update(Job).where(Job.id == others).values(project_id="proj_other", queued_at=now()))
    topology.send_hint(others)
    topology.until(lambda: topology.job(others).attempt == 1)
    assert monotonic() - begin < 5, "others start at once"
    assert {row for row in waiting_rows(topology) if row[0] != others} == before, "no waiting row is written"
    assert len(before) == WAITING
    assert topology.http.post(f"/jobs/{running}/cancel").is_success
    topology.wait(running, JobStatus.CANCELLED)
    topology.until(lambda: claimed_after(topology) is not None)
    ended, next_one = topology.job(running).ended_at, claimed_after(topology)
    assert ended is not None
    assert next_one is not None
    assert next_one - ended < timedelta(seconds=1), "a freed place is taken within a second"


def waiting_rows(topology: Topology) -> set[tuple[Any, ...]]:
    columns = (Job.id, Job.queued_at, Job.hinted_at, Job.not_before, Job.last_seq, Job.rank, Job.reserved_for)
    with topology.db.read() as session:
        return {tuple(row) for row in session.execute(select(*columns).where(Job.status == JobStatus.QUEUED))}


def claimed_after(topology: Topology) -> Any:
    """When the first of the project's short jobs began."""
    with topology.db.read() as session:
        own = select(Job.started_at).where(Job.project_id != "proj_other", Job.total_steps == 5, Job.attempt > 0)
        return session.scalars(own.order_by(Job.started_at)).first()


# A worker that takes jobs and only holds them: training processes would take longer to start than 20 workers claim.
HOLDS = """
import sys, time
from pathlib import Path
from service.shared.database.engine import Database
from service.shared.processes.forkserver import ForkServer
from service.shared.settings import Settings
from worker.device_locks import open_devices
from worker.runner import Runner
gate, name = sys.argv[1:3]
settings = Settings()
db = Database(settings.resolved_database_url)
Runner._supervise = lambda *arguments: None
runner = Runner(settings, db, name, open_devices(settings, name), ForkServer([], 1.0))
Path(gate + "." + name).touch()
while not Path(gate).exists(): time.sleep(0.001)
deadline = time.monotonic() + 60
while not runner.run(sys.argv[3]) and time.monotonic() < deadline: time.sleep(0.2)
"""
WORKERS = 20


def test_row_35_twenty_workers_take_twenty_jobs(topology: Topology) -> None:
    """Each of them hears of the same job, as where all other hints are lost, and is the only one with its claim."""
    topology.api()
    first = topology.submit()
    job_ids = [first, *topology.copies(first, WORKERS - 1)]
    gate = topology.settings.resolved_home / "gate"
    environment = {**os.environ, **topology.environment, "PYTHONPATH": str(ROOT)}
    rivals = [
        subprocess.Popen([sys.executable, "-c", HOLDS, str(gate), f"w{number}", first], env=environment)
        for number in range(WORKERS)
    ]
    try:
        topology.until(lambda: len(list(gate.parent.glob("gate.w*"))) == WORKERS)
        begin = monotonic()
        gate.touch()
        topology.until(lambda: count_running(topology) == WORKERS)
        took = monotonic() - begin
        for rival in rivals:
            assert rival.wait(PATIENCE) == 0
    finally:
        for rival in rivals:
            rival.kill()
            rival.wait()
    assert took < 5, f"20 jobs ran after {took:.1f} s"
    assert {topology.job(job_id).attempt for job_id in job_ids} == {1}
    assert len({topology.job(job_id).worker for job_id in job_ids}) == WORKERS


def count_running(topology: Topology) -> int:
    with topology.db.read() as session:
        return len(session.scalars(select(Job.id).where(Job.status.in_(LEASED))).all())


PREEMPTIONS = 100


@pytest.mark.core
@pytest.mark.timeout(3_000)  # a hundred attempts, each of which loads its model
def test_row_42_a_hundred_preemptions_of_one_job(topology: Topology) -> None:
    """The result is bit-equal to an undisturbed run's, and no attempt is charged. Jobs of a higher priority preempt it
    the first three times; after that its row says so, as theirs would take a minute each on a small machine."""
    steps = 16_000  # enough for a hundred attempts of a second or two each, until the worker has looked
    fields: dict[str, Any] = {"adamss": ASA, "training": {"checkpoint_steps": 1_000}, "retries": 0}
    topology.api()
    whole, broken = topology.submit(steps, **fields), topology.submit(steps, **fields)
    assert topology.http.post(f"/jobs/{broken}/pause").is_success
    with topology.db.write() as session:
        session.execute(update(Job).where(Job.id == broken).values(rank=10))
    topology.start_worker()
    topology.wait(whole, seconds=10 * PATIENCE)
    topology.check_succeeded(whole, steps)
    assert topology.http.post(f"/jobs/{broken}/resume").is_success
    for attempt in range(1, PREEMPTIONS + 1):
        preempt(topology, broken, attempt)
    job = topology.wait(broken, seconds=10 * PATIENCE)
    job = topology.check_succeeded(broken, steps)
    assert (job.attempt, job.failures) == (PREEMPTIONS + 1, 0)
    reasons = [event.data["reason"] for event in topology.events(broken) if event.type == "requeued"]
    assert [reason["code"] for reason in reasons] == ["preempted"] * PREEMPTIONS
    assert adapter(topology, broken) == adapter(topology, whole)
    assert measured(topology, broken) == measured(topology, whole)


def preempt(topology: Topology, job_id: str, attempt: int) -> None:
    topology.until(lambda: topology.job(job_id).attempt == attempt and runs(topology, job_id), 2 * PATIENCE)
    if attempt <= 3:
        topology.check_succeeded(topology.submit(5), 5)
        return
    with topology.db.write() as session:
        row = update(Job).where(Job.id == job_id, Job.status == JobStatus.RUNNING)
        session.execute(row.values(preempted_by="job_of_a_test"))


def runs(topology: Topology, job_id: str) -> bool:
    """Tell whether the newest attempt has made a step; without one it would never come further."""
    job = topology.job(job_id)
    return job.status == JobStatus.RUNNING and topology.last_step(job_id, job.attempt) > 0

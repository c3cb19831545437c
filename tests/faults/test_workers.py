"""Rows 7 to 14: workers and training processes that die, freeze, hang or are told to stop."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import select

from service.shared.database.tables import Job, JobStatus, Worker
from tests.faults.topology import ROOT, Topology, age
from tests.worker.support import is_alive, process_state


def claimed_and_frozen(topology: Topology, failpoint: str, steps: int = 40) -> tuple[str, int]:
    """A job whose training process stands still at a failpoint, and that process."""
    topology.api()
    job_id = topology.submit(steps)
    topology.first = topology.start_worker(FAILPOINT=failpoint)
    pid = topology.pid_of_training(job_id)
    topology.until(lambda: process_state(pid) == "T")
    return job_id, pid


def test_row_07a_worker_killed_before_claim(topology: Topology) -> None:
    topology.api()
    job_id = topology.submit()
    first = topology.start_worker(FAILPOINT="before_claim:kill")
    assert first.wait() != 0
    assert topology.job(job_id).attempt == 0
    topology.start_worker()
    job = topology.check_succeeded(job_id, steps=40)
    assert (job.attempt, job.failures) == (1, 0)


def test_row_07b_worker_killed_after_claim_before_first_heartbeat(topology: Topology) -> None:
    topology.api()
    job_id = topology.submit()
    first = topology.start_worker(FAILPOINT="after_claim:kill")
    assert first.wait() != 0
    assert topology.job(job_id).status == JobStatus.RUNNING
    topology.start_worker()
    job = topology.check_succeeded(job_id, steps=40)
    assert (job.attempt, job.failures) == (2, 1)


@pytest.mark.core_in_full
def test_row_07c_worker_killed_while_loading_the_model(topology: Topology) -> None:
    job_id, pid = claimed_and_frozen(topology, "loading:stop")
    topology.first.kill()
    topology.until(lambda: not is_alive(pid))
    topology.start_worker()
    job = topology.check_succeeded(job_id, steps=40)
    assert (job.attempt, job.failures) == (2, 1)


@pytest.mark.core_in_full
def test_row_07d_worker_killed_mid_step(topology: Topology) -> None:
    job_id, pid = claimed_and_frozen(topology, "mid_step:stop:25")
    topology.first.kill()
    topology.until(lambda: not is_alive(pid))
    topology.start_worker()
    job = topology.check_succeeded(job_id, steps=40)
    assert (job.attempt, job.failures) == (2, 1)
    attempts = {row.step: row.attempt for row in topology.metrics(job_id) if row.kind == "train"}
    assert {attempts[step] for step in range(21, 41)} == {2}  # the newest attempt wins


@pytest.mark.core
def test_row_08_killed_in_a_checkpoint(topology: Topology) -> None:
    topology.api()
    job_id = topology.submit(30)
    first = topology.start_worker(FAILPOINT="checkpoint:kill:2")
    topology.wait_attempt(job_id, 1)
    topology.until(lambda: topology.job(job_id).failures == 1)
    first.kill()
    folder = topology.settings.files.job(job_id).checkpoints
    assert any(path.name.startswith(".writing-") for path in folder.iterdir())
    topology.start_worker()
    topology.check_succeeded(job_id, steps=30)
    begun = [event.data["step"] for event in topology.events(job_id) if event.type == "training_started"]
    assert begun == [0, 10]
    assert not [path for path in folder.iterdir() if path.name.startswith(".writing-")]


@pytest.mark.core_in_full
@pytest.mark.parametrize("place", ["before_publish", "before_commit"])
def test_row_09_killed_between_training_and_commit(topology: Topology, place: str) -> None:
    topology.api()
    job_id = topology.submit()
    first = topology.start_worker(FAILPOINT=f"{place}:kill")
    topology.until(lambda: topology.job(job_id).failures == 1)
    first.kill()
    assert topology.check_whole(job_id) == {"adapter.zip"}  # complete before the kill, so it can be downloaded
    metrics = topology.settings.files.job_artifacts(job_id) / "metrics.zip"
    assert place == "before_publish" or metrics.exists()  # renamed, and named by no row
    topology.start_worker()
    topology.check_succeeded(job_id, steps=40)


@pytest.mark.core_in_full
def test_row_09_killed_while_a_later_artifact_is_written(topology: Topology) -> None:
    topology.api()
    job_id = topology.submit(artifacts=["adapter", "lora"])
    first = topology.start_worker(FAILPOINT="artifact:kill:2")
    topology.until(lambda: topology.job(job_id).failures == 1)
    first.kill()
    assert topology.check_whole(job_id) == {"adapter.zip"}
    (known,) = topology.artifacts(job_id)
    answer = topology.http.get(f"/jobs/{job_id}/artifacts/adapter")
    assert answer.status_code == 200
    assert hashlib.sha256(answer.content).hexdigest() == known.sha256
    topology.start_worker()
    topology.check_succeeded(job_id, steps=40)
    assert sorted(row.name for row in topology.artifacts(job_id)) == ["adapter", "lora", "metrics"]


def test_row_09_orphan_of_an_abandoned_job_is_collected(topology: Topology) -> None:
    topology.api()
    job_id = topology.submit(retries=0)
    first = topology.start_worker(FAILPOINT="before_commit:kill")
    topology.wait(job_id, JobStatus.FAILED)
    first.kill()
    metrics = topology.settings.files.job_artifacts(job_id) / "metrics.zip"
    assert metrics.exists()
    age(metrics)
    topology.start_worker()
    topology.until(lambda: not metrics.exists())
    assert topology.check_whole(job_id) == {"adapter.zip"}


CLAIMS = """
import sys, time
from pathlib import Path
from service.shared.database.engine import Database
from service.shared.jobs import states
url, gate, name = sys.argv[1:4]
db = Database(url)
Path(gate + "." + name).touch()
while not Path(gate).exists(): time.sleep(0.001)
won = 0
for job_id in sys.stdin.read().split():
    with db.write() as session:
        won += states.claim(session, job_id, name, 60.0) is not None
print(won)
"""


def test_row_10_two_workers_one_job_five_hundred_times(topology: Topology) -> None:
    topology.api()
    first = topology.submit()
    job_ids = [first, *topology.copies(first, 499)]
    gate = topology.settings.resolved_home / "gate"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    rivals = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIMS, topology.settings.resolved_database_url, str(gate), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for name in ("a", "b")
    ]
    topology.until(lambda: all(Path(f"{gate}.{name}").exists() for name in ("a", "b")))
    for rival in rivals:
        assert rival.stdin is not None
        rival.stdin.write("\n".join(job_ids))
        rival.stdin.close()
    gate.touch()
    won = []
    for rival in rivals:
        assert rival.stdout is not None
        won.append(int(rival.stdout.read()))
        rival.stdout.close()
        assert rival.wait(120) == 0
    assert sum(won) == 500
    with topology.db.read() as session:
        assert set(session.scalars(select(Job.attempt))) == {1}


def test_row_11_worker_frozen_past_its_lease(topology: Topology) -> None:
    topology.api()
    job_id = topology.submit(1_000)
    first = topology.start_worker()
    topology.wait_step(job_id, 1)
    old = topology.pid_of_training(job_id)
    topology.start_worker()
    topology.freeze(first.pid)  # its training process goes on
    topology.wait_attempt(job_id, 2)
    topology.until(lambda: not is_alive(old))  # found out by itself
    first.thaw()
    topology.wait_step(job_id, topology.job(job_id).step + 1)
    job = topology.job(job_id)
    assert (job.attempt, job.failures) == (2, 1)
    rows = topology.metrics(job_id)
    last_of_old = max((row.seq for row in rows if row.attempt == 1), default=0)
    first_of_new = min(row.seq for row in rows if row.attempt == 2)
    assert last_of_old < first_of_new
    assert topology.http.post(f"/jobs/{job_id}/cancel").is_success
    topology.wait(job_id, JobStatus.CANCELLED)


@pytest.mark.core_in_full
def test_row_12_sigterm_to_the_worker(topology: Topology) -> None:
    topology.api()
    job_id = topology.submit(200)
    first = topology.start_worker()
    topology.wait_step(job_id, 3)
    begin = time.monotonic()
    assert first.stop() == 0
    assert time.monotonic() - begin < 60
    job = topology.job(job_id)
    assert (job.status, job.attempt, job.failures) == (JobStatus.QUEUED, 1, 0)
    kept = topology.checkpoints(job_id)[-1].step
    assert kept >= 3
    topology.start_worker()
    job = topology.check_succeeded(job_id, steps=200)
    assert (job.attempt, job.failures) == (2, 0)
    assert {row.attempt for row in topology.metrics(job_id) if row.step <= kept} == {1}


def test_row_12_sigterm_to_the_training_process_too(topology: Topology) -> None:
    """As a service manager or a machine that is taken away does it: everyone hears it at once."""
    topology.api()
    job_id = topology.submit(200)
    topology.start_worker()
    topology.wait_step(job_id, 3)
    os.kill(topology.pid_of_training(job_id), signal.SIGTERM)
    topology.wait_attempt(job_id, 2)
    job = topology.check_succeeded(job_id, steps=200)
    assert (job.attempt, job.failures) == (2, 0)


def test_row_13_supervisor_alone_killed(topology: Topology) -> None:
    topology.api()
    job_id = topology.submit(1_000)
    worker = topology.start_worker()
    topology.wait_step(job_id, 1)
    pid = topology.pid_of_training(job_id)
    worker.kill()
    topology.until(lambda: not is_alive(pid), seconds=2)


def test_row_14_training_process_hangs_and_ignores_sigterm(topology: Topology) -> None:
    topology.api()
    job_id = topology.submit(40)
    topology.start_worker(FAILPOINT="mid_step:stop:15", ADAMSS_STALL_SECONDS="3", ADAMSS_SHUTDOWN_GRACE_SECONDS="3")
    pid = topology.pid_of_training(job_id)
    topology.until(lambda: process_state(pid) == "T")  # a stopped process hears no SIGTERM
    topology.until(lambda: topology.job(job_id).failures == 1)
    assert not is_alive(pid)
    # What is not charged is the machine's: beside other work a lease of three seconds may end.
    returned = [event.data for event in topology.events(job_id) if event.type == "requeued"]
    assert [data["reason"]["code"] for data in returned if data["charged"]] == ["stalled"]
    # From the checkpoint of step 10 it does not come by fifteen steps again before a later checkpoint; it gets on.
    job = topology.wait(job_id)
    assert job.attempt >= 2
    assert topology.count(Worker) == 1

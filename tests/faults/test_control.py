"""Rows 15 and 16: cancel, pause and resume in every state and phase, and against the end of a job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from hashlib import sha256

import httpx
import pytest

from service.shared.database.tables import JobStatus
from tests.faults.conftest import ALL
from tests.faults.topology import PATIENCE, ROOT, Topology
from tests.worker.support import is_alive, process_state

END_SECONDS = (10.0 if ALL else 60.0) * PATIENCE / 120  # beside other tests nothing is promised


def ask(topology: Topology, job_id: str, wish: str) -> httpx.Response:
    return topology.http.post(f"/jobs/{job_id}/{wish}")


@pytest.mark.quick("embedded")
def test_row_15_in_every_state(topology: Topology) -> None:
    topology.api()
    waiting, held = topology.submit(), topology.submit()
    assert ask(topology, waiting, "resume").status_code == 409
    assert ask(topology, held, "pause").json()["status"] == "paused"
    refused = ask(topology, held, "pause")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "job_paused")
    assert ask(topology, waiting, "cancel").json()["status"] == "cancelled"
    for wish in ("cancel", "pause", "resume"):
        refused = ask(topology, waiting, wish)
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "job_cancelled")
    topology.start_worker()
    done = topology.submit(3)
    topology.check_succeeded(done, steps=3)
    assert topology.job(held).attempt == 0  # paused, it was passed over
    for wish in ("cancel", "pause", "resume"):
        assert ask(topology, done, wish).json()["error"]["code"] == "job_succeeded"
    assert ask(topology, held, "resume").json()["status"] == "queued"
    topology.check_succeeded(held, steps=40)
    paused = topology.submit(500)
    topology.wait_step(paused, 1)
    assert ask(topology, paused, "pause").json()["status"] == "pausing"
    topology.wait(paused, JobStatus.PAUSED)
    assert ask(topology, paused, "cancel").json()["status"] == "cancelled"
    assert topology.http.delete(f"/jobs/{paused}").status_code == 204
    assert not (topology.settings.files.job(paused).path).exists()


@pytest.mark.parametrize("place", ["loading", "mid_step", "before_publish"])
def test_row_15_in_every_phase(topology: Topology, place: str) -> None:
    topology.api()
    worker = topology.start_worker(
        FAILPOINT="" if place == "mid_step" else f"{place}:stop", ADAMSS_WORKER_CONCURRENCY="2"
    )
    cancelled, paused = (topology.submit(1_000 if place == "mid_step" else 40) for _ in range(2))
    pids = {job_id: topology.pid_of_training(job_id) for job_id in (cancelled, paused)}
    if place == "mid_step":  # by hand, while no transaction is open: a frozen one would stop everybody who writes
        for job_id in pids:
            topology.wait_step(job_id, 3)
        topology.freeze(*pids.values())
    topology.until(lambda: all(process_state(pid) == "T" for pid in pids.values()))
    assert ask(topology, cancelled, "cancel").json()["status"] == "cancelling"
    topology.wait(cancelled, JobStatus.CANCELLED, seconds=END_SECONDS)  # though its process hears nothing
    assert ask(topology, paused, "pause").json()["status"] == "pausing"
    assert ask(topology, paused, "resume").status_code == 409
    os.kill(pids[paused], signal.SIGCONT)
    job = topology.wait(paused, JobStatus.PAUSED, JobStatus.SUCCEEDED, seconds=END_SECONDS)
    topology.until(lambda: not any(is_alive(pid) for pid in pids.values()))
    topology.check_nothing_published(cancelled)
    worker.stop()
    topology.start_worker()  # another worker goes on
    if job.status == JobStatus.PAUSED:
        assert job.failures == 0
        assert ask(topology, paused, "resume").is_success
    topology.check_succeeded(paused, steps=1_000 if place == "mid_step" else 40)


def test_row_15_cancel_while_pausing_and_pause_on_another_worker(topology: Topology) -> None:
    topology.api()
    first = topology.start_worker()
    job_id, other = topology.submit(300), topology.submit(300)
    topology.wait_step(job_id, 1)
    pid = topology.pid_of_training(job_id)
    os.kill(pid, signal.SIGSTOP)
    assert ask(topology, job_id, "pause").json()["status"] == "pausing"
    assert ask(topology, job_id, "pause").json()["status"] == "pausing"
    assert ask(topology, job_id, "cancel").json()["status"] == "cancelling"
    assert ask(topology, job_id, "pause").json()["error"]["code"] == "job_cancelling"
    topology.wait(job_id, JobStatus.CANCELLED, seconds=END_SECONDS)
    topology.wait_step(other, 1)  # the device was freed
    ask(topology, other, "pause")
    job = topology.wait(other, JobStatus.PAUSED)
    kept = topology.checkpoints(other)[-1].step
    assert kept >= job.step > 0
    first.stop()
    topology.start_worker()
    ask(topology, other, "resume")
    job = topology.check_succeeded(other, steps=300)
    assert (job.attempt, job.failures) == (2, 0)
    assert {row.attempt for row in topology.metrics(other) if row.step <= kept} == {1}


RACE = """
import multiprocessing, random, sys, time
from pathlib import Path
from adamss_core.training.request import ArtifactFile, RunResult
from service.shared.database.engine import Database
from service.shared.database.tables import Job
from service.shared.errors import Conflict
from service.shared.jobs import states
from worker.publish import publish

url, home = sys.argv[1], Path(sys.argv[2])
job_ids = sys.stdin.read().split()

def finish(barrier):
    db = Database(url)
    for job_id in job_ids:
        path = home / "jobs" / job_id / "adapter.zip"
        result = RunResult({}, [ArtifactFile("adapter", path, 3, sys.argv[3], {})])
        barrier.wait()
        time.sleep(random.random() / 300)
        publish(db, home, job_id, 1, result)

def cancel(barrier):
    db = Database(url)
    for job_id in job_ids:
        barrier.wait()
        time.sleep(random.random() / 300)
        try:
            with db.write() as session:
                states.cancel(session, session.get(Job, job_id, with_for_update=True))
        except Conflict:
            pass

context = multiprocessing.get_context("fork")
barrier = context.Barrier(2)
rivals = [context.Process(target=rival, args=(barrier,)) for rival in (finish, cancel)]
for rival in rivals: rival.start()
for rival in rivals: rival.join()
sys.exit(max(rival.exitcode for rival in rivals))
"""


@pytest.mark.quick("production")
def test_row_16_cancel_racing_finish_two_hundred_times(topology: Topology) -> None:
    topology.api()
    first = topology.submit()
    job_ids = topology.copies(first, 200)
    for job_id in job_ids:
        folder = topology.settings.files.job(job_id).path
        folder.mkdir()
        (folder / "adapter.zip").write_bytes(b"zip")
    topology.mark_running(job_ids)
    settings, digest = topology.settings, sha256(b"zip").hexdigest()
    done = subprocess.run(
        [sys.executable, "-c", RACE, settings.resolved_database_url, str(settings.resolved_home), digest],
        input="\n".join(job_ids),
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=280,
        check=False,
    )
    assert done.returncode == 0
    ends = set()
    for job_id in job_ids:
        job = topology.job(job_id)
        ends.add(job.status)
        if job.status == JobStatus.SUCCEEDED:
            topology.check_artifacts(job_id)
            assert topology.event_types(job_id) == ["succeeded"]
        else:
            assert job.status == JobStatus.CANCELLING
            assert topology.artifacts(job_id) == []
            folder = topology.settings.resolved_home
            assert not (folder / "artifacts" / job_id / "adapter.zip").exists()
            assert not (folder / "jobs" / job_id / "adapter.zip").exists()
    assert ends == {JobStatus.SUCCEEDED, JobStatus.CANCELLING}  # it was a race

"""A job on two devices: real worker, torch's launcher, two real training processes on two CPU devices."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.shared.database.tables import Job, JobStatus
from tests.e2e.tiny_jobs import ADAMSS, TRAINING, real_service
from tests.worker.support import Service, is_alive, stop, wait_for, wait_until

TWO = {"ADAMSS_DEVICES": "cpu:2"}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with real_service(tmp_path) as service:
        yield service


def submit(service: Service, **training: int) -> str:
    changed = {**TRAINING, **training}
    job_id = service.add_job("tiny", adamss=ADAMSS, training=changed, artifacts=["adapter"], resources={"devices": 2})
    with service.db.write() as session:
        session.get_one(Job, job_id).devices = 2
    return job_id


def ranks(service: Service, job_id: str) -> dict[int, int]:
    """Return the processes of a job by their ranks."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                variables = dict(
                    pair.split(b"=", 1) for pair in (entry / "environ").read_bytes().split(b"\0") if b"=" in pair
                )
            except OSError:
                continue
            if str(service.settings.files.job(job_id).path).encode() in words and b"RANK" in variables:
                found[int(variables[b"RANK"])] = int(entry.name)
    return found


def test_two_processes_train_one_job_and_a_lost_one_is_made_up_for(service: Service) -> None:
    """The second rank is killed on the way; the job resumes from its checkpoint and publishes what verifies."""
    job_id = submit(service, max_steps=60, checkpoint_steps=10)
    with service.worker(**TWO) as worker:
        wait_until(lambda: len(service.checkpoints(job_id)) > 0, seconds=90)
        first = ranks(service, job_id)
        assert sorted(first) == [0, 1]
        os.kill(first[1], signal.SIGKILL)
        wait_until(lambda: not any(map(is_alive, first.values())), seconds=10)  # all ranks end with it
        job = wait_for(service, job_id, JobStatus.SUCCEEDED, JobStatus.FAILED, seconds=120)
        assert (job.status, job.attempt, job.failures) == (JobStatus.SUCCEEDED, 2, 1), (job.error, service.log(job_id))
        (returned,) = [event for event in service.events(job_id) if event.type == "requeued"]
        assert returned.data["reason"]["code"] == "rank_lost"
        assert stop(worker) == 0
    assert "[rank 1]" in service.log(job_id)
    steps = [row.step for row in service.metrics(job_id) if row.kind == "train"]
    assert len(set(steps)) == len(steps)
    for artifact in service.artifacts(job_id):
        path = service.settings.resolved_home / artifact.path
        assert hashlib.sha256(path.read_bytes()).hexdigest() == artifact.sha256
    assert "adapter" in {artifact.name for artifact in service.artifacts(job_id)}


@pytest.mark.compat
def test_two_processes_stop_with_a_checkpoint_and_go_on_as_one(service: Service) -> None:
    job_id = submit(service, max_steps=300, checkpoint_steps=200)
    with service.worker(**TWO) as worker:
        wait_until(lambda: service.job(job_id).step > 5, seconds=90)
        assert stop(worker) == 0
    job = service.job(job_id)
    assert (job.status, job.failures) == (JobStatus.QUEUED, 0)
    kept = service.checkpoints(job_id)[-1].step
    assert kept > 5
    with service.db.write() as session:
        session.get_one(Job, job_id).devices = 1
    with service.worker():
        wait_until(lambda: service.job(job_id).step > kept, seconds=90)
        assert ranks(service, job_id) == {}
        service.set_status(job_id, JobStatus.CANCELLING)
        wait_for(service, job_id, JobStatus.CANCELLED, seconds=10)

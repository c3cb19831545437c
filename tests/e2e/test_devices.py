"""A job on two devices: real worker, torch's launcher, two real training processes on two CPU devices."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.shared.database.tables import Job, JobStatus
from tests.e2e.tiny_jobs import ADAMSS, TRAINING, real_service
from tests.worker.support import Service, stop, wait_for, wait_until

KILLED_AT = 15  # steps of the second rank


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with real_service(tmp_path) as service:
        yield service


def set_devices(service: Service, job_id: str, devices: int) -> None:
    """Write the number of devices that the next claim of a job takes."""
    with service.db.write() as session:
        session.get_one(Job, job_id).devices = devices


def test_two_processes_train_one_job_and_one_goes_on_where_a_rank_was_lost(service: Service) -> None:
    """The second rank is killed on the way; one process resumes from the checkpoint and publishes what verifies. More
    orders and deaths are rows 36 to 38 of tests/faults."""
    training = {**TRAINING, "max_steps": 60, "checkpoint_steps": 10}
    resources = {"devices": 2}
    job_id = service.add_job("tiny", adamss=ADAMSS, training=training, artifacts=["adapter"], resources=resources)
    set_devices(service, job_id, 2)
    with service.worker(ADAMSS_DEVICES="cpu:2", FAILPOINT=f"gradients@1:kill:{KILLED_AT}") as worker:
        wait_until(lambda: service.job(job_id).attempt == 1, seconds=180)
        set_devices(service, job_id, 1)
        job = wait_for(service, job_id, JobStatus.SUCCEEDED, JobStatus.FAILED, seconds=300)
        assert (job.status, job.attempt, job.failures) == (JobStatus.SUCCEEDED, 2, 1), (job.error, service.log(job_id))
        assert stop(worker) == 0
    (returned,) = [event for event in service.events(job_id) if event.type == "requeued"]
    assert returned.data["reason"]["code"] == "rank_lost"
    begun = [event.data for event in service.events(job_id) if event.type == "training_started"]
    assert [(data["step"], data["processes"]) for data in begun] == [(0, 2), (10, 1)]
    assert "[rank 1]" in service.log(job_id)
    steps = [row.step for row in service.metrics(job_id) if row.kind == "train"]
    assert len(set(steps)) == len(steps)
    for artifact in service.artifacts(job_id):
        path = service.settings.resolved_home / artifact.path
        assert hashlib.sha256(path.read_bytes()).hexdigest() == artifact.sha256
    assert "adapter" in {artifact.name for artifact in service.artifacts(job_id)}

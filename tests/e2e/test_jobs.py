"""Jobs from the queue to their artifacts: real workers, real training processes, the real core."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.job import CPU
from benchmarks.start import BEGUN, LAST, read_phases
from service.shared.database.tables import JobStatus
from tests.e2e.tiny_jobs import ADAMSS, TRAINING, real_service
from tests.worker.support import Service, is_alive, stop, wait_for, wait_until


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with real_service(tmp_path) as service:
        yield service


@pytest.mark.compat  # the jobs of `adamss up` in the other files here go the same way
def test_job_trains_prunes_and_publishes(service: Service) -> None:
    job_id = service.add_job("tiny", adamss=ADAMSS, training=TRAINING)
    with service.worker():
        job = wait_for(service, job_id, JobStatus.SUCCEEDED, JobStatus.FAILED, seconds=120)
    assert job.status == JobStatus.SUCCEEDED, (job.error, service.log(job_id))
    assert job.asa is not None
    assert (job.asa["active"], job.step) == (7, job.total_steps)
    assert job.result
    metrics = service.metrics(job_id)
    assert {row.kind for row in metrics} == {"train", "eval"}
    assert [row.seq for row in metrics] == sorted({row.seq for row in metrics})
    for artifact in service.artifacts(job_id):
        path = service.settings.resolved_home / artifact.path
        assert hashlib.sha256(path.read_bytes()).hexdigest() == artifact.sha256
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
    assert len(service.artifacts(job_id)) == 4
    ends, phases = read_phases(service.log(job_id))  # as `make bench-start` reads them
    assert list(ends) == [
        *("the process begins", "finding device", "reading rows", "loading tokenizer or processor"),
        *("loading base model", "encoding rows", "adding adapter", "making trainer", "making first step"),
    ]
    assert sorted(ends.values()) == list(ends.values())
    assert CPU.search(service.log(job_id)), "as `make bench-job` reads it"
    assert sum(phases.values()) <= ends[LAST] - ends[BEGUN] + 0.01
    for checkpoint in service.checkpoints(job_id):
        assert (service.settings.files.job(job_id).path / checkpoint.path).is_dir()


@pytest.mark.compat
def test_stopped_killed_and_cancelled_on_the_way(service: Service) -> None:
    training = {**TRAINING, "max_steps": 400, "checkpoint_steps": 20}
    job_id = service.add_job("tiny", adamss=ADAMSS, training=training, artifacts=["adapter"])
    with service.worker() as worker:
        wait_until(lambda: service.job(job_id).step > 5, seconds=60)
        assert stop(worker) == 0
    job = service.job(job_id)
    assert (job.status, job.failures) == (JobStatus.QUEUED, 0)
    kept = service.checkpoints(job_id)[-1].step
    with service.worker() as worker:
        wait_until(lambda: service.job(job_id).step > kept, seconds=60)
        pid = service.trainer_pid(job_id)
        worker.kill()
        wait_until(lambda: not is_alive(pid), seconds=2)
    with service.worker():
        wait_until(lambda: service.job(job_id).attempt == 3, seconds=60)
        service.set_status(job_id, JobStatus.CANCELLING)
        job = wait_for(service, job_id, JobStatus.CANCELLED, seconds=10)
    assert job.failures == 1
    assert service.artifacts(job_id) == []
    steps = [row.step for row in service.metrics(job_id) if row.kind == "train"]
    assert len(set(steps)) == len(steps)

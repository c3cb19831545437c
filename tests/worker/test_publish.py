from __future__ import annotations

import hashlib
from pathlib import Path
from threading import Barrier, Thread

import pytest
from sqlalchemy.exc import OperationalError

from adamss_core.training.request import ArtifactFile, RunResult
from service.shared.database.tables import Evaluation, Job, JobStatus
from service.shared.errors import Conflict
from service.shared.jobs import states
from tests.worker.support import Service
from worker.artifact_rows import register
from worker.failures import failure
from worker.publish import publish
from worker.report_store import ReportStore
from worker.reporter import BufferedReporter


def claimed(service: Service) -> Job:
    job_id = service.add_job()
    with service.db.write() as session:
        job = states.claim(session, job_id, "worker", 60.0)
    assert job is not None
    return job


def made(service: Service, job: Job, content: bytes = b"adapter") -> RunResult:
    path = service.settings.files.job(job.id).artifacts / "adapter.zip"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    manifest = {"largest_difference": float("nan")}
    report = {"data": "train", "metrics": {"loss": float("nan")}}
    artifact = ArtifactFile("adapter", path, len(content), digest, manifest)
    return RunResult({"eval_accuracy": 0.5}, [artifact], evaluation=[report])


def published(service: Service, job: Job) -> Path:
    return service.settings.files.artifact(job.id, "adapter")


def test_files_rows_and_state_appear_together(service: Service) -> None:
    job = claimed(service)
    assert publish(service.db, service.settings.resolved_home, job.id, job.attempt, made(service, job))
    (row,) = service.artifacts(job.id)
    assert service.settings.resolved_home / row.path == published(service, job)
    assert hashlib.sha256(published(service, job).read_bytes()).hexdigest() == row.sha256
    assert row.manifest == {"largest_difference": None}
    with service.db.read() as session:
        assert session.get_one(Evaluation, (job.id, 1)).report == {"data": "train", "metrics": {"loss": None}}
    assert service.job(job.id).status == JobStatus.SUCCEEDED
    assert service.events(job.id)[-1].type == "succeeded"


def test_artifacts_are_published_though_another_one_failed(service: Service) -> None:
    """A job trained to its end and lost them all."""
    job = claimed(service)
    error = failure("verification_failed", "The artifact 'merged' answers differently. Published are: adapter.", "")
    home = service.settings.resolved_home
    assert publish(service.db, home, job.id, job.attempt, made(service, job), error)
    assert published(service, job).exists()
    assert [row.name for row in service.artifacts(job.id)] == ["adapter"]
    ended = service.job(job.id)
    assert (ended.status, ended.error, ended.result) == (JobStatus.FAILED, dict(error), {"eval_accuracy": 0.5})
    assert publish(service.db, home, job.id, job.attempt, made(service, job), error), "its commit was answered late"


def test_the_end_after_a_resume_replaces_that_at_the_time_limit(service: Service) -> None:
    job, home = claimed(service), service.settings.resolved_home
    limit = failure("time_limit", "The time limit ended the training.", "Resume the job.")
    assert publish(service.db, home, job.id, job.attempt, made(service, job, b"half"), limit)
    first = published(service, job).read_bytes()
    with service.db.write() as session:
        states.resume(session, session.get_one(Job, job.id))
        again = states.claim(session, job.id, "worker", 60.0)
    assert again is not None
    assert publish(service.db, home, job.id, again.attempt, made(service, job, b"whole"))
    (row,) = service.artifacts(job.id)
    assert (first, (home / row.path).read_bytes()) == (b"half", b"whole")
    assert len(list(service.settings.files.job_artifacts(job.id).iterdir())) == 1
    ended = service.job(job.id)
    assert (ended.status, ended.error) == (JobStatus.SUCCEEDED, None)


def test_an_artifact_that_is_complete_outlives_its_attempt(service: Service) -> None:
    """As where the process is killed while it writes the next one."""
    job = claimed(service)
    (artifact,) = made(service, job).artifacts
    folder, files = service.settings.files.job(job.id), service.settings.files
    reporter = BufferedReporter(ReportStore(service.db, job.id, job.attempt, folder, files), lease_seconds=10.0)
    reporter.artifact(artifact)
    assert reporter.close(5)
    assert service.job(job.id).status == JobStatus.RUNNING
    with service.db.write() as session:
        assert states.fail(session, job.id, job.attempt, {"code": "x", "message": "m", "hint": "h"})
    assert [(row.name, row.sha256) for row in service.artifacts(job.id)] == [("adapter", artifact.sha256)]
    assert published(service, job).read_bytes() == b"adapter"


def test_a_stale_attempt_registers_no_artifact(service: Service) -> None:
    job = claimed(service)
    (artifact,) = made(service, job).artifacts
    with service.db.write() as session:
        assert states.give_back(session, job.id, job.attempt, charge=True)
    folder, files = service.settings.files.job(job.id), service.settings.files
    reporter = BufferedReporter(ReportStore(service.db, job.id, job.attempt, folder, files), lease_seconds=10.0)
    reporter.artifact(artifact)
    assert not reporter.close(5)
    assert service.artifacts(job.id) == []
    assert not published(service, job).exists()


def test_the_artifact_of_a_new_attempt_replaces_the_old_one_at_its_end(service: Service) -> None:
    """Until the transaction is committed, the row names a file with its hash."""
    old = claimed(service)
    files, home = service.settings.files, service.settings.resolved_home
    with service.db.write() as session:
        register(session, files, old.id, made(service, old, b"old").artifacts)
        assert states.give_back(session, old.id, old.attempt, charge=True)
    with service.db.write() as session:
        new = states.claim(session, old.id, "other", 60.0)
    assert new is not None
    result = made(service, new, b"new")
    with service.db.write() as session:
        register(session, files, new.id, result.artifacts)
        assert published(service, old).read_bytes() == b"old"
    assert publish(service.db, home, new.id, new.attempt, result)
    (row,) = service.artifacts(new.id)
    assert (row.sha256, (home / row.path).read_bytes()) == (result.artifacts[0].sha256, b"new")
    assert [path.name for path in files.job_artifacts(new.id).iterdir()] == [(home / row.path).name]


def test_stale_attempt_publishes_nothing_and_touches_no_file(service: Service) -> None:
    old = claimed(service)
    late = made(service, old, b"old")
    with service.db.write() as session:
        assert states.give_back(session, old.id, old.attempt, charge=True)
        new = states.claim(session, old.id, "other", 60.0)
    assert new is not None
    assert not publish(service.db, service.settings.resolved_home, old.id, old.attempt, late)
    assert not published(service, old).exists()
    assert not late.artifacts[0].path.exists()
    home = service.settings.resolved_home
    assert publish(service.db, home, new.id, new.attempt, made(service, new, b"new"))
    assert not publish(service.db, home, old.id, old.attempt, made(service, old, b"old"))
    assert published(service, new).read_bytes() == b"new"


def test_broken_commit_is_taken_up_again(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    job = claimed(service)
    result, home = made(service, job), service.settings.resolved_home

    def broken(_: str) -> None:
        raise OperationalError("commit", {}, Exception("connection lost"))

    with monkeypatch.context() as patched:
        patched.setattr("worker.publish.failpoint", broken)
        with pytest.raises(OperationalError):
            publish(service.db, home, job.id, job.attempt, result)
    assert service.artifacts(job.id) == []
    assert publish(service.db, home, job.id, job.attempt, result)
    assert publish(service.db, home, job.id, job.attempt, result), "its commit was answered late"
    assert len(service.artifacts(job.id)) == 1
    assert published(service, job).exists()


def test_cancel_racing_finish(service: Service) -> None:
    """Exactly one wins, and the artifacts agree with it."""
    wins = {JobStatus.SUCCEEDED: 0, JobStatus.CANCELLED: 0}
    for _ in range(20):
        job = claimed(service)
        result, start = made(service, job), Barrier(2)

        def cancel(job_id: str = job.id, start: Barrier = start) -> None:
            start.wait()
            try:
                with service.db.write() as session:
                    states.cancel(session, session.get_one(Job, job_id))
            except Conflict:
                pass

        thread = Thread(target=cancel)
        thread.start()
        start.wait()
        won = publish(service.db, service.settings.resolved_home, job.id, job.attempt, result)
        thread.join()
        with service.db.write() as session:
            states.give_back(session, job.id, job.attempt, charge=False)
        status = service.job(job.id).status
        assert won is (status == JobStatus.SUCCEEDED)
        assert won is published(service, job).exists() is bool(service.artifacts(job.id))
        wins[status] += 1
    assert sum(wins.values()) == 20

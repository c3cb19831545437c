"""What is kept no longer goes to the trash; what somebody needs stays."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from service.shared.database.tables import Artifact, AuditEntry, Checkpoint, Dataset, Job, JobStatus, StoredFile, now
from service.shared.expiries import Expiry, expiries, kept_until
from service.shared.settings import Settings
from tests.worker.support import DATASET, PROJECT, Service
from tests.worker.test_file_collector import artifact_file, trashed
from worker.expired_files import Retention

DAY = timedelta(days=1)


def ended(service: Service, days: float, status: JobStatus = JobStatus.SUCCEEDED, **retention: Any) -> str:
    """A job that ended so many days ago, with an artifact, a checkpoint and a log."""
    job_id = service.add_job()
    artifact_file(service, job_id, "adapter")
    folder = service.settings.files.job(job_id)
    (folder.checkpoints / "step-00000001").mkdir(parents=True)
    (folder.checkpoints / "step-00000001" / "state.json").write_text("{}")
    folder.log.write_text("a line")
    with service.db.write() as session:
        job = session.get_one(Job, job_id)
        job.status, job.ended_at = status, now() - days * DAY
        job.spec = job.spec | ({"retention": retention} if retention else {})
        path = f"artifacts/{job_id}/adapter.zip"
        sizes: dict[str, Any] = {"size_bytes": 3, "sha256": "0" * 64, "manifest": {}}
        session.add(Artifact(job_id=job_id, name="adapter", path=path, created_at=now(), **sizes))
        session.add(Artifact(job_id=job_id, name="metrics", path=f"{path}.parquet", created_at=now(), **sizes))
        session.add(
            Checkpoint(
                job_id=job_id,
                step=1,
                attempt=1,
                path="checkpoints/step-00000001",
                best=True,
                values={},
                created_at=now(),
            )
        )
    return job_id


def retention(settings: Settings, service: Service) -> Retention:
    return Retention(settings, service.db, seconds=60.0, pass_seconds=60.0)


def apply(service: Service, **days: float) -> list[tuple[str, str]]:
    settings = service.settings.model_copy(update={f"retain_{name}_days": value for name, value in days.items()})
    return [(one.kind, one.id) for one in retention(settings, service).apply()]


def left(service: Service, job_id: str) -> set[str]:
    """What is left of a job, of which rows and files must agree."""
    folder, found = service.settings.files.job(job_id), set()
    with service.db.read() as session:
        assert session.get(Artifact, (job_id, "metrics")), "numbers stay"
        rows = {
            "artifacts": session.get(Artifact, (job_id, "adapter")),
            "checkpoints": session.scalars(select(Checkpoint).where(Checkpoint.job_id == job_id)).all(),
        }
    files = {"artifacts": service.settings.files.artifact(job_id, "adapter"), "checkpoints": folder.checkpoints}
    for what, path in files.items():
        assert bool(rows[what]) == path.exists()
        if path.exists():
            found.add(what)
    return found | ({"logs"} if folder.log.exists() else set())


def test_nothing_is_removed_by_default(service: Service) -> None:
    job_id = ended(service, 3_000)
    assert apply(service) == []
    assert left(service, job_id) == {"artifacts", "checkpoints", "logs"}


@pytest.mark.parametrize("what", ["artifacts", "checkpoints", "logs"])
def test_each_kind_has_its_own_time(service: Service, what: str) -> None:
    old, young = ended(service, 8), ended(service, 6)
    assert apply(service, **{what: 7}) == [(what, old)]
    assert left(service, old) == {"artifacts", "checkpoints", "logs"} - {what}
    assert left(service, young) == {"artifacts", "checkpoints", "logs"}
    event = service.events(old)[-1]
    assert (event.type, event.data["what"]) == ("retention", what)
    assert (
        trashed(service)
        == {
            "artifacts": {f"artifacts/{old}/adapter.zip"},
            "checkpoints": {f"jobs/{old}/checkpoints/step-00000001/state.json"},
            "logs": {f"jobs/{old}/train.log"},
        }[what]
    )
    assert apply(service, **{what: 7}) == [], "there is nothing to remove twice"


def test_a_jobs_own_choice_goes_before_the_default(service: Service) -> None:
    ever, shorter, longer = (ended(service, 8, artifacts_days=days) for days in ("forever", 2, 30))
    assert apply(service, artifacts=7) == [("artifacts", shorter)]
    assert left(service, ever) == left(service, longer) == {"artifacts", "checkpoints", "logs"}
    assert apply(service) == []
    alone = ended(service, 8, logs_days=1)
    assert apply(service) == [("logs", alone)], "also without a default"


@pytest.mark.parametrize(
    "status", [one for one in JobStatus if one not in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)]
)
def test_a_job_that_has_not_ended_keeps_everything(service: Service, status: JobStatus) -> None:
    """Also one that ended at its time limit once, and was resumed."""
    job_id = ended(service, 100, status, artifacts_days=1)
    assert apply(service, artifacts=1, checkpoints=1, logs=1) == []
    assert left(service, job_id) == {"artifacts", "checkpoints", "logs"}


@pytest.mark.parametrize("need", ["init_from", "evaluates"])
def test_what_an_unfinished_job_needs_stays(service: Service, need: str) -> None:
    needed, other = ended(service, 9), service.add_job()
    with service.db.write() as session:
        job = session.get_one(Job, other)
        if need == "init_from":
            job.spec = job.spec | {"init_from": needed}
        else:
            job.evaluates = needed
    assert apply(service, artifacts=7) == []
    assert left(service, needed) == {"artifacts", "checkpoints", "logs"}
    service.set_status(other, JobStatus.CANCELLED)
    assert apply(service, artifacts=7) == [("artifacts", needed)]


def test_data_sets_are_kept_from_their_last_use(service: Service) -> None:
    waiting = service.add_job()
    files = service.settings.files
    with service.db.write() as session:
        fields: dict[str, Any] = {
            "project_id": PROJECT,
            "name": "n",
            "format": "csv",
            "rows": 1,
            "size_bytes": 5,
            "sha256": "0" * 64,
        }
        for name, days in ((DATASET, 50), ("ds_unusedunused", 20), ("ds_youngyoungyo", 2)):
            session.add(Dataset(id=name, profile={"splits": {}}, created_at=now() - days * DAY, **fields))
    for name in (DATASET, "ds_unusedunused", "ds_youngyoungyo"):
        files.dataset_rows(name).write_text("{}\n")
    assert apply(service, datasets=10) == [("dataset", "ds_unusedunused")]
    assert not files.dataset_rows("ds_unusedunused").exists()
    assert "datasets/ds_unusedunused.jsonl" in trashed(service)
    with service.db.read() as session:
        assert session.get_one(Dataset, "ds_unusedunused").deleted_at is not None
        [entry] = session.scalars(select(AuditEntry).where(AuditEntry.key_name == "retention"))
        assert (entry.path, entry.project_id) == ("ds_unusedunused", PROJECT)
    stale = Expiry("dataset", DATASET, "n", now() - DAY, 5)  # as of a look before the job was submitted
    assert not retention(service.settings, service)._remove(stale)
    service.set_status(waiting, JobStatus.SUCCEEDED)
    for days, removed in ((9, []), (11, [("dataset", DATASET)])):
        with service.db.write() as session:
            session.get_one(Job, waiting).ended_at = now() - days * DAY
        assert apply(service, datasets=10) == removed


def test_a_job_that_ended_anew_since_the_look_is_left_alone(service: Service) -> None:
    job_id = ended(service, 0)
    settings = service.settings.model_copy(update={"retain_artifacts_days": 7.0})
    stale = Expiry("artifacts", job_id, "n", now() - DAY, 3)
    assert not retention(settings, service)._remove(stale)
    assert left(service, job_id) == {"artifacts", "checkpoints", "logs"}


def test_the_list_shows_ends_and_sizes_and_removes_nothing(service: Service) -> None:
    job_id = ended(service, 8)
    settings = service.settings.model_copy(
        update={"retain_artifacts_days": 7.0, "retain_checkpoints_days": 30.0, "retain_logs_days": 1.0}
    )
    with service.db.read() as session:
        found = {one.kind: one for one in expiries(settings, session)}
    assert {kind: one.size_bytes for kind, one in found.items()} == {"artifacts": 3, "checkpoints": 2, "logs": 6}
    assert [kind for kind, one in found.items() if one.until <= now()] == ["artifacts", "logs"]
    assert left(service, job_id) == {"artifacts", "checkpoints", "logs"}


def test_what_other_hosts_brought_to_a_store_counts(service: Service) -> None:
    job_id = ended(service, 8)
    folder = service.settings.files.job(job_id)
    folder.log.unlink()  # of a host that did not run it
    chunk, part = f"jobs/{job_id}/train.log@000001-000000000000", f"jobs/{job_id}/checkpoints/step-00000001"
    with service.db.write() as session:
        for name, size in ((chunk, 70), (part, 800), (f"artifacts/{job_id}/adapter.zip", 9)):
            session.add(
                StoredFile(
                    name=name, owner=job_id, key=name, size_bytes=size, sha256="", is_folder=False, created_at=now()
                )
            )
    settings = service.settings.model_copy(update={"retain_checkpoints_days": 7.0, "retain_logs_days": 7.0})
    with service.db.read() as session:
        found = {one.kind: one.size_bytes for one in expiries(settings, session)}
    assert found == {"checkpoints": 800, "logs": 70}


def test_workers_apply_it_once_an_hour(service: Service) -> None:
    settings = service.settings.model_copy(update={"retain_artifacts_days": 7.0})
    first = ended(service, 8)
    retention(settings, service).round()
    assert "artifacts" not in left(service, first)
    second = ended(service, 8)
    retention(settings, service).round()
    assert "artifacts" in left(service, second)


def test_forever_needs_no_end() -> None:
    settings = Settings(retain_logs_days=2)
    assert kept_until(settings, "logs", None, None) is None
    moment = now()
    assert kept_until(settings, "logs", moment, None) == moment + 2 * DAY
    assert kept_until(settings, "logs", moment, {"logs_days": None, "artifacts_days": 1}) == moment + 2 * DAY
    assert kept_until(settings, "logs", moment, {"logs_days": "forever"}) is None

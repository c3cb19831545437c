from __future__ import annotations

import os
from pathlib import Path
from time import time

import pytest

from service.shared.database.tables import AddedModel, Artifact, Dataset, JobStatus, ModelStatus, now
from service.shared.storage.model_folder import partial_folder
from service.shared.storage.trash import Trash
from tests.worker.support import DATASET, PROJECT, Service
from worker.duty_lease import DutyLease
from worker.file_collector import DUTY, ORPHAN_SECONDS, TEMPORARY_SECONDS, FileCollector


def collect(service: Service, seconds: float = 0.0, pass_seconds: float = 60.0) -> None:
    FileCollector(service.db, service.settings.files, seconds=seconds, pass_seconds=pass_seconds).round()


def age(*paths: Path, seconds: float = ORPHAN_SECONDS + 60) -> None:
    for path in paths:
        os.utime(path, (time() - seconds,) * 2)


def trashed(service: Service) -> set[str]:
    """Places in the home folder of what lies in its trash."""
    root = service.settings.files.trash
    return {str(path.relative_to(root)).partition("/")[2] for path in root.rglob("*") if path.is_file()}


def artifact_file(service: Service, job_id: str, name: str) -> Path:
    path = service.settings.files.artifact(job_id, name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"zip")
    return path


def test_orphaned_artifacts_go_and_others_stay(service: Service) -> None:
    running, ended, unknown = service.add_job(), service.add_job(), "job_gone"
    service.set_status(running, JobStatus.RUNNING)
    service.set_status(ended, JobStatus.SUCCEEDED)
    registered = artifact_file(service, ended, "adapter")
    with service.db.write() as session:
        row = Artifact(job_id=ended, name="adapter", size_bytes=3, sha256="0" * 64, manifest={}, created_at=now())
        row.path = f"artifacts/{ended}/adapter.zip"
        session.add(row)
    renamed_by_a_run = artifact_file(service, running, "adapter")
    orphans = [artifact_file(service, ended, "merged"), artifact_file(service, unknown, "lora")]
    young = artifact_file(service, ended, "lora")
    age(registered, renamed_by_a_run, *orphans)
    age(young, seconds=ORPHAN_SECONDS - 60)
    collect(service)
    assert registered.exists()
    assert renamed_by_a_run.exists()
    assert young.exists()
    assert not any(path.exists() for path in orphans)
    assert not orphans[1].parent.exists()
    assert trashed(service) == {f"artifacts/{ended}/merged.zip", "artifacts/job_gone/lora.zip"}


def test_folders_of_deleted_jobs_go(service: Service) -> None:
    kept, gone, young = service.add_job(), "job_gone", "job_young"
    for job_id in (kept, gone, young):
        service.settings.files.job(job_id).checkpoints.mkdir(parents=True)
    age(*(service.settings.files.job(job_id).path for job_id in (kept, gone)))
    collect(service)
    assert {path.name for path in service.settings.files.jobs.iterdir()} == {kept, young}


def test_empty_folders_of_artifacts_go_with_their_job(service: Service) -> None:
    kept, gone = service.add_job(), "job_gone"
    for job_id in (kept, gone):
        service.settings.files.job_artifacts(job_id).mkdir()
    collect(service)
    assert [path.name for path in service.settings.files.artifacts.iterdir()] == [kept]


def test_temporary_files_go_after_an_hour_and_unregistered_ones_after_a_day(service: Service) -> None:
    folder = service.settings.files.datasets
    processed = service.settings.files.queue_processed
    within = service.settings.files.artifact("job_gone", "merged").parent
    within.mkdir()
    old = [folder / ".ds_a.jsonl.x.tmp", processed / "1_x.adamss.msg", within / ".lora.zip.x.tmp"]
    orphan = folder / "ds_unregistered.jsonl"
    young = [folder / ".ds_b.jsonl.x.tmp", processed / "2_x.adamss.msg", folder / "ds_uploading.jsonl"]
    kept = [folder / f"{DATASET}.jsonl"]
    with service.db.write() as session:
        row = Dataset(id=DATASET, project_id=PROJECT, name="rows", format="csv", rows=1, size_bytes=1, sha256="0" * 64)
        row.profile, row.created_at = {}, now()
        session.add(row)
    for path in (*old, orphan, *young, *kept):
        path.write_text("x")
    age(*old, young[2], seconds=TEMPORARY_SECONDS + 60)
    age(orphan, *kept)
    collect(service)
    assert [path.exists() for path in (*old, orphan, *young, *kept)] == [False] * 4 + [True] * 4


def test_models_without_a_row_go_and_abandoned_uploads_at_once(service: Service) -> None:
    """A model whose deletion was interrupted is an orphan; a partial folder whose process is gone is removed."""
    service.add_job()
    home = service.settings.files
    kept, gone, young = (home.added_model(f"model_{name}") for name in ("kept", "gone", "young"))
    for folder in (kept, gone, young, home.added_model_partial("model_dead")):
        folder.mkdir()
        (folder / "config.json").write_text("{}")
    home.added_model_lock("model_dead").touch()
    with service.db.write() as session:
        size = {"size_bytes": 2, "done_bytes": 2, "files": {}}
        row = AddedModel(id="model_kept", project_id=PROJECT, name="kept", status=ModelStatus.READY, **size)
        row.created_at = now()
        session.add(row)
    age(kept, gone)
    with partial_folder(home, "model_living"):
        collect(service)
        assert {path.name for path in home.added_models.iterdir()} == {
            "model_kept", "model_young", "model_living.partial", "model_living.lock",
        }  # fmt: skip
    assert trashed(service) == {"added_models/model_gone/config.json"}


def test_without_a_job_and_a_data_set_nothing_is_an_orphan(service: Service) -> None:
    """A database that is empty says nothing of the files."""
    folder = service.settings.files.job("job_of_another_database").checkpoints
    folder.mkdir(parents=True)
    rows = service.settings.files.dataset_rows("ds_of_another_database")
    rows.write_text("{}")
    age(rows, folder.parent)
    collect(service)
    assert folder.is_dir()
    assert rows.exists()


def test_one_collector_at_a_time_and_once_in_a_period(service: Service) -> None:
    service.add_job()
    folder = service.settings.files.job("job_gone").path

    def leave_an_orphan() -> None:
        folder.mkdir(parents=True)
        age(folder)

    leave_an_orphan()
    other = DutyLease(service.db, DUTY, seconds=0.0, pass_seconds=60.0)
    assert other.take()
    collect(service)
    assert folder.is_dir()  # another worker makes its pass
    other.end()
    collect(service, seconds=300.0)
    assert not folder.exists()
    leave_an_orphan()
    collect(service)
    assert folder.is_dir()  # the last pass was a moment ago


def test_a_collector_that_was_silent_for_too_long_stops(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another worker makes the pass then: this one, going on, would do the same work again."""
    service.add_job()
    folders = [service.settings.files.job(f"job_gone{number}").path for number in range(3)]
    for folder in folders:
        folder.mkdir(parents=True)
    age(*folders)
    moved: list[Path] = []

    def move(_: Trash, path: Path) -> None:
        moved.append(path)
        assert DutyLease(service.db, DUTY, seconds=0.0, pass_seconds=60.0).take()

    monkeypatch.setattr(Trash, "move", move)
    collect(service, pass_seconds=0.0)  # its lease has always expired
    assert len(moved) == 1

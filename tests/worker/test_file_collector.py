from __future__ import annotations

import fcntl
import os
from pathlib import Path
from time import time

from service.shared.database.tables import Artifact, Dataset, JobStatus, now
from tests.worker.support import DATASET, PROJECT, Service
from worker.file_collector import BATCH, TEMPORARY_SECONDS, FileCollector


def collect(service: Service) -> None:
    FileCollector(service.db, service.settings.files, seconds=60.0).round()


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
    collect(service)
    assert registered.exists()
    assert renamed_by_a_run.exists()
    assert not any(path.exists() for path in orphans)
    assert not orphans[1].parent.exists()
    assert trashed(service) == {f"artifacts/{ended}/merged.zip", "artifacts/job_gone/lora.zip"}


def test_folders_of_deleted_jobs_go(service: Service) -> None:
    kept, gone = service.add_job(), "job_gone"
    for job_id in (kept, gone):
        service.settings.files.job(job_id).checkpoints.mkdir(parents=True)
    collect(service)
    assert [path.name for path in service.settings.files.jobs.iterdir()] == [kept]


def test_temporary_and_unregistered_files_go_after_an_hour(service: Service) -> None:
    folder = service.settings.files.datasets
    processed = service.settings.files.queue_processed
    old = [folder / ".ds_a.jsonl.x.tmp", processed / "1_x.adamss.msg", folder / "ds_unregistered.jsonl"]
    young = [folder / ".ds_b.jsonl.x.tmp", processed / "2_x.adamss.msg", folder / "ds_uploading.jsonl"]
    kept = [folder / f"{DATASET}.jsonl"]
    with service.db.write() as session:
        row = Dataset(id=DATASET, project_id=PROJECT, name="rows", format="csv", rows=1, size_bytes=1, sha256="0" * 64)
        row.profile, row.created_at = {}, now()
        session.add(row)
    for path in (*old, *young, *kept):
        path.write_text("x")
    for path in (*old, *kept):
        os.utime(path, (time() - TEMPORARY_SECONDS - 60,) * 2)
    collect(service)
    assert [path.exists() for path in (*old, *young, *kept)] == [False] * 3 + [True] * 4


def test_without_a_job_and_a_data_set_nothing_is_an_orphan(service: Service) -> None:
    """A database that is empty says nothing of the files."""
    folder = service.settings.files.job("job_of_another_database").checkpoints
    folder.mkdir(parents=True)
    rows = service.settings.files.dataset_rows("ds_of_another_database")
    rows.write_text("{}")
    os.utime(rows, (time() - TEMPORARY_SECONDS - 60,) * 2)
    collect(service)
    assert folder.is_dir()
    assert rows.exists()


def test_one_collector_at_a_time(service: Service) -> None:
    service.add_job()
    folder = service.settings.files.job("job_gone").checkpoints
    folder.mkdir(parents=True)
    with service.settings.files.collection_lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        collect(service)
        assert folder.is_dir()
    collect(service)
    assert not folder.exists()


def test_more_folders_than_one_query_takes(service: Service) -> None:
    known = [service.add_job() for _ in range(3)]
    folder = service.settings.files.jobs
    for name in (*known, *(f"job_{number:04}" for number in range(BATCH + 100))):
        (folder / name).mkdir()
    collect(service)
    assert {path.name for path in folder.iterdir()} == set(known)

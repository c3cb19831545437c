from __future__ import annotations

import os
from pathlib import Path
from time import time

from service.shared.database.tables import Artifact, Dataset, JobStatus, now
from tests.worker.support import DATASET, PROJECT, Service
from worker.file_collector import TEMPORARY_SECONDS, FileCollector


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
    FileCollector(service.db, service.settings.files).collect()
    assert registered.exists()
    assert renamed_by_a_run.exists()
    assert not any(path.exists() for path in orphans)
    assert not orphans[1].parent.exists()


def test_folders_of_deleted_jobs_go(service: Service) -> None:
    kept, gone = service.add_job(), "job_gone"
    for job_id in (kept, gone):
        service.settings.files.job(job_id).checkpoints.mkdir(parents=True)
    FileCollector(service.db, service.settings.files).collect()
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
    FileCollector(service.db, service.settings.files).collect()
    assert [path.exists() for path in (*old, *young, *kept)] == [False] * 3 + [True] * 4

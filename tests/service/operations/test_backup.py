"""Backup of a service that runs, and what a restore makes of it."""

from __future__ import annotations

import tarfile
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from service.operations.backup import BackupError, backup, restore
from service.shared.database.tables import JobStatus
from service.shared.settings import Settings
from tests.service.support import MODEL, Service, finish, report_metrics, run_job, running

pytestmark = pytest.mark.slow


def checkpoint(service: Service, job_id: str, step: int) -> Path:
    folder = service.settings.files.job(job_id).checkpoints / f"step-{step:08d}"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text("{}")
    return folder


def test_a_running_service_comes_back_whole(service: Service, tmp_path: Path, tiny_facts: dict[str, Any]) -> None:
    done, going = service.submit()["id"], service.submit()["id"]
    run_job(service, done)
    digest = finish(service, done, b"an artifact")
    run_job(service, going)
    report_metrics(service, going, [{"loss": 1.0}, {"loss": 0.5}])
    checkpoint(service, going, 2)
    (service.settings.files.datasets / "ds_unregistered.jsonl").write_text("{}")
    made = backup(service.settings, tmp_path / "b.tar")
    assert made.path.stat().st_mode & 0o077 == 0
    assert not list(service.settings.resolved_home.glob(".backup-*"))

    fresh = Settings(home=tmp_path / "other", port=service.settings.port)
    assert restore(fresh, made.path) == made.files
    with running(fresh) as restored:
        jobs = {job["id"]: job for job in restored.client.get("/jobs").json()["data"]}
        assert jobs[done]["status"] == "succeeded"
        assert jobs[going]["status"] == JobStatus.QUEUED
        answer = restored.client.get(f"/jobs/{done}/artifacts/lora")
        assert (answer.content, answer.headers["etag"]) == (b"an artifact", f'"{digest}"')
        assert len(restored.client.get(f"/jobs/{going}/metrics").json()["data"]) == 2
        assert (fresh.files.job(going).checkpoints / "step-00000002" / "state.json").exists()
        assert (fresh.files.model(MODEL) / "config.json").exists()
        assert not (fresh.files.datasets / "ds_unregistered.jsonl").exists()
        dataset = restored.client.get(f"/jobs/{going}").json()["spec"]["dataset"]["train"]
        assert (fresh.files.dataset_rows(dataset)).read_text()
        # Without it, evaluation rows that training would see are not warned of any more.
        assert (fresh.files.dataset_hashes(dataset)).exists()
    with pytest.raises(BackupError, match="contains a database already"):
        restore(fresh, made.path)


def test_jobs_that_are_deleted_meanwhile_do_no_harm(service: Service, tmp_path: Path) -> None:
    job_ids = [service.submit()["id"] for _ in range(12)]
    for job_id in job_ids:
        run_job(service, job_id)
        finish(service, job_id, job_id.encode())
        checkpoint(service, job_id, 1)
    begun = Event()

    def delete() -> None:
        begun.wait(60)
        for job_id in job_ids[:-1]:
            assert service.client.delete(f"/jobs/{job_id}").status_code == 204

    deleting = Thread(target=delete)
    deleting.start()
    begun.set()
    for number in range(3):
        made = backup(service.settings, tmp_path / f"{number}.tar", models=False)
        fresh = Settings(home=tmp_path / f"home{number}")
        restore(fresh, made.path)
        with running(fresh) as restored:
            for job in restored.client.get("/jobs").json()["data"]:
                answer = restored.client.get(f"/jobs/{job['id']}/artifacts/lora")
                assert answer.content == job["id"].encode()
    deleting.join()


def test_a_damaged_file_is_refused_and_nothing_is_left(service: Service, tmp_path: Path) -> None:
    made = backup(service.settings, tmp_path / "b.tar", models=False)
    content = bytearray(made.path.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "flipped.tar").write_bytes(content)
    (tmp_path / "cut.tar").write_bytes(content[: len(content) // 2])
    (tmp_path / "other.tar").write_text("no tar at all")
    with tarfile.open(tmp_path / "outside.tar", "w") as archive:
        archive.add(made.path, "../outside")
    fresh = Settings(home=tmp_path / "fresh")
    for name in ("flipped", "cut", "other", "outside", "missing"):
        with pytest.raises(BackupError):
            restore(fresh, tmp_path / f"{name}.tar")
        assert list(fresh.resolved_home.iterdir()) == []
    assert not (tmp_path / "outside").exists()


def test_where_there_is_nothing_to_back_up(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="no database"):
        backup(Settings(home=tmp_path / "nothing"), tmp_path / "b.tar")
    elsewhere = Settings(home=tmp_path, database_url="postgresql+psycopg://user@127.0.0.1/adamss")
    with pytest.raises(BackupError, match="pg_dump"):
        backup(elsewhere, tmp_path / "b.tar")


def test_a_backup_overwrites_nothing(service: Service, tmp_path: Path) -> None:
    """The file there may be the only good one."""
    (target := tmp_path / "b.tar").write_bytes(b"of last Monday")
    with pytest.raises(BackupError, match="exists already"):
        backup(service.settings, target)
    assert target.read_bytes() == b"of last Monday"
    assert not list(service.settings.resolved_home.glob(".backup-*"))


def test_a_restore_leaves_another_database_alone(service: Service, tmp_path: Path) -> None:
    """Before: its running jobs were given back, and the home folder was filled beside it."""
    made = backup(service.settings, tmp_path / "b.tar")
    elsewhere = Settings(home=tmp_path / "other", database_url="postgresql+psycopg://nobody@127.0.0.1:1/none")
    with pytest.raises(BackupError, match="ADAMSS_DATABASE_URL"):
        restore(elsewhere, made.path)
    assert not elsewhere.resolved_home.exists()


def test_a_restore_is_whole_or_not_at_all(service: Service, tmp_path: Path) -> None:
    service.submit()
    made = backup(service.settings, tmp_path / "b.tar")
    fresh = Settings(home=tmp_path / "other")
    (fresh.files.model("mine")).mkdir()
    with pytest.raises(BackupError, match="exists already"):
        restore(fresh, made.path)
    assert [path.name for path in fresh.resolved_home.iterdir()] == ["models"]

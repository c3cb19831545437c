"""Backup of a service that runs, and what a restore makes of it."""

from __future__ import annotations

import tarfile
from contextlib import closing
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from service.cli.app import app
from service.operations.backup import BackupError, backup, restore
from service.operations.move_files import move_to_store
from service.shared.database.engine import Database
from service.shared.database.tables import JobStatus, StoredFile
from service.shared.settings import Settings
from service.shared.storage.object_store import ObjectStore
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


def test_files_of_a_store_are_in_the_backup(service: Service, tmp_path: Path) -> None:
    """Restored once without a store, and once into another one."""
    job_id = service.submit()["id"]
    run_job(service, job_id)
    finish(service, job_id, b"an artifact")
    home = service.settings.files
    home.job(job_id).path.mkdir()
    home.job(job_id).log.write_text("--- attempt 1\n")
    stored = service.settings.model_copy(update={"storage_url": f"file://{tmp_path}/shared"})
    with closing(Database(stored.resolved_database_url)) as db:
        move_to_store(stored, db)
    for path in (*home.datasets.iterdir(), home.artifact(job_id, "lora"), home.job(job_id).log):
        path.unlink()
    with pytest.raises(BackupError, match="does not exist"):
        backup(service.settings, tmp_path / "without.tar", models=False)
    made = backup(stored, tmp_path / "b.tar", models=False)

    fresh = Settings(home=tmp_path / "fresh")
    restore(fresh, made.path)
    assert fresh.files.artifact(job_id, "lora").read_bytes() == b"an artifact"
    assert fresh.files.job(job_id).log.read_text() == "--- attempt 1\n"
    assert len(list(fresh.files.datasets.iterdir())) == 2
    with closing(Database(fresh.resolved_database_url)) as db, db.read() as session:
        assert session.scalars(select(StoredFile)).all() == []

    environment = {"ADAMSS_HOME": str(tmp_path / "third"), "ADAMSS_STORAGE_URL": f"file://{tmp_path}/other"}
    result = CliRunner().invoke(app, ["restore", str(made.path)], env=environment)
    assert "4 files" in result.output, (result.output, result.exception)
    keys = [one.key for one in ObjectStore(environment["ADAMSS_STORAGE_URL"]).list("")]
    assert len(keys) == 5, keys  # and the store's id


def test_a_backup_says_that_the_store_lacks_a_file(service: Service, tmp_path: Path) -> None:
    service.submit()
    stored = service.settings.model_copy(update={"storage_url": f"file://{tmp_path}/shared"})
    with closing(Database(stored.resolved_database_url)) as db:
        move_to_store(stored, db)
    store = ObjectStore(str(stored.storage_url))
    store.delete([one.key for one in store.list("") if one.key != "home_id"])
    for path in service.settings.files.datasets.iterdir():
        path.unlink()
    with pytest.raises(BackupError, match="lacks"):
        backup(stored, tmp_path / "b.tar", models=False)

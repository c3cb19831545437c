"""Files of a service go into a store and come back equal; what no row names is collected there."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli.app import app
from service.shared.database.tables import Artifact, StoredFile
from service.shared.storage.host_files import HostFiles
from service.shared.storage.object_store import ObjectStore
from tests.service.support import Service, finish, run_job
from worker.store_collector import StoreCollector


def move(service: Service, url: str | None, *options: str) -> str:
    environment = {"ADAMSS_HOME": str(service.settings.resolved_home), "ADAMSS_STORAGE_URL": url}
    result = CliRunner().invoke(app, ["storage", "move", *options], env=environment)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return str(result.exception)
    return " ".join(result.output.split())


def names(service: Service) -> list[str]:
    with service.db.read() as session:
        return sorted(row.name for row in session.query(StoredFile))


@pytest.fixture
def finished(service: Service) -> str:
    job_id: str = service.submit()["id"]
    run_job(service, job_id)
    finish(service, job_id, b"adapter" * 100)
    folder = service.settings.files.job(job_id)
    folder.path.mkdir()
    folder.log.write_text("--- attempt 1\nlearnt\n")
    return job_id


def test_there_and_back(service: Service, finished: str, tmp_path: Path) -> None:
    url, home = f"file://{tmp_path}/shared", service.settings.files
    rows = {path.name: path.read_bytes() for path in home.datasets.iterdir()}
    assert "moved to file:///" in move(service, url)
    stored = names(service)
    assert f"artifacts/{finished}/lora.zip" in stored
    assert any(name.startswith("datasets/") for name in stored)
    assert any("@" in name for name in stored)
    assert move(service, url).startswith("0 files")
    for path in (*home.datasets.iterdir(), home.artifact(finished, "lora"), home.job(finished).log):
        path.unlink()
    move(service, url, "--back")
    assert {path.name: path.read_bytes() for path in home.datasets.iterdir()} == rows
    assert home.artifact(finished, "lora").read_bytes() == b"adapter" * 100
    assert home.job(finished).log.read_text() == "--- attempt 1\nlearnt\n"
    assert names(service) == []
    assert [one.key for one in ObjectStore(url).list("")] == ["home_id"]


def test_without_a_store(service: Service) -> None:
    assert "Set ADAMSS_STORAGE_URL" in move(service, None)


def test_old_objects_without_a_row_are_collected(service: Service, finished: str, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/shared"
    move(service, url)
    store = ObjectStore(url)
    known = {one.key for one in store.list("")}
    for key in ("proj/old", "proj/young"):
        store.put_bytes(b"x", key)
    for path in (tmp_path / "shared").rglob("*"):
        if path.is_file() and path.name != "young":
            os.utime(path, (time.time() - 2 * 86_400,) * 2)
    assert StoreCollector(service.db, store).collect() == 1
    assert {one.key for one in store.list("")} == known | {"proj/young"}
    with service.db.read() as session:
        name = session.get_one(Artifact, (finished, "lora")).path
    assert HostFiles(service.settings.files, service.db, store).resolve(name).exists()

"""What a job's host brings to the store while it trains, seen by another host."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from adamss_core.training.request import RunRequest
from service.shared.database.tables import DECOMPOSITIONS, Job, StoredFile, now
from service.shared.jobs import states
from service.shared.storage.home import Home
from service.shared.storage.host_files import HostFiles
from service.shared.storage.log_chunks import log_chunks, read_chunks
from service.shared.storage.object_store import ObjectStore
from tests.worker.support import DATASET, Service
from worker import job_uploads
from worker.decomposition_files import DecompositionFetch
from worker.job_inputs import fetch_inputs
from worker.job_uploads import JobUploads
from worker.request import build_request
from worker.store_collector import DECOMPOSITION_AGE, StoreCollector

ENTRY = f"{'a' * 64}.safetensors"


@dataclass
class Running:
    """A job that this host has claimed, and a second host."""

    service: Service
    job: Job
    store: ObjectStore
    other: Home

    @property
    def home(self) -> Home:
        return self.service.settings.files

    def files(self, home: Home | None = None) -> HostFiles:
        return HostFiles(home or self.home, self.service.db, self.store)

    def uploads(self) -> JobUploads:
        return JobUploads(self.files(), self.home, self.service.db, self.job, 0)

    def bring(self) -> None:
        """Upload all that is there, and wait for it."""
        uploads = self.uploads()
        uploads.start()
        uploads.finish(lambda: True)

    def log(self) -> bytes:
        with self.service.db.read() as session:
            chunks = log_chunks(session, self.home, self.job.id)
        return read_chunks(self.store, chunks, 0, 10_000_000)

    def names(self) -> set[str]:
        with self.service.db.read() as session:
            return set(session.scalars(select(StoredFile.name)))


@pytest.fixture
def running(service: Service, tmp_path: Path) -> Running:
    job_id = service.add_job()
    with service.db.write() as session:
        job = states.claim(session, job_id, "host-a", 60.0)
    assert job is not None
    folder = service.settings.files.job(job_id)
    folder.path.mkdir()
    folder.log.write_text("--- attempt 1\n")
    return Running(service, job, ObjectStore(f"file://{tmp_path}/shared"), Home(tmp_path / "other"))


def need(running: Running, home: Home) -> Path:
    path = home.decompositions / ENTRY
    folder = home.job(running.job.id)
    folder.path.mkdir(exist_ok=True)
    DecompositionFetch(running.files(home), folder).need(path)
    return path


def test_a_decomposition_made_on_one_host_is_fetched_by_the_other(running: Running) -> None:
    made = need(running, running.home)
    assert not made.exists()
    made.write_bytes(b"decomposed")
    running.bring()
    assert need(running, running.other).read_bytes() == b"decomposed"
    keys = [one.key for one in running.store.list(DECOMPOSITIONS)]
    running.bring()  # the next job finds it there
    assert [one.key for one in running.store.list(DECOMPOSITIONS)] == keys


def test_a_decomposition_that_the_store_lost_is_computed(running: Running) -> None:
    need(running, running.home).write_bytes(b"decomposed")
    running.bring()
    running.store.delete([one.key for one in running.store.list(DECOMPOSITIONS)])
    assert not need(running, running.other).exists()


def test_old_decompositions_are_forgotten(running: Running) -> None:
    need(running, running.home).write_bytes(b"decomposed")
    running.bring()
    StoreCollector(running.service.db, running.store).collect()
    assert f"cache/decompositions/{ENTRY}" in running.names()
    with running.service.db.write() as session:
        for row in session.scalars(select(StoredFile).where(StoredFile.owner == DECOMPOSITIONS)):
            row.created_at = now() - DECOMPOSITION_AGE - timedelta(hours=1)
    StoreCollector(running.service.db, running.store).collect()
    assert f"cache/decompositions/{ENTRY}" not in running.names()


def test_contenders_go_on_with_another_host(running: Running) -> None:
    here, there = (home.job(running.job.id) for home in (running.home, running.other))
    steps = here.comparison / "lora-r-1" / "steps" / "step-00000020"
    steps.mkdir(parents=True)
    (steps / "state.json").write_text("{}")
    done = here.comparison / "head" / "entry.json"
    done.parent.mkdir()
    done.write_text('{"identity": {}, "value": {}}')
    (done.parent / "starts.json").write_text("{}")
    running.bring()
    stale = there.comparison / "lora-r-2" / "entry.json"
    stale.parent.mkdir(parents=True)
    stale.write_text("{}")
    settings = running.service.settings.model_copy(update={"home": running.other.root})
    request: RunRequest = build_request(running.service.db, running.job, settings)
    for name in (DATASET, "unused"):
        running.other.dataset_rows(name).write_text("")
    fetch_inputs(running.files(running.other), running.other, running.service.db, running.job, request)
    assert (there.comparison / "lora-r-1" / "steps" / "step-00000020" / "state.json").read_text() == "{}"
    assert (there.comparison / "head" / "entry.json").read_text() == done.read_text()
    assert not (there.comparison / "head" / "starts.json").exists()
    assert not stale.exists()
    (event,) = [one for one in running.service.events(running.job.id) if one.type == "phase"]
    assert event.data == {"phase": "fetching", "source": "store", "size_bytes": event.data["size_bytes"]}
    assert event.message.startswith("Fetching what this host lacks: 2 files")


def test_a_log_is_kept_in_few_chunks_and_the_last_one_grows(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_uploads, "LOG_BYTES", 40)
    uploads, log = running.uploads(), running.home.job(running.job.id).log
    for line in range(12):
        with log.open("a") as file:
            file.write(f"line {line}\n")
        uploads._upload_log(last=True)
        assert running.log() == log.read_bytes()
    assert len([name for name in running.names() if "@" in name]) == -(-log.stat().st_size // 40)
    objects = [one.key for one in running.store.list("") if "/log-" in one.key]
    assert len(objects) <= -(-log.stat().st_size // 40) + 1  # one replaced chunk that may still be read

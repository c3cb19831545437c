"""Move files of a service between the home folder and the store; each step may be interrupted and repeated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from adamss_core.fileio.atomic import write_atomically
from service.shared.database.engine import Database
from service.shared.database.tables import (
    LEASED,
    AddedModel,
    Artifact,
    Checkpoint,
    Dataset,
    Job,
    ModelStatus,
    StoredFile,
)
from service.shared.errors import StartRefused
from service.shared.settings import Settings
from service.shared.storage.home import Home
from service.shared.storage.host_files import HostFiles
from service.shared.storage.log_chunks import add_chunk, is_chunk, log_chunks, read_chunks
from service.shared.storage.pairing import open_paired_files


@dataclass(frozen=True)
class Movable:
    """A file or folder that the database names.

    Attributes:
        project: id of its owner's project.
    """

    path: Path
    owner: str
    project: str


@dataclass
class MovedFiles:
    """Count of what was moved."""

    files: int = 0
    size_bytes: int = 0

    def add(self, size_bytes: int) -> None:
        """Count one more."""
        self.files += 1
        self.size_bytes += size_bytes


def move_to_store(settings: Settings, db: Database) -> MovedFiles:
    """Put everything that the database names, that is here, and that the store lacks; files of running jobs excepted.

    Raises:
        StartRefused: no store is configured, or it cannot be used.
        StorageUnavailable: the store does not answer; what was moved until then stays moved.
    """
    files, home, moved = _opened(settings, db), settings.files, MovedFiles()
    with db.read() as session:
        known = set(session.scalars(select(StoredFile.name)))
        logged = set(session.scalars(select(StoredFile.owner).where(StoredFile.name.contains("@"))))
        movable = [one for one in _movable(session, home) if home.relative(one.path) not in known]
        jobs = [(job_id, project) for job_id, project in _ended(session) if job_id not in logged]
    for one in movable:
        if one.path.exists() and (content := files.put(one.path, f"{one.project}/{one.owner}")) is not None:
            with db.write() as session:
                files.record(session, one.path, content, one.owner)
            moved.add(content.size_bytes)
    for job_id, project in jobs:
        log = home.job(job_id).log
        if log.exists() and (content := files.put(log, f"{project}/{job_id}")) is not None:
            with db.write() as session:
                add_chunk(session, home, job_id, 0, 0, content)
            moved.add(content.size_bytes)
    return moved


def move_back(settings: Settings, db: Database) -> MovedFiles:
    """Fetch every stored file into the home folder, then forget and delete what the store has.

    Raises:
        StartRefused: no store is configured, or it cannot be used.
        StorageUnavailable, StoredFileGone, StoredFileDamaged: a file cannot be fetched; nothing was deleted.
    """
    files, home, moved = _opened(settings, db), settings.files, MovedFiles()
    with db.read() as session:
        rows = list(session.scalars(select(StoredFile)))
    plain = [row for row in rows if not is_chunk(row.name)]
    for row in plain:
        files.local(home.resolve(row.name), verify=True)
        moved.add(row.size_bytes)
    for job_id in {row.owner for row in rows if is_chunk(row.name)}:
        moved.add(_fetch_log(files, home, db, job_id))
    with db.write() as session:
        keys = files.forget(session, StoredFile.name.in_([row.name for row in rows]))
    files.discard(keys)
    return moved


def _opened(settings: Settings, db: Database) -> HostFiles:
    if settings.storage_url is None:
        raise StartRefused("No store is configured. Set ADAMSS_STORAGE_URL, as for the service.")
    return open_paired_files(settings, db)


def _movable(session: Session, home: Home) -> Iterator[Movable]:
    for dataset in session.scalars(select(Dataset).where(Dataset.deleted_at.is_(None))):
        yield from (Movable(path, dataset.id, dataset.project_id) for path in home.dataset(dataset.id))
    ready = select(AddedModel).where(AddedModel.status == ModelStatus.READY, AddedModel.deleted_at.is_(None))
    for model in session.scalars(ready):
        yield Movable(home.added_model(model.id), f"models/{model.name}", model.project_id)
    for job_id, project in _ended(session):
        for path in session.scalars(select(Artifact.path).where(Artifact.job_id == job_id)):
            yield Movable(home.resolve(path), job_id, project)
        for path in session.scalars(select(Checkpoint.path).where(Checkpoint.job_id == job_id)):
            yield Movable(home.job(job_id).path / path, job_id, project)


def _ended(session: Session) -> list[tuple[str, str]]:
    """Return id and project of each job that no worker works on."""
    found = session.execute(select(Job.id, Job.project_id).where(Job.status.not_in(LEASED)))
    return [(job_id, project) for job_id, project in found]


def _fetch_log(files: HostFiles, home: Home, db: Database, job_id: str) -> int:
    """Write the log of all attempts in the place of this host's own part."""
    assert files.store is not None
    with db.read() as session:
        chunks = log_chunks(session, home, job_id)
    size = sum(chunk.size_bytes for chunk in chunks)
    target = home.job(job_id)
    target.path.mkdir(parents=True, exist_ok=True)
    write_atomically({target.log: read_chunks(files.store, chunks, 0, size)})
    return size

"""Backup and restore of the embedded set-up, while it runs.

The order keeps the copy consistent without stopping a process: first checkpoints and their jobs' reports that the
database may lack, then the database, then the files named in this copy of the database. So a restored job resumes from
a checkpoint not newer than its records, and no record names a missing file. Files are staged as hard links, which
survive the deletion of their job. Files of a store are in the backup too, which restores with another store or none.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from tempfile import mkdtemp

from sqlalchemy import select

from adamss_core.fileio.fsync import sync_open_file
from adamss_core.fileio.hashing import sha256_of
from adamss_core.fileio.walk import files_below
from service.operations.hard_links import link, link_all
from service.operations.stored_backup import StoredStage
from service.shared.database.engine import Database
from service.shared.database.migrate import upgrade
from service.shared.database.tables import LEASED, Job
from service.shared.errors import ServiceError, StartRefused
from service.shared.jobs import states
from service.shared.settings import Settings
from service.shared.storage.home import Home
from service.shared.storage.pairing import open_paired_files
from service.shared.storage.store_errors import StoredFileGone

FORMAT, VERSION, MANIFEST = "adamss-backup", 1, "backup.json"
TRIES = 20  # a file may vanish between the copies of database and file; then both are copied again


class BackupError(Exception):
    """A failed backup or restore; the message has the remedy."""


@dataclass(frozen=True)
class BackupSummary:
    """A written backup: its path, number of files and size."""

    path: Path
    files: int
    size_bytes: int


def backup(settings: Settings, target: Path, *, models: bool = True) -> BackupSummary:
    """Write the home folder without queue, cache and the service's logs to one tar file; with files of the store in it.

    Args:
        models: whether to include the base models, which may be large.

    Raises:
        BackupError: the target exists, the service does not use SQLite or has no database yet, its files keep
            changing, or the store lacks one or does not answer.
    """
    home, target = settings.files, target.resolve()
    _require_free(target)
    if settings.database_url is not None and not settings.database_url.startswith("sqlite"):
        raise BackupError(
            "This service keeps its records in PostgreSQL. Back that up with pg_dump, and the folder "
            f"{home.root} or the store with your tool for files; docs/deploying.md has the order."
        )
    if not home.database.is_file():
        raise BackupError(f"{home.root} has no database. Set ADAMSS_HOME to the service's folder.")
    stage = Home(Path(mkdtemp(prefix=".backup-", dir=home.root)))
    try:
        _stage_jobs(home, stage)
        with _stored(settings, stage, models) as stored:
            _stage_database(home, stage, models, stored)
        for name in (home.api_key, home.webhook_secret, home.home_id):
            if name.is_file():
                _copy(name, stage.root / name.name)
        if models:
            shutil.copytree(home.models, stage.models, copy_function=link, dirs_exist_ok=True)
        return _pack(stage.root, target)
    finally:
        shutil.rmtree(stage.root, ignore_errors=True)


def restore(settings: Settings, source: Path) -> int:
    """Unpack a backup into an empty home folder, requeue its running jobs, and return the number of files.

    Raises:
        BackupError: the home folder is in use, the file is damaged or not a backup, or another database is configured.
    """
    home = settings.resolved_home
    database = settings.files.database
    if settings.resolved_database_url != f"sqlite:///{database}":
        raise BackupError(
            "ADAMSS_DATABASE_URL names another database, which a restore would change but not fill. Unset it: a backup "
            "contains its own database."
        )
    if database.exists():
        raise BackupError(
            f"{home} contains a database already. Restore into an empty folder: set ADAMSS_HOME to a new one."
        )
    home.mkdir(parents=True, exist_ok=True)
    stage = Path(mkdtemp(prefix=".restore-", dir=home))
    try:
        count = _unpack(source, stage)
        entries = sorted(stage.iterdir(), key=lambda path: path.name == database.name)  # the database comes last
        for path in entries:
            if (home / path.name).exists():
                raise BackupError(f"{home / path.name} exists already. Restore into an empty folder.")
        for path in entries:
            path.replace(home / path.name)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    upgrade(settings)
    _requeue(settings)
    return count


def _stage_jobs(home: Home, stage: Home) -> None:
    for path in sorted(home.jobs.glob("job_*")):
        job, target = home.job(path.name), stage.job(path.name)
        for checkpoint in sorted(job.checkpoints.glob("step-*")):
            with suppress(FileNotFoundError):  # deleted meanwhile; its staged part fails its own manifest
                shutil.copytree(checkpoint, target.checkpoints / checkpoint.name, copy_function=link)
        for growing, copy in ((job.log, target.log), (job.reports, target.reports)):  # after the checkpoints
            if growing.is_file():
                _copy(growing, copy)


@contextmanager
def _stored(settings: Settings, stage: Home, models: bool) -> Iterator[StoredStage | None]:
    """Open the store, where files lie in one.

    Raises:
        BackupError: it cannot be used, or a file of it cannot be fetched.
    """
    if settings.storage_url is None:
        yield None
        return
    try:
        with closing(Database(settings.resolved_database_url)) as db:
            yield StoredStage(open_paired_files(settings, db), settings.files, stage, models=models)
    except (StartRefused, ServiceError) as error:
        raise BackupError(str(error)) from error


def _stage_database(home: Home, stage: Home, models: bool, stored: StoredStage | None) -> None:
    """Stage a snapshot of the database with the files that it names."""
    missing = ""
    for _ in range(TRIES):
        stage.database.unlink(missing_ok=True)
        with (
            closing(sqlite3.connect(home.database, timeout=30)) as live,
            closing(sqlite3.connect(stage.database)) as copy,
        ):
            live.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # a single file, without a write-ahead log
            names = [*_named_files(home, copy), *(_named_models(home, copy) if models else ())]
            try:
                elsewhere = set() if stored is None else stored.take(copy)
                for name in names:
                    if name not in elsewhere:
                        link_all(home.resolve(name), stage.resolve(name))
            except FileNotFoundError as error:  # deleted since: the next snapshot does not name it
                missing = str(error.filename)
            except StoredFileGone as error:
                missing = str(error)
            else:
                return
    raise BackupError(f"The database names {missing}, which does not exist. `adamss doctor` may have details.")


def _named_files(home: Home, database: sqlite3.Connection) -> Iterator[str]:
    for (dataset,) in database.execute("SELECT id FROM datasets WHERE deleted_at IS NULL"):
        yield home.relative(home.dataset_rows(dataset))
        for optional in (home.dataset_images(dataset), home.dataset_hashes(dataset), home.dataset_original(dataset)):
            if optional.exists():
                yield home.relative(optional)
    for (path,) in database.execute("SELECT path FROM artifacts"):
        yield path


def _named_models(home: Home, database: sqlite3.Connection) -> Iterator[str]:
    if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'added_models'").fetchone():
        return  # the database is of an older release
    for (model,) in database.execute("SELECT id FROM added_models WHERE status = 'ready' AND deleted_at IS NULL"):
        yield home.relative(home.added_model(model))


def _pack(stage: Path, target: Path) -> BackupSummary:
    listed = {path.relative_to(stage).as_posix(): sha256_of(path) for path in files_below(stage)}
    created = datetime.now(UTC).isoformat()
    manifest = json.dumps({"format": FORMAT, "version": VERSION, "created_at": created, "files": listed}).encode()
    partial = target.with_name(f".{target.name}.partial")
    try:
        with partial.open("wb") as out:
            partial.chmod(0o600)  # the archive contains keys
            with tarfile.open(fileobj=out, mode="w") as archive:
                entry = tarfile.TarInfo(MANIFEST)
                entry.size = len(manifest)
                archive.addfile(entry, BytesIO(manifest))
                for name in listed:
                    archive.add(stage / name, name, recursive=False)
            sync_open_file(out)
        _require_free(target)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return BackupSummary(target, len(listed), target.stat().st_size)


def _require_free(target: Path) -> None:
    """Refuse to overwrite: the file may be the only good backup of a service that has come to harm since."""
    if target.exists():
        raise BackupError(f"{target} exists already. Name another file, or move that one away first.")


def _unpack(source: Path, stage: Path) -> int:
    try:
        with tarfile.open(source) as archive:
            archive.extractall(stage, filter="data")
        manifest = json.loads((stage / MANIFEST).read_bytes())
        files: dict[str, str] = manifest["files"]
        if (manifest["format"], manifest["version"]) != (FORMAT, VERSION):
            raise BackupError(f"{source} was written by another version of the service.")
        damaged = [name for name, digest in files.items() if sha256_of(stage / name) != digest]
    except (OSError, tarfile.TarError, ValueError, KeyError, TypeError) as error:
        raise BackupError(f"{source} is not a readable backup ({type(error).__name__}: {error}).") from error
    if damaged:
        raise BackupError(f"{source} is damaged: the checksum of {damaged[0]} does not match. Nothing was restored.")
    (stage / MANIFEST).unlink()
    return len(files)


def _requeue(settings: Settings) -> None:
    """Requeue the restored running jobs, uncharged: their workers no longer exist."""
    db = Database(settings.resolved_database_url)
    try:
        with db.write() as session:
            for job in session.scalars(select(Job).where(Job.status.in_(LEASED))).all():
                states.give_back(session, job.id, job.attempt, charge=False)
    finally:
        db.close()


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)

"""Move files of the home folder that no row names to its trash: left by processes that died between writing and
registering, and by deletions that were interrupted.
"""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from time import time

from sqlalchemy import ColumnElement, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from service.shared.database.engine import Database
from service.shared.database.tables import TERMINAL, Artifact, Dataset, Job
from service.shared.storage.home import Home
from service.shared.storage.trash import Trash
from worker.periodic_thread import PeriodicThread

logger = logging.getLogger(__name__)

TEMPORARY_SECONDS = 3_600.0  # age from which a temporary file belongs to no running process
BATCH = 500  # ids in one query


class FileCollector(PeriodicThread):
    """Collect orphaned files, in a thread of its own: a pass over many folders takes longer than a lease.

    Args:
        seconds: between two passes; only one worker of a home folder makes one at a time.
    """

    def __init__(self, db: Database, files: Home, seconds: float) -> None:
        super().__init__("file collector", seconds)
        self._db, self._files, self._trash = db, files, Trash(files)

    def round(self) -> None:
        try:
            with self._only_one() as taken:
                if taken:
                    self.collect()
        except (SQLAlchemyError, OSError) as error:
            logger.warning("collecting files: put off: %r", error)

    def collect(self) -> None:
        """Move orphaned artifacts, job folders and data sets to the trash, and remove temporary files and old trash.

        A database without a job and a data set is not trusted: nothing is an orphan then.
        """
        self._collect_temporary()
        self._trash.empty()
        with self._db.read() as session:
            if all(session.scalars(select(table.id).limit(1)).first() is None for table in (Job, Dataset)):
                return
        self._collect_artifacts()
        self._collect_jobs()
        self._collect_datasets()

    @contextmanager
    def _only_one(self) -> Iterator[bool]:
        with self._files.collection_lock.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def _collect_artifacts(self) -> None:
        """Collect zips of a transaction that failed; in a job that has not ended, the next attempt replaces them."""
        for folders in _batches(self._files.artifacts, "job_*"):
            zips = [path for folder in folders for path in folder.glob("*.zip")]
            ids = [folder.name for folder in folders]
            with self._db.read() as session:
                running = set(session.scalars(select(Job.id).where(Job.id.in_(ids), Job.status.not_in(TERMINAL))))
                registered = set(session.scalars(select(Artifact.path).where(Artifact.job_id.in_(ids))))
            for path in zips:
                if path.parent.name not in running and self._files.relative(path) not in registered:
                    self._trash.move(path)
            for folder in folders:
                if folder.name not in running:
                    with suppress(OSError):  # an artifact is left
                        folder.rmdir()

    def _collect_jobs(self) -> None:
        """Collect folders of jobs whose deletion was interrupted. A job's row is written before its folder."""
        for folders in _batches(self._files.jobs, "job_*"):
            with self._db.read() as session:
                known = _known(session, Job, folders)
            for folder in folders:
                if folder.name not in known:
                    self._trash.move(folder)

    def _collect_datasets(self) -> None:
        """Collect rows and images of data sets that were never registered, or whose deletion was interrupted."""
        before = time() - TEMPORARY_SECONDS
        for paths in _batches(self._files.datasets, "ds_*"):
            old = [path for path in paths if _modified(path) < before]
            with self._db.read() as session:
                known = _known(session, Dataset, old, Dataset.deleted_at.is_(None))
            for path in old:
                if _id_of(path) not in known:
                    self._trash.move(path)

    def _collect_temporary(self) -> None:
        """Remove messages that were received, and files that a process began to write and never renamed."""
        before = time() - TEMPORARY_SECONDS
        for path in self._files.queue_processed.glob("*.msg"):
            _remove(path, before)
        for folder in (self._files.datasets, self._files.artifacts, self._files.cache):
            for pattern in (".*.tmp", "*/.*.tmp", "*.partial", "*/*.partial"):
                for path in folder.glob(pattern):
                    _remove(path, before)


def _batches(folder: Path, pattern: str) -> Iterator[list[Path]]:
    """Yield the entries of a folder, some hundreds at a time: listed before the rows of those are read."""
    entries = folder.glob(pattern)
    while batch := list(islice(entries, BATCH)):
        yield batch


def _known(
    session: Session, table: type[Job | Dataset], paths: Sequence[Path], *where: ColumnElement[bool]
) -> set[str]:
    """Return which of the ids in the names of some files have a row."""
    return set(session.scalars(select(table.id).where(table.id.in_([_id_of(path) for path in paths]), *where)))


def _id_of(path: Path) -> str:
    return path.name.partition(".")[0]


def _modified(path: Path) -> float:
    """Return the time of the last change; infinity if the file is gone."""
    with suppress(OSError):
        return path.stat().st_mtime
    return float("inf")


def _remove(path: Path, before: float) -> None:
    with suppress(OSError):
        if path.is_file() and not path.is_symlink() and _modified(path) < before:
            path.unlink()

"""Move files of the home folder that no row names to its trash: left by processes that died between writing and
registering, and by deletions that were interrupted.
"""

from __future__ import annotations

import hashlib
import logging
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from time import time
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, select
from sqlalchemy.exc import SQLAlchemyError

from adamss_core.failpoints import failpoint
from service.shared.database.engine import Database
from service.shared.database.tables import UNFINISHED, AddedModel, Artifact, Dataset, Job
from service.shared.storage.home import Home
from service.shared.storage.host_files import HostFiles
from service.shared.storage.model_folder import clear_abandoned
from service.shared.storage.store_errors import StorageUnavailable
from service.shared.storage.trash import Trash
from worker.duty_lease import DutyLease, DutyLost
from worker.periodic_thread import PeriodicThread
from worker.store_collector import StoreCollector

logger = logging.getLogger(__name__)
Found = TypeVar("Found")

DUTY = "collect files"
TEMPORARY_SECONDS = 3_600.0  # age from which a temporary file belongs to no running process
# Age from which a file without a row is moved: nothing takes so long to register what it has written.
ORPHAN_SECONDS = 86_400.0
ROWS = 10_000  # fetched at a time


class FileCollector(PeriodicThread):
    """Collect orphaned files, in a thread of its own: a pass over many folders takes longer than a job's lease.

    Args:
        seconds: between two passes; one worker of a database makes one at a time.
        pass_seconds: until another worker takes over from one that died in its pass.
    """

    def __init__(
        self,
        db: Database,
        files: Home,
        host_files: HostFiles | None = None,
        *,
        seconds: float,
        pass_seconds: float,
    ) -> None:
        super().__init__("file collector", seconds)
        self._store = None if host_files is None else host_files.store
        self._db, self._files, self._trash = db, files, Trash(files)
        # With a store each home folder is another one's; those of a common folder take turns.
        duty = DUTY if self._store is None else f"{DUTY} {_host(files)}"
        self._duty = DutyLease(db, duty, seconds=seconds, pass_seconds=pass_seconds)

    def round(self) -> None:
        try:
            if self._duty.take():
                self.collect()
                if self._store is not None:
                    StoreCollector(self._db, self._store).collect(self._duty.renew)
                self._duty.end()
        except DutyLost:
            logger.warning("collecting files: another worker has taken over")
        except (SQLAlchemyError, OSError, StorageUnavailable) as error:
            logger.warning("collecting files: put off: %r", error)

    def collect(self) -> None:
        """Move orphaned artifacts, jobs, data sets and models to the trash; remove temporary files and old trash.

        A database without a job and a data set is not trusted: nothing is an orphan then.
        """
        self._trash.empty()
        clear_abandoned(self._files)
        # Names are listed before the rows: whatever is written meanwhile has its row by then, or is too young.
        jobs, datasets = _names(self._files.jobs, "job_"), _names(self._files.datasets, "ds_")
        models = {name for name in _names(self._files.added_models, "model_") if _id_of(name) == name}
        zips = set(self._remove_temporary())
        known_jobs, known_datasets = self._read(Job.id), self._read(Dataset.id, Dataset.deleted_at.is_(None))
        known_models = self._read(AddedModel.id, AddedModel.deleted_at.is_(None))
        if not known_jobs and not known_datasets:
            return
        # With a store, what a job leaves on this host is the copy of what it left there.
        working = known_jobs if self._store is None else self._read(Job.id, Job.status.in_(UNFINISHED))
        self._move(self._files.jobs / name for name in jobs - working)
        self._move(self._files.datasets / name for name in datasets if _id_of(name) not in known_datasets)
        self._move(self._files.added_models / name for name in models - known_models)
        # In a job that has not ended, the next attempt replaces the zips of a transaction that failed.
        unfinished = self._read(Job.id, Job.status.in_(UNFINISHED))
        orphans = [self._files.resolve(name) for name in zips - self._read(Artifact.path)]
        self._move(path for path in orphans if path.parent.name not in unfinished)
        for name in _names(self._files.artifacts, "job_") - known_jobs | {path.parent.name for path in orphans}:
            with suppress(OSError):  # an artifact is left
                (self._files.artifacts / name).rmdir()

    def _remove_temporary(self) -> list[str]:
        """Remove received messages, and files that a process began to write and never renamed.

        Returns:
            The artifacts that were met on the way, as rows name them.
        """
        before, artifacts = time() - TEMPORARY_SECONDS, self._files.artifacts
        for path in self._files.queue_processed.glob("*.msg"):
            _remove(path, before)
        zips: list[str] = []
        for root in (self._files.datasets, self._files.cache, artifacts):
            within = self._files.relative(root)
            for folder, name in self._watched(_files_within(root)):
                if name.endswith(".partial") or (name.startswith(".") and name.endswith(".tmp")):
                    _remove(root / folder / name, before)
                elif root == artifacts and folder and name.endswith(".zip"):
                    zips.append(f"{within}/{folder}/{name}")
        return zips

    def _read(self, column: Any, *where: ColumnElement[bool]) -> set[str]:
        """Read one column of all rows."""
        with self._db.read() as session:
            return set(session.scalars(select(column).where(*where).execution_options(yield_per=ROWS)))

    def _move(self, orphans: Iterable[Path]) -> None:
        before = time() - ORPHAN_SECONDS
        for path in self._watched(orphans):
            if _modified(path) < before:
                failpoint("collecting")
                self._trash.move(path)

    def _watched(self, files: Iterable[Found]) -> Iterator[Found]:
        """Yield files, and renew the lease on the way."""
        for found in files:
            self._duty.renew()
            yield found


def _host(files: Home) -> str:
    """Identify this host's home folder in 12 letters."""
    return hashlib.sha256(f"{socket.gethostname()} {files.root}".encode()).hexdigest()[:12]


def _names(folder: Path, prefix: str) -> set[str]:
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.name.startswith(prefix)}


def _files_within(root: Path) -> Iterator[tuple[str, str]]:
    """Yield folder and name of each file in a folder and in its folders; the folder is empty for those of the root."""
    with os.scandir(root) as entries:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                yield "", entry.name
                continue
            with suppress(OSError), os.scandir(entry.path) as files:
                yield from ((entry.name, file.name) for file in files if not file.is_dir(follow_symlinks=False))


def _id_of(name: str) -> str:
    return name.partition(".")[0]


def _modified(path: Path) -> float:
    """Return the time of the last change; infinity if the file is gone."""
    with suppress(OSError):
        return path.stat().st_mtime
    return float("inf")


def _remove(path: Path, before: float) -> None:
    with suppress(OSError):
        if path.is_file() and not path.is_symlink() and _modified(path) < before:
            path.unlink()

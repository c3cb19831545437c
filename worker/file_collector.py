"""Remove files of the home folder that no row names: left by processes that died between writing and registering."""

from __future__ import annotations

import logging
import shutil
from contextlib import suppress
from pathlib import Path
from time import time

from sqlalchemy import select

from service.shared.database.engine import Database
from service.shared.database.tables import TERMINAL, Artifact, Dataset, Job
from service.shared.storage.home import Home

logger = logging.getLogger(__name__)

TEMPORARY_SECONDS = 3_600.0  # age from which a temporary file belongs to no running process


class FileCollector:
    """Collect orphaned files."""

    def __init__(self, db: Database, files: Home) -> None:
        self._db, self._files = db, files

    def collect(self) -> None:
        """Remove orphaned artifacts, job folders, data sets and temporary files."""
        self._collect_artifacts(self._files.artifacts)
        self._collect_jobs(self._files.jobs)
        self._collect_datasets(self._files.datasets)
        self._collect_temporary()

    def _collect_artifacts(self, folder: Path) -> None:
        """Remove zips of a transaction that failed; in a job that has not ended, the next attempt replaces them."""
        for job_folder in folder.iterdir():
            zips = [path for path in job_folder.glob("*.zip") if path.is_file()]
            registered = self._registered(job_folder.name)
            if registered is None:
                continue
            for path in zips:
                if path.name not in registered:
                    logger.info("removing %s, which belongs to no job", path)
                    path.unlink(missing_ok=True)
            if not registered:
                with suppress(OSError):
                    job_folder.rmdir()

    def _registered(self, job_id: str) -> set[str] | None:
        """Return the file names of a job's artifacts; None if the job may still register more."""
        with self._db.read() as session:
            status = session.execute(select(Job.status).where(Job.id == job_id)).scalar_one_or_none()
            if status is not None and status not in TERMINAL:
                return None
            paths = session.execute(select(Artifact.path).where(Artifact.job_id == job_id)).scalars()
            return {Path(path).name for path in paths}

    def _collect_jobs(self, folder: Path) -> None:
        """Remove folders of jobs whose deletion was interrupted. A job's row is written before its folder."""
        for job_folder in folder.glob("job_*"):
            with self._db.read() as session:
                known = session.execute(select(Job.id).where(Job.id == job_folder.name)).first()
            if known is None:
                logger.info("removing %s, which belongs to no job", job_folder)
                shutil.rmtree(job_folder, ignore_errors=True)

    def _collect_datasets(self, folder: Path) -> None:
        """Remove rows and images of data sets that were never registered, or whose deletion was interrupted."""
        before = time() - TEMPORARY_SECONDS
        for path in folder.glob("ds_*"):
            with suppress(OSError):
                if path.stat().st_mtime >= before:
                    continue
                with self._db.read() as session:
                    dataset = session.get(Dataset, path.name.partition(".")[0])
                if dataset is not None and dataset.deleted_at is None:
                    continue
                logger.info("removing %s, which belongs to no data set", path)
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _collect_temporary(self) -> None:
        """Remove messages that were received, and files that a process began to write and never renamed."""
        before = time() - TEMPORARY_SECONDS
        for path in self._files.queue_processed.glob("*.msg"):
            _remove(path, before)
        for folder in (self._files.datasets, self._files.artifacts, self._files.cache):
            for pattern in (".*.tmp", "*/.*.tmp", "*.partial", "*/*.partial"):
                for path in folder.glob(pattern):
                    _remove(path, before)


def _remove(path: Path, before: float) -> None:
    with suppress(OSError):
        if path.is_file() and not path.is_symlink() and path.stat().st_mtime < before:
            path.unlink()

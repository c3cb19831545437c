"""What keeps jobs moving when processes and messages get lost. All effects are compare-and-set: any number may run."""

from __future__ import annotations

import logging
import os
import shutil
import socket
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from time import time

from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from service.shared.database.clock import database_now
from service.shared.database.engine import Database
from service.shared.database.tables import TERMINAL, Artifact, Dataset, Job, Worker, now
from service.shared.jobs import states
from service.shared.settings import Settings
from worker.rounds import Rounds

logger = logging.getLogger(__name__)

TEMPORARY_SECONDS = 3_600.0  # older temporary files belong to nobody
FORGET_WORKERS_SECONDS = 86_400.0
COLLECT_EVERY = 20  # sweeps between two looks at the files


class Sweeper(Rounds):
    """Sweeps every `sweep_seconds`, and when it is woken.

    Args:
        worker_id: the id under which the worker claims jobs and is listed.
        devices: what the worker trains on.
        send: sends a wake-up hint for a job; returns at once.
        free: how many more jobs this worker could take. A busy worker sends no hints: nobody would take them, and they
            would pile up in the broker.
    """

    def __init__(
        self,
        settings: Settings,
        db: Database,
        worker_id: str,
        devices: list[str],
        send: Callable[[str], None],
        free: Callable[[], int],
    ) -> None:
        super().__init__("sweeper", settings.sweep_seconds)
        self._settings, self._db, self._send, self._free = settings, db, send, free
        self._worker_id, self._devices = worker_id, devices
        self._started_at = now()
        self._sweeps = 0

    def close(self) -> None:
        """Ends the thread and takes the worker off the list."""
        super().close()
        with suppress(SQLAlchemyError), self._db.write() as session:
            session.execute(delete(Worker).where(Worker.id == self._worker_id))

    def sweep(self) -> None:
        """One round; what a dead database or a strange file prevents is done in the next."""
        steps: list[Callable[[], None]] = [self._show_up, self._expire, self._hint]
        if self._sweeps % COLLECT_EVERY == 0:
            steps += [self.collect]
        self._sweeps += 1
        for step in steps:
            try:
                step()
            except (SQLAlchemyError, OSError) as error:
                logger.warning("sweeping: %s put off: %r", step.__name__.strip("_"), error)

    def collect(self) -> None:
        """Removes files that no row names and nobody will ask for."""
        home = self._settings.resolved_home
        self._collect_artifacts(home / "artifacts")
        self._collect_jobs(home / "jobs")
        self._collect_datasets(home / "datasets")
        folders = [home / "queue" / "processed", *(home / name for name in ("datasets", "artifacts", "cache"))]
        before = time() - TEMPORARY_SECONDS
        for path in folders[0].glob("*.msg"):
            _remove(path, before)
        for folder in folders[1:]:
            for pattern in (".*.tmp", "*/.*.tmp", "*.partial", "*/*.partial"):
                for path in folder.glob(pattern):
                    _remove(path, before)

    def round(self) -> None:
        self.sweep()

    def _show_up(self) -> None:
        with self._db.write() as session:
            moment = database_now(session)
            session.merge(
                Worker(
                    id=self._worker_id,
                    host=socket.gethostname(),
                    pid=os.getpid(),
                    devices=self._devices,
                    started_at=self._started_at,
                    seen_at=moment,
                )
            )
            forgotten = moment - timedelta(seconds=FORGET_WORKERS_SECONDS)
            session.execute(delete(Worker).where(Worker.seen_at < forgotten))

    def _expire(self) -> None:
        with self._db.read() as session:  # on SQLite a look costs no lock that training processes wait for
            if not _any_expired(session):
                return
        with self._db.write() as session:
            queued = states.expire_leases(session)
        if queued:
            logger.warning("workers of these jobs were lost; they are queued again: %s", ", ".join(queued))

    def _hint(self) -> None:
        free = self._free()
        if free <= 0:
            return
        hint_seconds = self._settings.sweep_seconds
        with self._db.read() as session:
            moment, job_ids = states.waiting_for_hint(session, hint_seconds, limit=2 * free)
        for job_id in job_ids:
            with self._db.write() as session:
                taken = states.take_hint(session, job_id, moment, hint_seconds)
            if taken:
                self._send(job_id)

    def _collect_artifacts(self, folder: Path) -> None:
        """Zips whose transaction broke off. Those of a job that goes on are the next attempt's to replace."""
        if not folder.is_dir():
            return
        for job_folder in folder.iterdir():
            zips = [path for path in job_folder.glob("*.zip") if path.is_file()]
            with self._db.read() as session:
                status = session.execute(select(Job.status).where(Job.id == job_folder.name)).scalar_one_or_none()
                if status is not None and status not in TERMINAL:
                    continue
                rows = session.execute(select(Artifact.path).where(Artifact.job_id == job_folder.name)).scalars()
                named = {Path(path).name for path in rows}
            for path in zips:
                if path.name not in named:
                    logger.info("removing %s, which belongs to no job", path)
                    path.unlink(missing_ok=True)
            if not named:
                with suppress(OSError):
                    job_folder.rmdir()

    def _collect_jobs(self, folder: Path) -> None:
        """Folders of jobs that were deleted by a process which then died. A job's row is there before its folder."""
        for job_folder in folder.glob("job_*"):
            with self._db.read() as session:
                known = session.execute(select(Job.id).where(Job.id == job_folder.name)).first()
            if known is None:
                logger.info("removing %s, which belongs to no job", job_folder)
                shutil.rmtree(job_folder, ignore_errors=True)

    def _collect_datasets(self, folder: Path) -> None:
        """Rows and images of data sets that were never registered, or deleted by a process which then died."""
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


def _any_expired(session: Session) -> bool:
    statement = select(Job.id).where(Job.lease_until < database_now(session)).limit(1)
    return session.execute(statement).first() is not None


def _remove(path: Path, before: float) -> None:
    with suppress(OSError):
        if path.is_file() and not path.is_symlink() and path.stat().st_mtime < before:
            path.unlink()

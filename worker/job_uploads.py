"""Bring an attempt's checkpoints and log to the store while it trains on local files.

What is visible in the store is always the whole set of checkpoints that the run kept at one moment: the objects are
written first, then one transaction names them all and forgets the former set. A store that is away delays this and
nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from service.shared.database.engine import Database
from service.shared.database.tables import Checkpoint, Job, StoredFile, now
from service.shared.errors import ServiceError
from service.shared.jobs import states
from service.shared.storage.home import Home
from service.shared.storage.host_files import HostFiles
from service.shared.storage.log_chunks import add_chunk
from service.shared.storage.store_errors import StorageUnavailable

if TYPE_CHECKING:
    from service.shared.storage.object_store import StoredContent

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
LOG_SECONDS = 10.0  # between two chunks of the log at first; more as it gets longer
LONGEST_PAUSE = 60.0  # between two tries while the store is away
LOG_BYTES = 8 << 20  # of one chunk


class JobUploads:
    """Uploads of one attempt, in a thread.

    Args:
        log_begin: bytes of the local log that belong to earlier attempts.
    """

    def __init__(self, files: HostFiles, home: Home, db: Database, job: Job, log_begin: int) -> None:
        self._files, self._home, self._db, self._job = files, home, db, job
        self._folder = home.job(job.id)
        self._prefix = f"{job.project_id}/{job.id}"
        self._contents: dict[str, StoredContent] = {}
        self._visible: set[str] = set()
        self._log_begin = self._log_end = log_begin
        self._chunks, self._log_due = 0, monotonic() + LOG_SECONDS
        self._told = self._stale = False
        self._closing, self._wake = False, Event()
        self._thread = Thread(target=self._run, name=f"uploads-{job.id}", daemon=True)

    def start(self) -> None:
        """Start the thread, unless there is no store."""
        if self._files.store is not None:
            self._thread.start()

    def finish(self, waiting: Callable[[], bool]) -> None:
        """Upload what is left, and end the thread.

        Args:
            waiting: called while that lasts; returns whether it may last longer.
        """
        self._closing = True
        self._wake.set()
        while self._thread.is_alive() and waiting():
            self._thread.join(LOOK_SECONDS)
        self._stale = True  # a thread that is not done writes nothing more

    def _run(self) -> None:
        pause = LOOK_SECONDS
        while not self._stale:
            last = self._closing
            try:
                self._upload_checkpoints()
                self._upload_log(last)
                pause = LOOK_SECONDS
                if last:
                    return
            except StorageUnavailable as error:
                pause = min(2 * pause, LONGEST_PAUSE)
                self._tell(error)
            except (SQLAlchemyError, ServiceError, OSError) as error:  # such as a checkpoint removed while it was read
                pause = min(2 * pause, LONGEST_PAUSE)
                logger.warning("uploads of %s are tried again: %r", self._job.id, error)
            self._wake.wait(pause)
            self._wake.clear()

    def _tell(self, error: StorageUnavailable) -> None:
        """Write one event an attempt: the job goes on, and somebody should look at the store."""
        logger.warning("uploads of %s wait: %s", self._job.id, error)
        if self._told:
            return
        self._told = True
        with self._db.write() as session:
            if (job := self._own(session)) is not None:
                message = f"{error} The training goes on; checkpoints are uploaded when the store is back."
                states.add_event(session, job, "storage_unavailable", message, {"code": error.code})

    def _upload_checkpoints(self) -> None:
        paths = {self._home.relative(path): path for path in self._folder.checkpoints.glob("step-*")}
        if set(paths) == self._visible:
            return
        for name, path in sorted(paths.items()):
            if name not in self._contents and (content := self._files.put(path, self._prefix)) is not None:
                self._contents[name] = content
        with self._db.write() as session:
            gone = self._name_all(session, paths)
        if gone is not None:
            self._files.discard(gone)

    def _name_all(self, session: Session, paths: dict[str, Path]) -> list[str] | None:
        """Replace the visible set of checkpoints; None where it stays: the reports lack one, or others own the job."""
        if self._own(session) is None:
            self._stale = True
            return None
        known = session.scalars(select(Checkpoint.path).where(Checkpoint.job_id == self._job.id)).all()
        reported = {self._home.relative(self._folder.path / path) for path in known}
        if not paths.keys() <= reported:  # the next attempt would resume past metrics that the database lacks
            return None
        own = (StoredFile.owner == self._job.id, StoredFile.name.startswith(f"{self._checkpoints}/", autoescape=True))
        gone = self._files.forget(session, *own, StoredFile.name.not_in(paths))
        for name, path in paths.items():
            if name in self._contents:
                self._files.record(session, path, self._contents[name], self._job.id)
        self._visible = set(paths)
        self._contents = {name: content for name, content in self._contents.items() if name in paths}
        return gone

    @property
    def _checkpoints(self) -> str:
        return self._home.relative(self._folder.checkpoints)

    def _upload_log(self, last: bool) -> None:
        """Upload what was added to the log, in ever longer intervals: an hour has 27 chunks, a day 130."""
        if not last and monotonic() < self._log_due:
            return
        with self._folder.log.open("rb") as log:
            log.seek(self._log_end)
            while data := log.read(LOG_BYTES):
                self._add_chunk(data)
        self._log_due = monotonic() + LOG_SECONDS * (1 + self._chunks)

    def _add_chunk(self, data: bytes) -> None:
        store = self._files.store
        assert store is not None
        begin = self._log_end - self._log_begin
        content = store.put_bytes(data, f"{self._prefix}/log-{self._job.attempt:06d}-{begin:012d}-{now().timestamp()}")
        with self._db.write() as session:
            if self._own(session) is None:
                self._stale = True
                return
            add_chunk(session, self._home, self._job.id, self._job.attempt, begin, content)
        self._log_end += len(data)
        self._chunks += 1

    def _own(self, session: Session) -> Job | None:
        """Lock the job's row; None if another attempt owns the job, or it was deleted."""
        job = session.execute(select(Job).where(Job.id == self._job.id).with_for_update()).scalar_one_or_none()
        return job if job is not None and job.attempt == self._job.attempt else None

"""Bring an attempt's checkpoints, contenders, decompositions and log to the store while it trains on local files.

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

from sqlalchemy import or_, select
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
from worker.decomposition_files import DecompositionUploads
from worker.job_inputs import contender_files

if TYPE_CHECKING:
    from service.shared.storage.object_store import StoredContent

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
LOG_SECONDS = 10.0  # between two uploads of the log's end: what is lost with a host at most
LONGEST_PAUSE = 60.0  # between two tries while the store is away
LOG_BYTES = 256 << 10  # of a complete chunk; the last one is replaced until it has them


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
        self._decompositions = DecompositionUploads(files, home, db, self._folder)
        self._log_begin = self._chunk_begin = self._log_end = log_begin
        self._log_due = monotonic() + LOG_SECONDS
        self._chunk_key: str | None = None
        self._replaced: list[str] = []  # keys of chunks that longer ones have replaced
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
                self._decompositions.upload()
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
        kept = (*self._folder.checkpoints.glob("step-*"), *contender_files(self._folder))
        paths = {self._home.relative(path): path for path in kept}
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
        """Replace the visible set of kept files; None where it stays: the reports lack one, or others own the job."""
        if self._own(session) is None:
            self._stale = True
            return None
        known = session.scalars(select(Checkpoint.path).where(Checkpoint.job_id == self._job.id)).all()
        reported = {self._home.relative(self._folder.path / path) for path in known}
        checkpoints = {name for name, path in paths.items() if path.is_relative_to(self._folder.checkpoints)}
        if not checkpoints <= reported:  # the next attempt would resume past metrics that the database lacks
            return None
        roots = (self._folder.checkpoints, self._folder.comparison)
        within = [StoredFile.name.startswith(f"{self._home.relative(root)}/", autoescape=True) for root in roots]
        gone = self._files.forget(
            session, StoredFile.owner == self._job.id, or_(*within), StoredFile.name.not_in(paths)
        )
        for name, path in paths.items():
            if name in self._contents:
                self._files.record(session, path, self._contents[name], self._job.id)
        self._visible = set(paths)
        self._contents = {name: content for name, content in self._contents.items() if name in paths}
        return gone

    def _upload_log(self, last: bool) -> None:
        """Upload what was added to the log: its last chunk anew, until that is complete."""
        if not last and monotonic() < self._log_due:
            return
        with self._folder.log.open("rb") as log:
            log.seek(self._chunk_begin)
            while (data := log.read(LOG_BYTES)) and not self._stale:
                if self._chunk_begin + len(data) > self._log_end:
                    self._put_chunk(data)
                if len(data) < LOG_BYTES:
                    break
                self._chunk_begin, self._chunk_key = self._log_end, None
        self._log_due = monotonic() + LOG_SECONDS

    def _put_chunk(self, data: bytes) -> None:
        """Put the chunk that begins at `_chunk_begin`, in the place of a shorter one."""
        store = self._files.store
        assert store is not None
        begin = self._chunk_begin - self._log_begin
        content = store.put_bytes(data, f"{self._prefix}/log-{self._job.attempt:06d}-{begin:012d}-{now().timestamp()}")
        with self._db.write() as session:
            if self._own(session) is None:
                self._stale = True
                return
            add_chunk(session, self._home, self._job.id, self._job.attempt, begin, content)
        self._log_end = self._chunk_begin + len(data)
        # A replaced chunk stays until the next upload: somebody may be reading it. The collector takes the last one.
        self._files.discard(self._replaced)
        self._replaced = [] if self._chunk_key is None else [self._chunk_key]
        self._chunk_key = content.key

    def _own(self, session: Session) -> Job | None:
        """Lock the job's row; None if another attempt owns the job, or it was deleted."""
        job = session.execute(select(Job).where(Job.id == self._job.id).with_for_update()).scalar_one_or_none()
        return job if job is not None and job.attempt == self._job.attempt else None

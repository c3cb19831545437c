"""Feeds of watched jobs: one poller and one bounded buffer of frames per job, shared by all its watchers.

A watcher is only a position in the job's sequence. A watcher that starts before the buffer first reads pages from the
database. A watcher that later falls behind the buffer is disconnected, and resumes by reconnecting with
`Last-Event-ID`. So memory does not grow with slow watchers.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from anyio.to_thread import run_sync
from sqlalchemy.exc import SQLAlchemyError

from service.shared.database.engine import Database
from service.shared.database.tables import TERMINAL
from service.shared.storage.home import Home
from service.shared.storage.host_files import HostFiles
from service.stream import repository
from service.stream.frames import END, HEARTBEAT, Frame, frame, state_frame

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
HEARTBEAT_SECONDS = 15.0
PAGE = 500  # rows per query
BUFFER_BYTES = 8 * 1024 * 1024
CHUNK_BYTES = 256 * 1024  # sent to one watcher before the others get their turn


class Feed:
    """Poller and buffer of one job.

    Attributes:
        end: sequence number of the newest frame read.
        begin: sequence number after which every frame is in the buffer.
        state: frame with the job's state.
        version: number of changes of `state`.
        ended: whether no more frames will follow.
        changed: set, and replaced, at each change.
    """

    def __init__(self, db: Database, files: Home | HostFiles, job_id: str, begin: int) -> None:
        self._db, self._files, self._job_id = db, files, job_id
        self.begin = self.end = begin
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self.state = b""
        self.version = 0
        self.ended = False
        self.changed = asyncio.Event()

    async def run(self) -> None:
        """Poll until the job has ended; survive outages of the database."""
        try:
            while not self.ended:
                try:
                    more = await self._poll()
                except SQLAlchemyError as error:
                    logger.warning("the stream of %s waits for the database: %r", self._job_id, error)
                    more = False
                await asyncio.sleep(0 if more else POLL_SECONDS)
        except Exception:
            logger.exception("the stream of %s failed", self._job_id)
        finally:  # whatever ended the poller, no watcher may wait for it
            self.ended = True
            self._wake()

    async def _poll(self) -> bool:
        """Read new rows; return whether more rows can be read at once."""
        frames, state, self.ended = await run_sync(self._read, self.end)
        for entry in frames:
            self._frames.append(entry)
            self._bytes += len(entry.data)
            self.end = entry.seq
        while self._bytes > BUFFER_BYTES:
            old = self._frames.popleft()
            self._bytes -= len(old.data)
            self.begin = old.seq
        if state != self.state:
            self.state, self.version = state, self.version + 1
            self._wake()
        elif frames or self.ended:
            self._wake()
        return len(frames) == PAGE

    def _wake(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def _read(self, after: int) -> tuple[list[Frame], bytes, bool]:
        with self._db.read() as session:
            job = repository.find(session, self._job_id)
            if job is None:  # deleted
                return [], self.state, True
            last, state = job.last_seq, state_frame(job)
            rows = repository.between(session, self._files, self._job_id, after, last, PAGE) if last > after else []
            frames = [frame(row) for row in rows]
        return frames, state, job.status in TERMINAL and len(frames) < PAGE

    def after(self, seq: int) -> list[Frame]:
        """Return the buffered frames after `seq`, up to one chunk; `seq` must not be below `begin`."""
        chunk: list[Frame] = []
        size = 0
        for entry in self._frames:
            if entry.seq > seq:
                chunk.append(entry)
                size += len(entry.data)
                if size >= CHUNK_BYTES:
                    break
        return chunk

    def read_older(self, after: int) -> list[Frame]:
        """Read frames from the database, for a watcher that starts before the buffer."""
        with self._db.read() as session:
            return [frame(row) for row in repository.between(session, self._files, self._job_id, after, self.end, PAGE)]


class Streams:
    """The feeds of one process, one per job with watchers."""

    def __init__(self, db: Database, files: Home | HostFiles) -> None:
        self._db, self._files = db, files
        self._feeds: dict[str, Feed] = {}
        self._polling: dict[str, asyncio.Task[None]] = {}
        self._watchers: Counter[str] = Counter()

    async def watch(self, job_id: str, after: int, last: int) -> AsyncIterator[bytes]:
        """Yield chunks of the stream after the sequence number `after`.

        Args:
            last: the job's newest sequence number, the start of a new feed.
        """
        with self._feed(job_id, last) as feed:
            position = after
            while position < feed.begin:  # frames from before the first watcher
                frames = await run_sync(feed.read_older, position)
                if not frames:
                    position = feed.begin
                    break
                position = frames[-1].seq
                yield b"".join(entry.data for entry in frames)
            async for chunk in _live(feed, position):
                yield chunk

    @contextmanager
    def _feed(self, job_id: str, last: int) -> Iterator[Feed]:
        if job_id not in self._feeds:
            self._feeds[job_id] = feed = Feed(self._db, self._files, job_id, last)
            self._polling[job_id] = asyncio.create_task(feed.run())
        self._watchers[job_id] += 1
        try:
            yield self._feeds[job_id]
        finally:
            self._watchers[job_id] -= 1
            if not self._watchers[job_id]:
                del self._watchers[job_id], self._feeds[job_id]
                self._polling.pop(job_id).cancel()


async def _live(feed: Feed, position: int) -> AsyncIterator[bytes]:
    version = 0
    while True:
        changed = feed.changed
        if position < feed.begin:
            return  # too slow: the next frames have left the buffer
        frames = feed.after(position)
        chunk = b"".join(entry.data for entry in frames)
        if frames:
            position = frames[-1].seq
        if position >= feed.end and version != feed.version:
            version, chunk = feed.version, chunk + feed.state
        if chunk:
            yield chunk
        elif feed.ended:
            yield END
            return
        else:
            try:
                await asyncio.wait_for(changed.wait(), HEARTBEAT_SECONDS)
            except TimeoutError:
                yield HEARTBEAT

"""One poller for each watched job; all who watch the job read what it found.

The last frames are kept in one buffer of bounded size. A watcher is a place in the sequence, nothing more: whoever
begins further back reads pages of the database up to the buffer first, and whoever falls out of it later is dropped,
and goes on where it was by connecting again with `Last-Event-ID`. So memory does not grow with slow watchers.
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
from service.stream import repository
from service.stream.frames import END, HEARTBEAT, Frame, frame, state_frame

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
HEARTBEAT_SECONDS = 15.0
PAGE = 500  # rows that are read at a time
BUFFER_BYTES = 8 * 1024 * 1024
CHUNK_BYTES = 256 * 1024  # that a watcher is sent before the others have a turn


class Feed:
    """What is new on one job.

    Attributes:
        end: sequence number of the newest frame that was read.
        begin: what lies after it is all in the buffer.
    """

    def __init__(self, db: Database, job_id: str, begin: int) -> None:
        self._db, self._job_id = db, job_id
        self.begin = self.end = begin
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self.state = b""
        self.version = 0  # of the state
        self.ended = False  # nothing will follow
        self.changed = asyncio.Event()

    async def run(self) -> None:
        """Polls until the job has ended; an outage of the database is waited out."""
        try:
            while not self.ended:
                try:
                    more = await self._poll()
                except SQLAlchemyError as error:
                    logger.warning("the stream of %s waits for the database: %r", self._job_id, error)
                    more = False
                await asyncio.sleep(0 if more else POLL_SECONDS)
        except Exception:
            logger.exception("the stream of %s broke off", self._job_id)
        finally:  # whatever ended it, nobody may wait for it
            self.ended = True
            self._wake()

    async def _poll(self) -> bool:
        """Reads on; whether there is more to read at once."""
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
            rows = repository.between(session, self._job_id, after, last, PAGE) if last > after else []
            frames = [frame(row) for row in rows]
        return frames, state, job.status in TERMINAL and len(frames) < PAGE

    def after(self, seq: int) -> list[Frame]:
        """Frames past a place that is not before `begin`, as many as make a chunk."""
        found: list[Frame] = []
        size = 0
        for entry in self._frames:
            if entry.seq > seq:
                found.append(entry)
                size += len(entry.data)
                if size >= CHUNK_BYTES:
                    break
        return found

    def read_older(self, after: int) -> list[Frame]:
        """Frames from the database, for one that begins before the buffer."""
        with self._db.read() as session:
            return [frame(row) for row in repository.between(session, self._job_id, after, self.end, PAGE)]


class Streams:
    """The feeds of one process: one for each job that is watched, as long as it is."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._feeds: dict[str, Feed] = {}
        self._polling: dict[str, asyncio.Task[None]] = {}
        self._watchers: Counter[str] = Counter()

    async def watch(self, job_id: str, after: int, last: int) -> AsyncIterator[bytes]:
        """Chunks of the stream past `after`.

        Args:
            last: the job's newest number, at which a feed begins where there is none yet.
        """
        with self._feed(job_id, last) as feed:
            place = after
            while place < feed.begin:  # what was there before the first watcher came
                frames = await run_sync(feed.read_older, place)
                if not frames:
                    place = feed.begin
                    break
                place = frames[-1].seq
                yield b"".join(entry.data for entry in frames)
            async for chunk in _live(feed, place):
                yield chunk

    @contextmanager
    def _feed(self, job_id: str, last: int) -> Iterator[Feed]:
        if job_id not in self._feeds:
            self._feeds[job_id] = feed = Feed(self._db, job_id, last)
            self._polling[job_id] = asyncio.create_task(feed.run())
        self._watchers[job_id] += 1
        try:
            yield self._feeds[job_id]
        finally:
            self._watchers[job_id] -= 1
            if not self._watchers[job_id]:
                del self._watchers[job_id], self._feeds[job_id]
                self._polling.pop(job_id).cancel()


async def _live(feed: Feed, place: int) -> AsyncIterator[bytes]:
    version = 0
    while True:
        changed = feed.changed
        if place < feed.begin:
            return  # too slow: what it has not seen is no longer here
        frames = feed.after(place)
        chunk = b"".join(entry.data for entry in frames)
        if frames:
            place = frames[-1].seq
        if place >= feed.end and version != feed.version:
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

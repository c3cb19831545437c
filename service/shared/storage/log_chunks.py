"""Training logs in the store: chunks in the order in which they were written, over all attempts and hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.shared.database.tables import StoredFile, now
from service.shared.storage.home import Home

if TYPE_CHECKING:
    from service.shared.storage.object_store import ObjectStore, StoredContent


def add_chunk(session: Session, home: Home, job_id: str, attempt: int, begin: int, content: StoredContent) -> None:
    """Name a chunk that was put: that of an attempt which begins at a byte of the attempt's own part of the log."""
    name = f"{_prefix(home, job_id)}{attempt:06d}-{begin:012d}"
    session.merge(StoredFile(name=name, owner=job_id, created_at=now(), **vars(content)))


def log_chunks(session: Session, home: Home, job_id: str) -> list[StoredFile]:
    """Return the chunks of a job's log, in order."""
    own = (StoredFile.owner == job_id, StoredFile.name.startswith(_prefix(home, job_id), autoescape=True))
    return list(session.scalars(select(StoredFile).where(*own).order_by(StoredFile.name)))


def read_chunks(store: ObjectStore, chunks: list[StoredFile], start: int, limit: int) -> bytes:
    """Return at most `limit` bytes of the log from `start`.

    Raises:
        StorageUnavailable, StoredFileGone: a chunk cannot be read.
    """
    found, place, end = b"", 0, start + limit
    for chunk in chunks:
        first, last = max(start - place, 0), min(end - place, chunk.size_bytes)
        if first < last:
            found += b"".join(store.read(chunk.key, first, last))
        place += chunk.size_bytes
    return found


def is_chunk(name: str) -> bool:
    """Return whether a stored file is a chunk of a log, by its name."""
    return "@" in name


def _prefix(home: Home, job_id: str) -> str:
    return f"{home.relative(home.job(job_id).log)}@"

"""Access to the stream of a job."""

from __future__ import annotations

from collections.abc import AsyncIterator

from service.http.context import Caller
from service.jobs.service import get
from service.stream.frames import RETRY


def watch(caller: Caller, job_id: str, after: int | None) -> AsyncIterator[bytes]:
    """Stream a job of the caller's project.

    Raises:
        NotFound: the job does not exist; raised at once, not with the first chunk.
    """
    with caller.db.read() as session:
        last = get(session, caller, job_id).last_seq
    return _chunks(caller, job_id, after, last)


async def _chunks(caller: Caller, job_id: str, after: int | None, last: int) -> AsyncIterator[bytes]:
    yield RETRY
    async for chunk in caller.streams.watch(job_id, after or 0, last):
        yield chunk

"""What a watcher has not seen yet, in the order of the job's one sequence."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from operator import attrgetter

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.shared.database.tables import Event, Job, Metric, SubspaceMap

Row = Metric | Event | SubspaceMap
TABLES: tuple[type[Row], ...] = (Metric, Event, SubspaceMap)


def find(session: Session, job_id: str) -> Job | None:
    return session.get(Job, job_id)


def between(session: Session, job_id: str, after: int, last: int, limit: int) -> Sequence[Row]:
    """The first `limit` rows past `after`, up to `last`.

    `last` is the job's number as it was read before: whatever is committed between the queries for the single tables
    has a higher one, and is left for the next time.
    """
    found: list[list[Row]] = []
    for table in TABLES:
        statement = select(table).where(table.job_id == job_id, table.seq > after, table.seq <= last)
        found.append(list(session.scalars(statement.order_by(table.seq).limit(limit))))
    return list(heapq.merge(*found, key=attrgetter("seq")))[:limit]

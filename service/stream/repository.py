"""Queries on a job's rows in the order of its sequence."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from operator import attrgetter

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.shared.database.tables import Event, Job, MetricRow, SubspaceMap
from service.shared.jobs.metric_archive import find_archive
from service.shared.storage.home import Home
from service.shared.storage.host_files import HostFiles

Row = MetricRow | Event | SubspaceMap
TABLES: tuple[type[Row], ...] = (MetricRow, Event, SubspaceMap)


def find(session: Session, job_id: str) -> Job | None:
    return session.get(Job, job_id)


def between(session: Session, files: Home | HostFiles, job_id: str, after: int, last: int, limit: int) -> Sequence[Row]:
    """Return the first `limit` rows with `after` < seq <= `last`.

    Read `last` from the job before: rows committed between the queries of the tables have higher numbers, and are left
    for the next call.
    """
    per_table: list[list[Row]] = []
    for table in TABLES:
        statement = select(table).where(table.job_id == job_id, table.seq > after, table.seq <= last)
        per_table.append(list(session.scalars(statement.order_by(table.seq).limit(limit))))
    if not per_table[0] and (archive := find_archive(session, files, job_id)) is not None:
        per_table[0] = list(archive.after(after, limit, last=last))
    return list(heapq.merge(*per_table, key=attrgetter("seq")))[:limit]

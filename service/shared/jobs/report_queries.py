"""Queries on a job's metrics, events and subspace maps, shared by API and worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.shared.database.tables import Event, MetricRow, SubspaceMap

Record = TypeVar("Record", MetricRow, Event, SubspaceMap)


def after_seq(session: Session, table: type[Record], job_id: str, after: int, limit: int) -> Sequence[Record]:
    """Return the rows of a job past a sequence number, in order."""
    statement = select(table).where(table.job_id == job_id, table.seq > after)
    return session.scalars(statement.order_by(table.seq).limit(limit)).all()


def metric_names(session: Session, job_id: str) -> list[str]:
    """Collect the names of all values from the first and last rows of each kind; names do not change within a run."""
    names: dict[str, None] = {}
    for kind in ("train", "eval"):
        for order in (MetricRow.seq, MetricRow.seq.desc()):
            of_kind = (
                select(MetricRow).where(MetricRow.job_id == job_id, MetricRow.kind == kind).order_by(order).limit(20)
            )
            for row in session.scalars(of_kind):
                names |= dict.fromkeys(row.values)
    return list(names)

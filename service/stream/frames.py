"""Encoding of rows as server-sent events; `id` is the row's sequence number, returned as `Last-Event-ID`."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel

from service.jobs.report_schemas import EventOut, MetricOut, show_map
from service.jobs.schemas import render
from service.shared.database.tables import Event as EventRow
from service.shared.database.tables import Job, MetricRow
from service.stream.repository import Row

HEARTBEAT = b": still here\n\n"
END = b"event: end\ndata: {}\n\n"
RETRY = b"retry: 2000\n\n"  # milliseconds until a browser reconnects


@dataclass(frozen=True)
class Frame:
    """A row, encoded once for all watchers."""

    seq: int
    data: bytes


def frame(row: Row) -> Frame:
    """Encode a row as its route renders it."""
    if isinstance(row, MetricRow):
        return Frame(row.seq, _encode("metrics", MetricOut.model_validate(row, from_attributes=True), row.seq))
    if isinstance(row, EventRow):
        return Frame(row.seq, _encode("events", EventOut.model_validate(row, from_attributes=True), row.seq))
    return Frame(row.seq, _encode("subspaces", show_map(row), row.seq))


def state_frame(job: Job) -> bytes:
    """Encode the job's current state, without an id: a lost state frame is replaced by the next one."""
    return _encode("state", render(job))


def _encode(event: str, data: BaseModel, seq: int | None = None) -> bytes:
    number = "" if seq is None else f"id: {seq}\n"
    return f"{number}event: {event}\ndata: {data.model_dump_json()}\n\n".encode()

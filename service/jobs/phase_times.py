"""List the phases that a job has gone through, with their seconds, from its events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import pairwise

from service.http.context import Caller
from service.http.openapi import Out
from service.http.paging import Page
from service.jobs import repository
from service.jobs.service import get
from service.shared.database.tables import Event

PHASE = "phase"
# Event of the service -> the phase that begins with it; None ends the last one.
_BEGIN: dict[str, str | None] = {
    "queued": "waiting",
    "resumed": "waiting",
    "requeued": "waiting",
    "started": "starting",
    "paused": "paused",
    "succeeded": None,
    "failed": None,
    "cancelled": None,
}


class PhaseOut(Out):
    """A stretch of a job's time."""

    phase: str
    """waiting (for a worker), fetching_model and fetching (what its host lacks), starting (its process), loading,
    tokenising, decomposing, restoring (a checkpoint), calibrating, training, evaluating, publishing, verifying,
    comparing (with contenders), paused."""
    artifact: str | None
    """The artifact that is published or verified."""
    attempt: int
    """The attempt that it belongs to; 0 before the first."""
    began_at: datetime
    """When it began."""
    seconds: float | None
    """How long it lasted; null while it does."""


def phases(caller: Caller, job_id: str) -> Page[PhaseOut]:
    """List the job's phases, in order."""
    with caller.db.read() as session:
        get(session, caller, job_id)
        events = repository.events_of(session, job_id, (PHASE, *_BEGIN))
    return Page(data=list(between(events)), has_more=False)


def between(events: Iterable[Event]) -> Iterator[PhaseOut]:
    """Yield a phase for each event that begins one, until the event after it."""
    for event, after in pairwise([*events, None]):
        if event is None:
            return
        name: str | None = event.data.get(PHASE) if event.type == PHASE else _BEGIN.get(event.type)
        if name is None:
            continue
        # Several hosts write events, whose clocks may differ.
        seconds = None if after is None else max(0.0, round((after.time - event.time).total_seconds(), 3))
        artifact = event.data.get("artifact") if event.type == PHASE else None
        yield PhaseOut(phase=name, artifact=artifact, attempt=event.attempt, began_at=event.time, seconds=seconds)

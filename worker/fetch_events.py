"""Announce that an attempt fetches something: users see why nothing is trained yet."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import select

from adamss_core.training.phases import EVENT
from service.shared.database.engine import Database
from service.shared.database.tables import Job
from service.shared.jobs import states

FetchPhase = Literal["fetching_model", "fetching"]


def announce_fetch(
    db: Database, job: Job, phase: FetchPhase, message: str, source: Literal["hub", "store"], size_bytes: int = 0
) -> None:
    """Append the event that begins the phase, unless another attempt owns the job."""
    with db.write() as session:
        row = session.execute(select(Job).where(Job.id == job.id).with_for_update()).scalar_one_or_none()
        if row is not None and row.attempt == job.attempt:
            data = {"phase": phase, "source": source} | ({"size_bytes": size_bytes} if size_bytes else {})
            states.add_event(session, row, EVENT, message, data)

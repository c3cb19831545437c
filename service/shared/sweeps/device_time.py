"""Add up the time for which the trials of a sweep have held devices."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.shared.database.tables import Event, Job, now

_ENDS = ("requeued", "paused", "succeeded", "failed", "cancelled")


def device_seconds(session: Session, sweep_id: str) -> float:
    """Return the device seconds of all attempts so far, from the events that begin and end them."""
    told = (
        select(Event.job_id, Event.type, Event.time, Job.devices)
        .join(Job, Job.id == Event.job_id)
        .where(Job.sweep_id == sweep_id, Event.type.in_(("started", *_ENDS)))
        .order_by(Event.job_id, Event.seq)
    )
    begun: dict[str, tuple[datetime, int]] = {}
    total = 0.0
    for job_id, kind, time, devices in session.execute(told):
        if job_id in begun:  # also where an attempt was lost: the next one begins
            since, count = begun.pop(job_id)
            total += count * (time - since).total_seconds()
        if kind == "started":
            begun[job_id] = (time, devices)
    return total + sum(count * (now() - since).total_seconds() for since, count in begun.values())

"""Places of waiting jobs, as the API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from service.http.openapi import Out


class QueuePlaceOut(Out):
    """Where a job stands among all that wait, of all projects, and why it waits."""

    place: int | None
    """The number of its start among all waiting jobs, from 1, as they are expected to start; null where it may not
    start yet, or is further behind than is counted."""
    reason: str
    """Why it waits, in words, such as "needs 2 devices of kind h100: 1 free on one worker"."""
    expected_start: datetime | None = None
    """When it is expected to start, from how long jobs took and are estimated to take; null if that is not known. Jobs
    that are submitted later may pass it."""
    earliest_start: datetime | None = None
    """The start if jobs end as early as one in ten did."""
    latest_start: datetime | None = None
    """The start if jobs end as late as one in ten did."""


class QueuedJobOut(QueuePlaceOut):
    """A job that waits."""

    object: Literal["queued_job"] = "queued_job"
    """Always "queued_job"."""
    id: str
    """Its id."""
    name: str
    """Its name."""
    owner: str | None
    """Name of the key that submitted it."""
    priority: int
    """Its priority."""
    devices: int
    """How many devices it takes at once."""
    device_kind: str | None
    """The kind that these devices must be of; null for any."""
    queued_at: datetime
    """When it last began to wait."""


class QueueOut(Out):
    """The jobs of a project that wait, in the order of their expected starts."""

    object: Literal["list"] = "list"
    """Always "list"."""
    data: list[QueuedJobOut]
    """The jobs of the project; an admin sees those of all."""
    waiting: int
    """Jobs that wait, of all projects."""

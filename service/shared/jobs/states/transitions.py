"""List the transitions of a job, each with the functions that make it.

Tests compare the list with what the functions do, and with the diagram in docs/architecture.md.
"""

from __future__ import annotations

from typing import NamedTuple

from service.shared.database.tables import JobStatus


class Transition(NamedTuple):
    """An arrow of the state machine; `before` is None for a job that is inserted."""

    before: JobStatus | None
    after: JobStatus
    functions: tuple[str, ...]


_RETURN = ("give_back", "expire_leases")

TRANSITIONS = (
    Transition(None, JobStatus.QUEUED, ("submit",)),
    Transition(JobStatus.QUEUED, JobStatus.RUNNING, ("claim",)),
    Transition(JobStatus.QUEUED, JobStatus.PAUSED, ("pause",)),
    Transition(JobStatus.QUEUED, JobStatus.CANCELLED, ("cancel",)),
    Transition(JobStatus.QUEUED, JobStatus.SUCCEEDED, ("stop_early",)),
    Transition(JobStatus.RUNNING, JobStatus.SUCCEEDED, ("succeed",)),
    Transition(JobStatus.RUNNING, JobStatus.FAILED, ("fail", *_RETURN)),
    Transition(JobStatus.RUNNING, JobStatus.QUEUED, _RETURN),
    Transition(JobStatus.RUNNING, JobStatus.PAUSING, ("pause",)),
    Transition(JobStatus.RUNNING, JobStatus.CANCELLING, ("cancel", "stop_early")),
    Transition(JobStatus.PAUSING, JobStatus.PAUSED, _RETURN),
    Transition(JobStatus.PAUSING, JobStatus.SUCCEEDED, ("succeed",)),
    Transition(JobStatus.PAUSING, JobStatus.FAILED, ("fail", *_RETURN)),
    Transition(JobStatus.PAUSING, JobStatus.CANCELLING, ("cancel", "stop_early")),
    Transition(JobStatus.PAUSED, JobStatus.QUEUED, ("resume",)),
    Transition(JobStatus.PAUSED, JobStatus.CANCELLED, ("cancel",)),
    Transition(JobStatus.PAUSED, JobStatus.SUCCEEDED, ("stop_early",)),
    Transition(JobStatus.CANCELLING, JobStatus.CANCELLED, ("fail", *_RETURN)),
    Transition(JobStatus.CANCELLING, JobStatus.SUCCEEDED, ("fail", *_RETURN)),  # of a trial that is stopped early
    Transition(JobStatus.FAILED, JobStatus.QUEUED, ("resume",)),  # of a time limit only
)

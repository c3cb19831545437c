"""Stop a trial of a sweep early: it succeeds with the numbers that it had, and without a model."""

from __future__ import annotations

from typing import Literal

from sqlalchemy.orm import Session

from service.shared.database.tables import Job, JobStatus, Json
from service.shared.jobs.states.record import add_event, compare_and_set, ended, record_end, with_status

StopReason = Literal["halving", "limit"]
_MESSAGES: dict[str, str] = {
    "halving": "The sweep stopped the trial early: others did better by then.",
    "limit": "The sweep stopped the trial early: its limit was reached.",
}


def stop_early(session: Session, job: Job, result: Json, reason: StopReason) -> bool:
    """End a waiting trial at once; ask the worker of a running one to stop. False if the job has ended.

    Args:
        result: of the trial: the numbers that it had.
    """
    waiting = with_status(job.id, JobStatus.QUEUED, JobStatus.PAUSED)
    running = with_status(job.id, JobStatus.RUNNING, JobStatus.PAUSING)
    stopped = result | {"stopped_early": reason}
    values = {"stopped_early": stopped}
    if compare_and_set(session, waiting.values(result=stopped, **values, **ended(JobStatus.SUCCEEDED))):
        session.refresh(job)
        record_early_stop(session, job)
    elif compare_and_set(session, running.values(status=JobStatus.CANCELLING, **values)):
        session.refresh(job)
        add_event(session, job, "stopping", "The worker was asked to stop the trial early.", {"reason": reason})
    else:
        return False
    return True


def record_early_stop(session: Session, job: Job) -> None:
    """Append the event of a trial that has just been stopped early."""
    reason = (job.stopped_early or {})["stopped_early"]
    record_end(session, job, _MESSAGES[reason], {"stopped_early": reason})

"""Make the transitions of an attempt: claim a job, renew its lease, and end the attempt or the job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from adamss_core.spec.spec_versions import CHECKPOINT_FORMATS
from service.shared.database.clock import database_now
from service.shared.database.tables import LEASED, Event, Job, JobStatus, Json, now
from service.shared.jobs import device_use
from service.shared.jobs.device_rows import hold, named
from service.shared.jobs.states.early_stop import record_early_stop
from service.shared.jobs.states.record import (
    add_event,
    compare_and_set,
    compare_and_take,
    ended,
    leased,
    record_end,
    with_status,
    write_event,
)
from service.shared.jobs.states.waiting import lock_room, may_run

# The attempt's checkpoints are for workers of this version and later ones.
_CHECKPOINTS_SINCE = CHECKPOINT_FORMATS[max(CHECKPOINT_FORMATS)]

LOST_WORKER = {
    "code": "worker_lost",
    "message": "The worker that ran the job was lost.",
    "hint": "Look at the worker's log and the machine's memory; once its `retries` are used up, submit the job again.",
}

PREEMPTED = {
    "code": "preempted",
    "message": "A job of a higher priority took the devices.",
    "hint": "The job resumes at its checkpoint by itself. preemptible: false keeps a job from making room.",
}


def claim(
    session: Session,
    job_id: str,
    worker: str,
    lease_seconds: float,
    running_jobs: int | None = None,
    devices: Sequence[str] = (),
    share: int | None = None,
) -> Job | None:
    """Claim a queued job under a new attempt; None if it cannot be claimed.

    Args:
        running_jobs: the limit of running jobs for a project without a limit of its own.
        devices: keys of the devices that it holds, whose locks the worker has taken.
        share: bytes that it takes of a device that it shares; None if it has its devices alone.
    """
    moment = database_now(session)
    room = lock_room(session, job_id, running_jobs, moment)
    if room is None:
        return None
    attempt, runs_on = room.attempt + 1, named(session, worker, devices)
    claimable = with_status(job_id, JobStatus.QUEUED).where(Job.attempt == room.attempt, *may_run(moment))
    job = compare_and_take(
        session,
        claimable.values(
            status=JobStatus.RUNNING,
            attempt=attempt,
            worker=worker,
            runs_on={"attempt": attempt, "devices": runs_on},
            spec_version=case((Job.spec_version < _CHECKPOINTS_SINCE, _CHECKPOINTS_SINCE), else_=Job.spec_version),
            lease_until=moment + timedelta(seconds=lease_seconds),
            started_at=func.coalesce(Job.started_at, now()),
            not_before=None,
            error=None,
            reserved_for=None,
            metered_at=moment,
            preempted_by=None,
            last_seq=Job.last_seq + 1,  # of the event below: the row is written once, with all its indexes
        ),
    )
    if job is None:
        return None
    device_use.begin(session, room.project, job, moment)
    hold(session, devices, job_id, share)
    of_devices = {"devices": [device["name"] for device in runs_on]} if runs_on else {}
    write_event(session, job, "started", f"Attempt {attempt} runs.", {"worker": worker, **of_devices})
    return job


def renew(session: Session, job_id: str, attempt: int, lease_seconds: float) -> JobStatus | None:
    """Extend the lease; return the status, which tells the worker to pause or stop. None: the lease is lost."""
    until = database_now(session) + timedelta(seconds=lease_seconds)
    if not compare_and_set(session, leased(job_id, attempt).values(lease_until=until)):
        return None
    return session.execute(select(Job.status).where(Job.id == job_id)).scalar_one()


def succeed(session: Session, job_id: str, attempt: int, result: Json) -> bool:
    """End the job as succeeded; False if it was cancelled or the lease lost: the caller then publishes nothing."""
    statement = leased(job_id, attempt, JobStatus.RUNNING, JobStatus.PAUSING)
    job = compare_and_take(session, statement.values(result=result, **ended(JobStatus.SUCCEEDED)))
    if job is None:
        return False
    device_use.end(session, job)
    reports = job.evaluates is not None or job.inspects is not None
    made = "its report is ready" if reports else "its artifacts are ready"
    record_end(session, job, f"The job is done; {made}.", {})
    return True


def fail(session: Session, job_id: str, attempt: int, error: Json, result: Json | None = None) -> bool:
    """End the job as failed, without a retry; a job that is being cancelled becomes cancelled instead.

    Args:
        result: of a run that has published, though an artifact failed or its time limit ended it. None keeps the one
            that an earlier end or report has left.
    """
    statement = leased(job_id, attempt, JobStatus.RUNNING, JobStatus.PAUSING)
    found = {} if result is None else {"result": result}
    job = compare_and_take(session, statement.values(error=error, **found, **ended(JobStatus.FAILED)))
    if job is None:
        return give_back(session, job_id, attempt, charge=False)
    device_use.end(session, job)
    record_end(session, job, error["message"], error)
    return True


def give_back(
    session: Session,
    job_id: str,
    attempt: int,
    *,
    charge: bool,
    error: Json | None = None,
    delay: float = 0.0,
    step: int | None = None,
    spec_version: int = 1,
) -> bool:
    """End the attempt but not the job: queue it again, or complete a requested cancel or pause.

    Args:
        charge: count the attempt against `retries`; past them the job fails with `error`.
        delay: seconds before the job may be claimed again.
        step: last completed step of the attempt, None if it completed none: see `last_charged`.
        spec_version: leave the job to workers of at least this version from now on.
    """
    statement = select(Job).where(Job.id == job_id, Job.attempt == attempt, Job.status.in_(LEASED))
    job = session.execute(statement.with_for_update()).scalar_one_or_none()
    if job is None:
        return False
    job.spec_version = max(job.spec_version, spec_version)
    _release(session, job, _Return(charge, error, delay, step))
    return True


def last_charged(session: Session, job_id: str) -> Json | None:
    """Return `reason` and `step` of the last charged attempt; None before the first."""
    returned = select(Event.data).where(Event.job_id == job_id, Event.type == "requeued").order_by(Event.seq.desc())
    return next((data for data in session.scalars(returned) if data["charged"]), None)


def expire_leases(session: Session) -> list[str]:
    """Give back every job whose lease has expired; return the ids that are queued again."""
    statement = select(Job).where(Job.status.in_(LEASED), Job.lease_until < database_now(session))
    expired = session.scalars(statement.order_by(Job.project_id, Job.id).with_for_update(skip_locked=True)).all()
    for job in expired:
        add_event(session, job, "worker_lost", f"Nothing was heard from worker {job.worker} in time.", {})
        _release(session, job, _Return(charged=True, reason=LOST_WORKER))
    return [job.id for job in expired if job.status == JobStatus.QUEUED]


@dataclass(frozen=True)
class _Return:
    """How an attempt ended that did not end its job; arguments of `give_back`."""

    charged: bool
    reason: Json | None
    delay: float = 0.0
    step: int | None = None


def _release(session: Session, job: Job, returned: _Return) -> None:
    """Take the lease off a locked row and move it on."""
    device_use.end(session, job)
    job.worker = job.lease_until = job.hinted_at = job.eta_seconds = None
    if job.status == JobStatus.CANCELLING and job.stopped_early is not None:
        job.status, job.result, job.ended_at = JobStatus.SUCCEEDED, job.stopped_early, now()
        record_early_stop(session, job)
        return
    if job.status == JobStatus.CANCELLING:
        job.status, job.ended_at = JobStatus.CANCELLED, now()
        record_end(session, job, "The job was cancelled.", {})
        return
    job.failures += returned.charged
    if returned.charged and job.failures > job.retries:
        job.status, job.error, job.ended_at = JobStatus.FAILED, returned.reason, now()
        reason = returned.reason or LOST_WORKER
        record_end(session, job, reason["message"], reason)
    elif job.status == JobStatus.PAUSING:
        job.status = JobStatus.PAUSED
        add_event(session, job, "paused", "The job is paused at its last checkpoint.", {})
    else:
        _queue_again(session, job, returned)


def _queue_again(session: Session, job: Job, returned: _Return) -> None:
    """Queue a job whose attempt has ended; one that made room for a higher priority keeps its place among equals."""
    job.status = JobStatus.QUEUED
    if job.preempted_by is None:
        job.queued_at = now()
    elif not returned.charged and returned.reason is None:
        returned = replace(returned, reason=PREEMPTED)
    job.preempted_by = None
    delay = timedelta(seconds=returned.delay)
    job.not_before = database_now(session) + delay if returned.delay else None
    data = {
        "charged": returned.charged,
        "reason": returned.reason,
        "step": returned.step,
        "delay_seconds": round(returned.delay, 1),
    }
    add_event(session, job, "requeued", "The job waits for a worker again.", data)

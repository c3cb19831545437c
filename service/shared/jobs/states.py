"""The job state machine. Every change of a job's status is made here, by compare-and-set.

    queued -> running -> succeeded | failed | cancelled
    running -> pausing -> paused -> queued, and queued -> paused at once
    running -> cancelling -> cancelled
    running, pausing, cancelling -> queued, paused, cancelled when the lease is lost or given back

`attempt` is the fencing token: what a worker writes carries the attempt it was given, and is dropped once another
attempt has begun. A function that returns None or False changed nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, Update, func, or_, select, update
from sqlalchemy.orm import Session

from service.shared.database.clock import database_now
from service.shared.database.tables import HELD, TERMINAL, Event, Job, JobStatus, Json, Project, now
from service.shared.errors import Conflict
from service.shared.jobs.webhooks import announce

FULL_SECONDS = 10.0  # until jobs are looked at again that waited because their project ran as many as it may

LOST_WORKER = {
    "code": "worker_lost",
    "message": "The worker that ran the job was lost, more often than `retries` allows.",
    "hint": "Look at the worker's log and the machine's memory; then submit the job again.",
}


def claim(
    session: Session, job_id: str, worker: str, lease_seconds: float, running_jobs: int | None = None
) -> Job | None:
    """queued -> running under a new attempt; None where the job is not there to be taken.

    Args:
        running_jobs: how many of a project may run at a time, where the project has no number of its own.
    """
    moment = database_now(session)
    if not _has_room(session, job_id, running_jobs):
        return None
    changed = _set(
        session,
        update(Job)
        .where(Job.id == job_id, *may_run(moment))
        .values(
            status=JobStatus.RUNNING,
            attempt=Job.attempt + 1,
            worker=worker,
            lease_until=moment + timedelta(seconds=lease_seconds),
            started_at=func.coalesce(Job.started_at, now()),
            not_before=None,
            error=None,
        ),
    )
    return session.get(Job, job_id, populate_existing=True) if changed else None


def may_run(moment: datetime) -> tuple[ColumnElement[bool], ...]:
    """Conditions on a job that waits for nothing but a worker."""
    return Job.status == JobStatus.QUEUED, or_(Job.not_before.is_(None), Job.not_before <= moment)


def oldest_waiting(session: Session) -> str | None:
    """The job that could be claimed and has waited longest."""
    statement = select(Job.id).where(*may_run(database_now(session))).order_by(Job.queued_at).limit(1)
    return session.execute(statement).scalar_one_or_none()


def _has_room(session: Session, job_id: str, running_jobs: int | None) -> bool:
    """Whether the job's project may run one more. If not, what it has waiting is set back a little, so that the
    sweepers look at other projects' jobs."""
    statement = select(Project).join(Job, Job.project_id == Project.id).where(Job.id == job_id)
    project = session.scalars(statement.with_for_update(key_share=True, of=Project)).one_or_none()
    limit = running_jobs if project is None or project.max_running_jobs is None else project.max_running_jobs
    if project is None or limit is None:
        return True
    own = Job.project_id == project.id
    running = session.execute(select(func.count()).select_from(Job).where(own, Job.status.in_(HELD))).scalar_one()
    if running < limit:
        return True
    later = database_now(session) + timedelta(seconds=FULL_SECONDS)
    waiting = update(Job).where(own, Job.status == JobStatus.QUEUED, func.coalesce(Job.not_before, now()) < later)
    session.execute(waiting.values(not_before=later).execution_options(synchronize_session=False))
    return False


def renew(session: Session, job_id: str, attempt: int, lease_seconds: float) -> JobStatus | None:
    """Renews the lease; the status tells what is asked of the worker. None: the job is no longer this worker's."""
    moment = database_now(session)
    if not _set(session, _held(job_id, attempt).values(lease_until=moment + timedelta(seconds=lease_seconds))):
        return None
    return session.execute(select(Job.status).where(Job.id == job_id)).scalar_one()


def succeed(session: Session, job_id: str, attempt: int, result: Json) -> bool:
    """running -> succeeded. False where the job was cancelled or taken away meanwhile: publish nothing then."""
    statement = _held(job_id, attempt).where(Job.status.in_((JobStatus.RUNNING, JobStatus.PAUSING)))
    if not _set(session, statement.values(status=JobStatus.SUCCEEDED, result=result, **_ended())):
        return False
    announce(session, session.get_one(Job, job_id, populate_existing=True))
    return True


def fail(session: Session, job_id: str, attempt: int, error: Json) -> bool:
    """running -> failed for good."""
    statement = _held(job_id, attempt).where(Job.status != JobStatus.CANCELLING)
    if _set(session, statement.values(status=JobStatus.FAILED, error=error, **_ended())):
        announce(session, session.get_one(Job, job_id, populate_existing=True))
        return True
    return give_back(session, job_id, attempt, charge=False)


def give_back(
    session: Session,
    job_id: str,
    attempt: int,
    *,
    charge: bool,
    error: Json | None = None,
    delay: float = 0.0,
    step: int | None = None,
) -> bool:
    """Ends an attempt without ending the job: back to the queue, or to where a cancel or pause was heading.

    Args:
        charge: count the attempt against `retries`; past them the job fails with `error`.
        delay: seconds before it may be claimed again.
        step: the last one that was made, None where none was: see `last_charged`.
    """
    job = session.execute(
        select(Job).where(Job.id == job_id, Job.attempt == attempt, Job.status.in_(HELD)).with_for_update()
    ).scalar_one_or_none()
    if job is None:
        return False
    _release(session, job, charge=charge, error=error, delay=delay, step=step)
    return True


def last_charged(session: Session, job_id: str) -> Json | None:
    """`reason` and `step` of the last attempt that was charged; None before the first."""
    returned = select(Event.data).where(Event.job_id == job_id, Event.type == "requeued").order_by(Event.seq.desc())
    return next((data for data in session.scalars(returned) if data["charged"]), None)


def expire_leases(session: Session) -> list[str]:
    """Gives back every job whose worker has not been heard from; returns the ids that are queued again."""
    expired = session.execute(
        select(Job)
        .where(Job.status.in_(HELD), Job.lease_until < database_now(session))
        .order_by(Job.id)
        .with_for_update(skip_locked=True)
    ).scalars()
    queued = []
    for job in expired.all():
        add_event(session, job, "worker_lost", f"Nothing was heard from worker {job.worker} in time.", {})
        _release(session, job, charge=True, error=LOST_WORKER)
        if job.status == JobStatus.QUEUED:
            queued.append(job.id)
    return queued


def cancel(session: Session, job: Job) -> None:
    """Ends a waiting job at once, and asks the worker of a running one to stop.

    Raises:
        Conflict: the job has ended already.
    """
    _require(job, job.status not in TERMINAL, "cancelled")
    waiting = (JobStatus.QUEUED, JobStatus.PAUSED)
    ended = {"status": JobStatus.CANCELLED, **_ended()}
    if _set(session, update(Job).where(Job.id == job.id, Job.status.in_(waiting)).values(**ended)):
        session.refresh(job)
        add_event(session, job, "cancelled", "The job was cancelled before it ran on.", {})
        announce(session, job)
    elif _set(
        session,
        update(Job)
        .where(Job.id == job.id, Job.status.in_((JobStatus.RUNNING, JobStatus.PAUSING)))
        .values(status=JobStatus.CANCELLING),
    ):
        session.refresh(job)
        add_event(session, job, "cancelling", "The worker was asked to stop the job.", {})
    else:
        session.refresh(job)
        _require(job, job.status == JobStatus.CANCELLING, "cancelled")


def pause(session: Session, job: Job) -> None:
    """Holds a waiting job back, and asks the worker of a running one to write a checkpoint and stop.

    Raises:
        Conflict: the job has ended, is being cancelled, or is paused already.
    """
    waits = update(Job).where(Job.id == job.id, Job.status == JobStatus.QUEUED)
    runs = update(Job).where(Job.id == job.id, Job.status == JobStatus.RUNNING)
    if _set(session, waits.values(status=JobStatus.PAUSED, not_before=None, hinted_at=None)):
        session.refresh(job)
        add_event(session, job, "paused", "The job was paused before it ran on.", {})
    elif _set(session, runs.values(status=JobStatus.PAUSING)):
        session.refresh(job)
        add_event(session, job, "pausing", "The worker was asked to write a checkpoint and stop.", {})
    else:
        session.refresh(job)
        _require(job, job.status == JobStatus.PAUSING, "paused")


def resume(session: Session, job: Job) -> None:
    """paused -> queued.

    Raises:
        Conflict: the job is not paused.
    """
    moment = database_now(session)
    paused = update(Job).where(Job.id == job.id, Job.status == JobStatus.PAUSED)
    changed = _set(session, paused.values(status=JobStatus.QUEUED, queued_at=now(), hinted_at=moment, not_before=None))
    session.refresh(job)
    _require(job, changed, "resumed")
    add_event(session, job, "resumed", "The job waits for a worker again.", {})


def add_event(session: Session, job: Job, kind: str, message: str, data: dict[str, Any]) -> None:
    """Appends an event under the job's next sequence number; the caller holds the row's lock."""
    job.last_seq += 1
    session.flush()
    session.add(
        Event(job_id=job.id, seq=job.last_seq, attempt=job.attempt, time=now(), type=kind, message=message, data=data)
    )


def _release(
    session: Session, job: Job, *, charge: bool, error: Json | None, delay: float = 0.0, step: int | None = None
) -> None:
    job.worker = job.lease_until = job.hinted_at = job.eta_seconds = None
    if job.status == JobStatus.CANCELLING:
        job.status, job.ended_at = JobStatus.CANCELLED, now()
        add_event(session, job, "cancelled", "The job was cancelled.", {})
        announce(session, job)
        return
    if charge:
        job.failures += 1
        if job.failures > job.retries:
            job.status, job.error, job.ended_at = JobStatus.FAILED, error, now()
            add_event(session, job, "failed", (error or LOST_WORKER)["message"], error or LOST_WORKER)
            announce(session, job)
            return
    if job.status == JobStatus.PAUSING:
        job.status = JobStatus.PAUSED
        add_event(session, job, "paused", "The job is paused at its last checkpoint.", {})
        return
    job.status, job.queued_at = JobStatus.QUEUED, now()
    job.not_before = database_now(session) + timedelta(seconds=delay) if delay else None
    data = {"charged": charge, "reason": error, "step": step, "delay_seconds": round(delay, 1)}
    add_event(session, job, "requeued", "The job waits for a worker again.", data)


def _held(job_id: str, attempt: int) -> Update:
    return update(Job).where(Job.id == job_id, Job.attempt == attempt, Job.status.in_(HELD))


def _ended() -> dict[str, Any]:
    return {"ended_at": now(), "lease_until": None, "eta_seconds": None}


def _set(session: Session, statement: Update) -> bool:
    result: CursorResult[Any] = session.execute(statement.execution_options(synchronize_session=False))  # type: ignore[assignment]
    return result.rowcount == 1


def _require(job: Job, allowed: bool, wish: str) -> None:
    if not allowed:
        raise Conflict(f"A job that is {job.status} cannot be {wish}.", code=f"job_{job.status}", param="status")

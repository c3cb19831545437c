"""Make the transitions that users ask for: submit, cancel, pause, resume."""

from __future__ import annotations

from sqlalchemy.orm import Session

from adamss_core.spec import EVALUATION_VERSION
from adamss_core.spec.plan import TIME_LIMIT
from service.shared.database.clock import database_now
from service.shared.database.tables import TERMINAL, Job, JobStatus, Json, now
from service.shared.errors import Conflict
from service.shared.ids import new_id
from service.shared.jobs.states.fitting import ONE_DEVICE, Needs
from service.shared.jobs.states.record import add_event, compare_and_set, ended, record_end, with_status


def submit(
    session: Session,
    project_id: str,
    *,
    name: str,
    spec: Json,
    resolved: Json,
    retries: int,
    total_steps: int,
    evaluates: str | None = None,
    inspects: str | None = None,
    spec_version: int = 1,
    priority: int = 0,
    preemptible: bool = True,
    owner: str | None = None,
    needs: Needs = ONE_DEVICE,
) -> Job:
    """Insert a queued job.

    Args:
        spec: as sent.
        resolved: the plan: the spec with defaults filled in, steps, estimate.
        evaluates: id of the job whose model is evaluated; nothing is trained then.
        inspects: key of the spectrum that is measured; nothing is trained then.
        spec_version: least version of the spec that a worker must understand.
        owner: name of the key that submits it.
        needs: of the worker that claims it.
    """
    moment = now()
    job = Job(
        id=new_id("job"),
        project_id=project_id,
        name=name,
        status=JobStatus.QUEUED,
        spec=spec,
        resolved=resolved,
        created_at=moment,
        queued_at=moment,
        hinted_at=database_now(session),  # the caller sends the hint right after the commit
        retries=retries,
        total_steps=total_steps,
        evaluates=evaluates,
        inspects=inspects,
        spec_version=spec_version if evaluates is None and inspects is None else max(spec_version, EVALUATION_VERSION),
        rank=-priority,
        preemptible=preemptible,
        owner=owner,
        devices=needs.devices,
        device_kind=needs.kind,
        device_memory=needs.memory,
        attempt=0,
        failures=0,
        step=0,
        epoch=0.0,
        last_seq=0,
    )
    session.add(job)
    session.flush()
    add_event(session, job, "queued", "The job waits for a worker.", {})
    return job


def cancel(session: Session, job: Job) -> None:
    """Cancel a waiting job at once; ask the worker of a running one to stop.

    Raises:
        Conflict: the job has ended already.
    """
    _require(job, job.status not in TERMINAL, "cancelled")
    waiting = with_status(job.id, JobStatus.QUEUED, JobStatus.PAUSED)
    running = with_status(job.id, JobStatus.RUNNING, JobStatus.PAUSING)
    if compare_and_set(session, waiting.values(**ended(JobStatus.CANCELLED))):
        session.refresh(job)
        record_end(session, job, f"The job was cancelled before it {_ran(job)}.", {})
    elif compare_and_set(session, running.values(status=JobStatus.CANCELLING)):
        session.refresh(job)
        add_event(session, job, "cancelling", "The worker was asked to stop the job.", {})
    else:
        session.refresh(job)
        _require(job, job.status == JobStatus.CANCELLING, "cancelled")


def pause(session: Session, job: Job) -> None:
    """Pause a waiting job at once; ask the worker of a running one to write a checkpoint and stop.

    Raises:
        Conflict: the job has ended, is being cancelled, or is paused already.
    """
    waiting = with_status(job.id, JobStatus.QUEUED)
    running = with_status(job.id, JobStatus.RUNNING)
    if compare_and_set(session, waiting.values(status=JobStatus.PAUSED, not_before=None, hinted_at=None)):
        session.refresh(job)
        add_event(session, job, "paused", f"The job was paused before it {_ran(job)}.", {})
    elif compare_and_set(session, running.values(status=JobStatus.PAUSING)):
        session.refresh(job)
        add_event(session, job, "pausing", "The worker was asked to write a checkpoint and stop.", {})
    else:
        session.refresh(job)
        _require(job, job.status == JobStatus.PAUSING, "paused")


def is_resumable(job: Job) -> bool:
    """Return whether the job can be resumed: it is paused, or its time limit has ended its training."""
    at_limit = job.status == JobStatus.FAILED and (job.error or {}).get("code") == TIME_LIMIT
    return job.status == JobStatus.PAUSED or (at_limit and job.evaluates is None and job.inspects is None)


def resume(session: Session, job: Job, time_limit_seconds: float | None = None, devices: int | None = None) -> None:
    """Queue a paused job again, or one that its time limit has ended; the caller holds its lock and sends the hint.

    What the job has published stays until its next end replaces it.

    Args:
        time_limit_seconds: the new limit, for the event; None where it stays.
        devices: their new number, likewise.

    Raises:
        Conflict: the job cannot be resumed.
    """
    moment = database_now(session)
    queued = {"status": JobStatus.QUEUED, "queued_at": now(), "hinted_at": moment, "not_before": None}
    began = with_status(job.id, job.status).values(**queued, ended_at=None, error=None)
    changed = is_resumable(job) and compare_and_set(session, began)
    session.refresh(job)
    _require(job, changed, "resumed")
    changes = {"time_limit_seconds": time_limit_seconds, "devices": devices}
    data = {name: value for name, value in changes.items() if value is not None}
    add_event(session, job, "resumed", "The job waits for a worker again.", data)


def _ran(job: Job) -> str:
    return "ran on" if job.attempt else "ran"


def _require(job: Job, allowed: bool, verb: str) -> None:
    if not allowed:
        raise Conflict(f"A job that is {job.status} cannot be {verb}.", code=f"job_{job.status}", param="status")

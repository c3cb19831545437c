"""Resume a paused job, or one that its time limit has ended."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from adamss_core.spec.job import TimeLimit
from adamss_core.spec.resources_spec import MOST_DEVICES
from service.http.context import Caller
from service.jobs import repository
from service.jobs.other_devices import move, plan_devices
from service.jobs.schemas import JobOut
from service.jobs.service import describe, get, lock_inputs, refuse_trial
from service.jobs.time_limit import SETTING, SPEC_FIELD, effective_limit, planned_limit
from service.projects.service import check_submit
from service.shared.database.tables import Job, JobStatus
from service.shared.errors import Conflict, InvalidRequest
from service.shared.jobs import states
from service.shared.jobs.planned_spec import planned_spec
from service.shared.settings import Settings


class ResumeResources(BaseModel):
    """What a job runs on from now on."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    devices: int = Field(ge=1, le=MOST_DEVICES, strict=True)
    """Devices to train on together: the checkpoint fits any number, and the steps stay the same."""


class ResumeIn(BaseModel):
    """What changes for the rest of a job."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    time_limit_seconds: TimeLimit | None = None
    """A new limit in place of the spec's `time_limit_seconds`, for all attempts together. A job that its limit has
    ended needs a larger one."""
    resources: ResumeResources | None = None
    """Devices in place of the spec's `resources.devices`."""


def resume(caller: Caller, job_id: str, payload: ResumeIn | None) -> JobOut:
    """Queue the job again, to resume from its checkpoint on whichever worker is free.

    Raises:
        Conflict: the job is neither paused nor ended by its time limit, its checkpoints were removed, or it is a trial,
            which its sweep resumes.
        InvalidRequest: the limit does not exceed what is used up, a data set was deleted since, or no worker has the
            devices or the memory.
        TooManyRequests, TooLarge: the project's queue or storage is full.
    """
    limit = None if payload is None else payload.time_limit_seconds
    devices = None if payload is None or payload.resources is None else payload.resources.devices
    moved = None if devices is None else plan_devices(caller, job_id, devices)
    with caller.db.write() as session:
        job = get(session, caller, job_id, lock=True)
        refuse_trial(session, job, "resumed")
        if job.status == JobStatus.FAILED and states.is_resumable(job):
            _require_more_time(caller.settings, job, limit)
            _require_checkpoint(session, job)
            check_submit(session, caller.settings, caller.project_id)
            lock_inputs(session, caller, planned_spec(job))
        states.resume(session, job, limit, devices)
        _replan(session, caller.settings, job, limit)
        if moved is not None:
            move(session, job, moved, caller.settings.lease_seconds)
        answer = describe(session, caller, job)
    caller.hints.send(job_id)
    return answer


def _require_more_time(settings: Settings, job: Job, limit: float | None) -> None:
    before = max(planned_limit(settings, job.resolved), (job.result or {}).get("time_used_seconds") or 0.0)
    own = limit if limit is not None else job.resolved["spec"].get(SPEC_FIELD)
    after = effective_limit(settings, own)
    if after > before:
        return
    operators = own is None or own > after
    remedy = f"Ask the operator for a larger {SETTING}." if operators else f"Give {SPEC_FIELD} above {before:,.0f}."
    message = f"The job has used {before:,.0f} s of training, and would have {after:,.0f} s in all."
    raise InvalidRequest(f"{message} {remedy}", code="time_limit_too_small", param=SPEC_FIELD)


def _require_checkpoint(session: Session, job: Job) -> None:
    if job.step and not repository.checkpoints(session, job.id):
        raise Conflict(
            "The checkpoints of the job were removed when the time to keep them was over. Submit it again; init_from "
            "starts it from this job's adapter.",
            code="checkpoints_gone",
        )


def _replan(session: Session, settings: Settings, job: Job, limit: float | None) -> None:
    """Write the limits into spec and plan, which the run and later clones of the job read."""
    resolved: dict[str, Any] = job.resolved
    own = limit if limit is not None else resolved.get("spec", {}).get(SPEC_FIELD)
    if limit is not None:
        job.spec = job.spec | {SPEC_FIELD: limit}
        resolved = resolved | {"spec": resolved["spec"] | {SPEC_FIELD: limit}}
    job.resolved = resolved | {SPEC_FIELD: effective_limit(settings, own)}
    session.flush()

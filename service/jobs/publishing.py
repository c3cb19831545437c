"""Publish a checkpoint of a job: a job of its own, which trains nothing and writes the artifacts."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from adamss_core.spec import EVALUATION_VERSION, needed_version, without_unused
from adamss_core.spec.job import ArtifactName, StartingPoint
from service.http.context import Caller
from service.jobs import repository
from service.jobs.device_needs import needs_alone, one_device_warnings, with_one_device
from service.jobs.service import Submitted, create, digest_of, earlier_job, get, lock_inputs
from service.projects.service import check_submit
from service.shared.database.tables import TERMINAL, Job
from service.shared.errors import Conflict, NotFound
from service.shared.jobs import states
from service.shared.jobs.planned_spec import planned_spec

PLANNED = ("auto", "estimate", "schedule")  # of the plan of the job that trained
ALL: list[ArtifactName] = ["adapter", "lora", "merged"]


class PublishIn(BaseModel):
    """What is made of a checkpoint."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    artifacts: Annotated[list[ArtifactName], Field(min_length=1, max_length=3)] = ALL
    """Artifacts to write."""
    name: Annotated[str, Field(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f\x7f]+$")] | None = None
    """A name for people; by default that of the job and the step."""


def publish(
    caller: Caller, job_id: str, step: int, payload: PublishIn | None, idempotency_key: str | None
) -> Submitted:
    """Queue a job that evaluates a checkpoint and writes its artifacts.

    Raises:
        NotFound: the job keeps no such checkpoint.
        Conflict: the job has not ended, or trains nothing.
        InvalidRequest: one of its data sets does not exist any more.
    """
    payload = payload or PublishIn()
    digest = digest_of(payload, job_id, str(step))
    if (earlier := earlier_job(caller, idempotency_key, digest)) is not None:
        return earlier
    with caller.db.read() as session:
        job = get(session, caller, job_id)
        _require_checkpoint(session, job, step)

    def insert(session: Session) -> Job:
        return _insert(session, caller, job, step, payload)

    return create(caller, insert, idempotency_key, digest)


def _require_checkpoint(session: Session, job: Job, step: int) -> None:
    if job.status not in TERMINAL:  # another checkpoint would remove it
        message = f"The job is {job.status}; its checkpoints can be published once it has ended."
        raise Conflict(message, code=f"job_{job.status}", param="status")
    steps = [row.step for row in repository.checkpoints(session, job.id)]
    if step not in steps:
        kept = f"It keeps those of steps {', '.join(map(str, steps))}." if steps else "It keeps none."
        raise NotFound(f"The job has no checkpoint of step {step}. {kept}", code="no_checkpoint", param="step")


def _insert(session: Session, caller: Caller, job: Job, step: int, payload: PublishIn) -> Job:
    check_submit(session, caller.settings, caller.project_id)
    spec = planned_spec(job)
    own = {
        "name": payload.name or f"{spec.name} at step {step}"[:120],
        "artifacts": list(dict.fromkeys(payload.artifacts)),
        "init_from": StartingPoint(job=job.id, checkpoint=step),
        "compare": [],
        "webhook": None,
        "time_limit_seconds": None,
        "priority": min(0, spec.priority),
        "resources": with_one_device(spec.resources),
    }
    spec = spec.model_copy(update=own)
    lock_inputs(session, caller, spec)
    version = max(EVALUATION_VERSION, needed_version(spec))
    plain = spec.model_dump(mode="json")
    planned: dict[str, Any] = {name: job.resolved[name] for name in PLANNED if name in job.resolved}
    return states.submit(
        session,
        caller.project_id,
        owner=caller.key_name,
        name=spec.name,
        spec=plain,
        resolved={
            **planned,
            "spec": without_unused(plain, version),
            "spec_version": version,
            "publishes": {"job": job.id, "step": step},
            "warnings": one_device_warnings(planned_spec(job).resources),
        },
        spec_version=version,
        priority=spec.priority,
        preemptible=spec.preemptible,
        retries=spec.retries,
        total_steps=job.total_steps,
        needs=needs_alone(spec),
    )

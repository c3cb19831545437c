"""Submit, show, cancel, pause and delete jobs."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from adamss_core.failpoints import failpoint
from adamss_core.spec import JobSpec, without_unused
from adamss_core.spec.job import ancestor_of
from service.http.context import Caller
from service.http.paging import Page, count, cursor, parse_cursor, split
from service.jobs import repository, schemas
from service.jobs.checks import unknown_dataset
from service.jobs.device_needs import needs_of_plan
from service.jobs.planning import plan_job, refusal
from service.jobs.priorities import check_priority
from service.jobs.repository import Wanted
from service.jobs.schemas import JobOut, JobSummaryOut, PlanOut
from service.jobs.token_lengths import MEASURING
from service.jobs.training_sets import training_ids
from service.projects.service import check_submit
from service.shared.added_models import find_added
from service.shared.database.tables import TERMINAL, IdempotencyKey, Job, Json, StoredFile
from service.shared.errors import Conflict, InvalidRequest, NotFound
from service.shared.jobs import states
from service.shared.jobs.job_queries import unfinished_naming
from service.shared.jobs.webhooks import check_webhook
from service.shared.registrations import require_unregistered, withdraw_all


@dataclass(frozen=True)
class Submitted:
    """A job, and whether an earlier request with the same idempotency key made it."""

    job: JobOut
    repeated: bool


def dry_run(caller: Caller, spec: JobSpec) -> PlanOut:
    """Plan the job without creating it."""
    check_webhook(caller.settings, spec.webhook)
    check_priority(caller, spec.priority)
    return plan_job(caller, spec)


def submit(
    caller: Caller, spec: JobSpec, idempotency_key: str | None, beside: dict[str, Json] | None = None
) -> Submitted:
    """Create a job and send its hint; for a repeated idempotency key, return the job of the first request.

    Args:
        beside: blocks to keep beside the plan, of another API.

    Raises:
        InvalidRequest: the job cannot work, or the key was sent before with another body.
    """

    def insert(session: Session) -> Job:
        return insert_planned(session, caller, spec, plan, beside or {})

    digest = digest_of(spec, *([json.dumps(beside, sort_keys=True)] if beside else []))
    if (earlier := earlier_job(caller, idempotency_key, digest)) is not None:
        return earlier
    check_webhook(caller.settings, spec.webhook)
    check_priority(caller, spec.priority)
    plan = plan_job(caller, spec)
    return create(caller, insert, idempotency_key, digest)


def create(caller: Caller, insert: Callable[[Session], Job], idempotency_key: str | None, digest: str) -> Submitted:
    """Insert a job with its idempotency key in one transaction, and send its hint."""
    try:
        with caller.db.write() as session:
            job = insert(session)
            if idempotency_key is not None:
                _insert_key(session, caller, idempotency_key, digest, job)
    except IntegrityError:
        # Another request with the same key was quicker; its job is committed by now.
        if (earlier := earlier_job(caller, idempotency_key, digest)) is None:
            raise
        return earlier
    failpoint("after_submit")
    caller.hints.send(job.id)
    return Submitted(schemas.render(job, caller.key_name), repeated=False)


def list_jobs(caller: Caller, narrowed: Wanted, after: str | None, limit: int) -> Page[JobSummaryOut]:
    wanted = narrowed.conditions(caller.project_id)
    with caller.db.read() as session:
        jobs = repository.page(session, wanted, parse_cursor(after), limit + 1)
        total = count(session, select(Job).where(*wanted), after)
    rows, more = split(jobs, limit)
    end = cursor(rows[-1].job.created_at, rows[-1].job.id) if rows else None
    data = [
        schemas.summarise(row, caller.key_name).model_copy(update={"queue": caller.queue.place(row.job)})
        for row in rows
    ]
    return Page(data=data, has_more=more, total=total, next=end)


def show(caller: Caller, job_id: str) -> JobOut:
    with caller.db.read() as session:
        job = get(session, caller, job_id)
        answer = describe(session, caller, job)
    return answer.model_copy(update={"queue": caller.queue.place(job)})


def describe(session: Session, caller: Caller, job: Job) -> JobOut:
    """Describe a job that is there."""
    return schemas.render(job, caller.key_name, is_baseline=repository.is_baseline(session, job))


def cancel(caller: Caller, job_id: str) -> JobOut:
    """Cancel a waiting job at once; ask the worker of a running one to stop.

    Raises:
        Conflict: the job has ended.
    """
    return _transition(caller, job_id, states.cancel)


def pause(caller: Caller, job_id: str) -> JobOut:
    """Pause a waiting job at once; ask the worker of a running one to write a checkpoint and free its device.

    Raises:
        Conflict: the job has ended, is being cancelled, or is paused; or it is a trial, which its sweep pauses.
    """

    def pause_own(session: Session, job: Job) -> None:
        refuse_trial(session, job, "paused")
        states.pause(session, job)

    return _transition(caller, job_id, pause_own)


def refuse_trial(session: Session, job: Job, verb: str) -> None:
    """Refuse what a sweep that has not ended does with all of its trials together.

    Raises:
        Conflict: the job is a trial of one.
    """
    if job.sweep_id is not None and repository.is_in_live_sweep(session, job):
        message = f"The job is a trial and cannot be {verb} alone. Call POST /sweeps/{job.sweep_id}/{{pause,resume}}."
        raise Conflict(message, code="job_of_sweep", param="sweep")


def delete(caller: Caller, job_id: str, *, force: bool = False) -> None:
    """Delete an ended job with its rows and files.

    Args:
        force: also where its model is registered; its versions are withdrawn then.

    Raises:
        Conflict: the job has not ended, an unfinished job starts from its adapter or evaluates its model, or its
            model is registered.
    """
    with caller.db.write() as session:
        job = get(session, caller, job_id, lock=True)
        if job.status not in TERMINAL:
            raise Conflict(
                f"The job is {job.status}. Cancel it first, or wait for its end.",
                code=f"job_{job.status}",
                param="status",
            )
        for other in unfinished_naming(session, caller.project_id, job_id):
            if job_id in (ancestor_of(other.spec.get("init_from")), other.evaluates):
                use = "evaluates this job's model" if other.evaluates else "starts from this job's adapter"
                raise Conflict(
                    f"Job {other.id} has not ended and {use}. Cancel it, or wait for its end.", code="job_in_use"
                )
        if not force:
            require_unregistered(session, job_id, "Withdraw it first, or repeat with force=true, which withdraws it.")
        withdraw_all(session, job_id)
        repository.remove(session, job_id)
        keys = caller.host_files.forget(session, StoredFile.owner == job_id)
    caller.host_files.discard(keys)
    files = caller.settings.files
    for folder in (files.job(job_id).path, files.job_artifacts(job_id)):
        shutil.rmtree(folder, ignore_errors=True)


def get(session: Session, caller: Caller, job_id: str, *, lock: bool = False) -> Job:
    """Return a job of the caller's project.

    Raises:
        NotFound: no such job exists in this project.
    """
    job = repository.find(session, caller.project_id, job_id, lock=lock)
    if job is None:
        raise NotFound(f"There is no job {job_id}. GET /jobs lists yours.", code="job_not_found")
    return job


def _transition(caller: Caller, job_id: str, transition: Callable[[Session, Job], None]) -> JobOut:
    with caller.db.write() as session:
        job = get(session, caller, job_id, lock=True)
        transition(session, job)
        return describe(session, caller, job)


def insert_planned(session: Session, caller: Caller, spec: JobSpec, plan: PlanOut, beside: dict[str, Json]) -> Job:
    """Insert a queued job with its plan."""
    check_submit(session, caller.settings, caller.project_id)
    lock_inputs(session, caller, plan.spec)
    resolved = plan.model_dump(mode="json")
    resolved["warnings"] = [warning for warning in plan.warnings if warning != MEASURING]  # no dry run to repeat
    return states.submit(
        session,
        caller.project_id,
        name=spec.name,
        spec=spec.model_dump(mode="json", exclude_unset=True),
        resolved=resolved | {"spec": without_unused(resolved["spec"], plan.spec_version)} | beside,
        spec_version=plan.spec_version,
        retries=spec.retries,
        total_steps=plan.estimate.steps,
        priority=spec.priority,
        preemptible=spec.preemptible,
        owner=caller.key_name,
        needs=needs_of_plan(session, plan, caller.settings.lease_seconds),
    )


def lock_inputs(session: Session, caller: Caller, spec: JobSpec) -> None:
    """Lock the data sets, base model and ancestor of a job against deletion until the transaction ends.

    Raises:
        InvalidRequest: one of them does not exist any more.
    """
    data = spec.dataset
    fields = training_ids(spec) | {"dataset.eval": data.eval, "dataset.test": data.test}
    named = {param: dataset_id for param, dataset_id in fields.items() if dataset_id is not None}
    locked = repository.lock_datasets(session, caller.project_id, list(named.values()))
    for param, dataset_id in named.items():
        if dataset_id not in locked:
            raise refusal(unknown_dataset(dataset_id, param))
    lock_model(session, caller, spec.base_model)
    start = spec.starting_point
    if start is not None and repository.find(session, caller.project_id, start.job, lock=True) is None:
        raise InvalidRequest(f"There is no job {start.job} any more.", code="unknown_job", param="init_from")


def lock_model(session: Session, caller: Caller, name: str) -> None:
    """Lock an added base model against deletion until the transaction ends.

    Raises:
        InvalidRequest: it was deleted since the job was planned, and no other model has its name.
    """
    if find_added(session, caller.project_id, name, lock=True) is None:
        caller.catalog.require(name)


def _insert_key(session: Session, caller: Caller, key: str, digest: str, job: Job) -> None:
    session.add(
        IdempotencyKey(
            project_id=caller.project_id, key=key, body_sha256=digest, job_id=job.id, created_at=job.created_at
        )
    )
    session.flush()


def earlier_job(caller: Caller, key: str | None, digest: str) -> Submitted | None:
    """Return the job that an earlier request with this idempotency key made, if any.

    Raises:
        InvalidRequest: that request had another body.
    """
    if key is None:
        return None
    with caller.db.read() as session:
        row = repository.find_idempotency_key(session, caller.project_id, key)
        if row is None:
            return None
        if row.body_sha256 != digest:
            raise InvalidRequest(
                "This Idempotency-Key was sent before with another body. Use a new key for a new job.",
                code="idempotency_key_reused",
                param="Idempotency-Key",
            )
        return Submitted(describe(session, caller, get(session, caller, row.job_id)), repeated=True)


def digest_of(body: BaseModel, *beside: str) -> str:
    """Hash the meaning of a request, not its bytes: the order of fields and white space do not count.

    Args:
        beside: what else the request names, in its path.
    """
    plain = body.model_dump(mode="json", exclude_unset=True)
    return hashlib.sha256("".join([json.dumps(plain, sort_keys=True), *beside]).encode()).hexdigest()

"""Fine-tuning jobs of OpenAI's API: our jobs of text generation, also those that were submitted otherwise."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy.orm import Session

from service.http.context import Caller
from service.jobs import repository as job_rows
from service.jobs import resuming
from service.jobs import service as jobs
from service.openai_api import repository
from service.openai_api.schemas import OpenAIPage
from service.openai_api.tuning_schemas import TuningCheckpointOut, TuningEventOut, TuningJobIn, TuningJobOut
from service.openai_api.tuning_shapes import EVENT, checkpoint_id, event_id, show_checkpoint, show_event, show_job
from service.openai_api.tuning_spec import block_of, in_openais_words, spec_of
from service.shared.database.tables import Event, Job, MetricRow
from service.shared.errors import BadRequest, NotFound
from service.stream.repository import between


def create(caller: Caller, request: TuningJobIn, idempotency_key: str | None) -> TuningJobOut:
    """Create a job.

    Raises:
        BadRequest, InvalidRequest: it cannot work; `param` is OpenAI's name of the field.
    """
    spec = spec_of(caller, request)
    with in_openais_words():
        submitted = jobs.submit(caller, spec, idempotency_key, block_of(request))
    return retrieve(caller, submitted.job.id)


def list_jobs(caller: Caller, after: str | None, limit: int, metadata: Mapping[str, str]) -> OpenAIPage[TuningJobOut]:
    with caller.db.read() as session:
        last = None if after is None else _training(session, caller, after)
        wanted = repository.with_metadata(metadata)
        found = repository.list_jobs(session, caller.project_id, last, limit + 1, wanted)
        project = repository.project_name(session, caller.project_id)
    return OpenAIPage.of([show_job(job, project) for job in found[:limit]], len(found) > limit)


def retrieve(caller: Caller, job_id: str) -> TuningJobOut:
    with caller.db.read() as session:
        job = _training(session, caller, job_id)
        return show_job(job, repository.project_name(session, caller.project_id))


def cancel(caller: Caller, job_id: str) -> TuningJobOut:
    retrieve(caller, job_id)
    jobs.cancel(caller, job_id)
    return retrieve(caller, job_id)


def pause(caller: Caller, job_id: str) -> TuningJobOut:
    retrieve(caller, job_id)
    jobs.pause(caller, job_id)
    return retrieve(caller, job_id)


def resume(caller: Caller, job_id: str) -> TuningJobOut:
    retrieve(caller, job_id)
    resuming.resume(caller, job_id, None)
    return retrieve(caller, job_id)


def list_events(caller: Caller, job_id: str, after: str | None, limit: int) -> OpenAIPage[TuningEventOut]:
    """List events and logged steps, newest first."""
    with caller.db.read() as session:
        job = _training(session, caller, job_id)
        last = job.last_seq if after is None else _seq(job_id, after) - 1
        found = _newest(session, caller, job, last, limit + 1)
    return OpenAIPage.of([show_event(row, job) for row in found[:limit]], len(found) > limit)


def list_checkpoints(caller: Caller, job_id: str, after: str | None, limit: int) -> OpenAIPage[TuningCheckpointOut]:
    """List checkpoints that are kept, newest first."""
    with caller.db.read() as session:
        job = _training(session, caller, job_id)
        rows = [*reversed(job_rows.checkpoints(session, job_id))]
        losses = repository.losses_at(session, job_id, [row.step for row in rows])
        project = repository.project_name(session, caller.project_id)
    if after is not None:
        places = [place for place, row in enumerate(rows) if checkpoint_id(job_id, row.step) == after]
        if not places:
            raise BadRequest("after must be the id of a checkpoint of this job.", code="invalid_cursor", param="after")
        rows = rows[places[0] + 1 :]
    shown = [show_checkpoint(row, job, project, losses) for row in rows[:limit]]
    return OpenAIPage.of(shown, len(rows) > limit)


def _training(session: Session, caller: Caller, job_id: str) -> Job:
    """Return a job that trains text generation.

    Raises:
        NotFound: no such job exists in this project, or it does something else.
    """
    job = job_rows.find(session, caller.project_id, job_id)
    if job is None or not repository.is_training(job):
        raise NotFound(
            f"There is no fine-tuning job {job_id[:60]}. GET /v1/fine_tuning/jobs lists yours.",
            code="job_not_found",
            param="fine_tuning_job_id",
        )
    return job


def _newest(session: Session, caller: Caller, job: Job, last: int, count: int) -> list[Event | MetricRow]:
    """Return the newest events and logged steps up to a sequence number, newest first."""
    found: list[Event | MetricRow] = []
    while last > 0 and len(found) < count:
        first = max(0, last - count)
        rows = between(session, caller.host_files, job.id, first, last, count)
        found += [row for row in reversed(rows) if isinstance(row, Event | MetricRow)]
        last = first
    return found[:count]


def _seq(job_id: str, event: str) -> int:
    start = event_id(job_id, 0)[:-1]
    number = event.removeprefix(start)
    if not event.startswith(start) or not number.isdecimal() or len(number) > 9:
        raise BadRequest(
            f"after must be the id of an event of this job, such as {EVENT}….", code="invalid_cursor", param="after"
        )
    return int(number)

"""OpenAI's routes for fine-tuning jobs, under /v1/fine_tuning."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import TypeAdapter, ValidationError

from service.http.context import CallerDep
from service.jobs.endpoints import Key
from service.openai_api import tuning_jobs
from service.openai_api.endpoints import PREFIX, AfterId, refusals
from service.openai_api.schemas import OpenAIPage
from service.openai_api.tuning_schemas import (
    KEY_RULE,
    MetadataKey,
    TuningCheckpointOut,
    TuningEventOut,
    TuningJobIn,
    TuningJobOut,
)
from service.shared.errors import BadRequest

router = APIRouter(prefix=f"{PREFIX}/fine_tuning/jobs", tags=["openai"])

TuningJobId = Annotated[str, Path(description="Id of a job, such as job_7m3k9x2pqr.", max_length=60)]
Most = Annotated[int, Query(ge=1, le=100, description="Largest number of entries.")]
_METADATA = re.compile(r"metadata\[(.*)\]", re.DOTALL)
_KEY = TypeAdapter(MetadataKey)


@router.post("", responses=refusals(404, 413))
def create_tuning_job(caller: CallerDep, request: TuningJobIn, idempotency_key: Key = None) -> TuningJobOut:
    """Create a fine-tuning job. What OpenAI does not have, the adapter and further settings of the training, goes into
    `extra_body={"adamss": {…}, "training": {…}}`, as in a job of `POST /jobs`."""
    return tuning_jobs.create(caller, request, idempotency_key)


@router.get("", responses=refusals(404))
def list_tuning_jobs(
    caller: CallerDep, request: Request, after: AfterId = None, limit: Most = 20
) -> OpenAIPage[TuningJobOut]:
    """List the project's trainings of text generation, newest first; with `metadata[key]=value` those that carry it."""
    pairs = [(_METADATA.fullmatch(name), value) for name, value in request.query_params.items()]
    return tuning_jobs.list_jobs(caller, after, limit, {_key(found[1]): value for found, value in pairs if found})


def _key(name: str) -> str:
    """Check a key of metadata: no job has one that could not be sent."""
    try:
        return _KEY.validate_python(name)
    except ValidationError as error:
        message = f"metadata[{name[:80]}] is no key of metadata: {KEY_RULE}."
        raise BadRequest(message, code="invalid_field", param="metadata") from error


@router.get("/{fine_tuning_job_id}", responses=refusals(404))
def retrieve_tuning_job(caller: CallerDep, fine_tuning_job_id: TuningJobId) -> TuningJobOut:
    """Get a job."""
    return tuning_jobs.retrieve(caller, fine_tuning_job_id)


@router.post("/{fine_tuning_job_id}/cancel", responses=refusals(404, 409))
def cancel_tuning_job(caller: CallerDep, fine_tuning_job_id: TuningJobId) -> TuningJobOut:
    """Cancel a job."""
    return tuning_jobs.cancel(caller, fine_tuning_job_id)


@router.post("/{fine_tuning_job_id}/pause", responses=refusals(404, 409))
def pause_tuning_job(caller: CallerDep, fine_tuning_job_id: TuningJobId) -> TuningJobOut:
    """Pause a job at a checkpoint; it is `queued` until it is resumed, and an event says so."""
    return tuning_jobs.pause(caller, fine_tuning_job_id)


@router.post("/{fine_tuning_job_id}/resume", responses=refusals(404, 409))
def resume_tuning_job(caller: CallerDep, fine_tuning_job_id: TuningJobId) -> TuningJobOut:
    """Resume a paused job."""
    return tuning_jobs.resume(caller, fine_tuning_job_id)


@router.get("/{fine_tuning_job_id}/events", responses=refusals(404))
def list_tuning_events(
    caller: CallerDep, fine_tuning_job_id: TuningJobId, after: AfterId = None, limit: Most = 20
) -> OpenAIPage[TuningEventOut]:
    """List a job's events and logged steps, newest first."""
    return tuning_jobs.list_events(caller, fine_tuning_job_id, after, limit)


@router.get("/{fine_tuning_job_id}/checkpoints", responses=refusals(404))
def list_tuning_checkpoints(
    caller: CallerDep, fine_tuning_job_id: TuningJobId, after: AfterId = None, limit: Most = 10
) -> OpenAIPage[TuningCheckpointOut]:
    """List the checkpoints that are kept, newest first: the last ones, and the best."""
    return tuning_jobs.list_checkpoints(caller, fine_tuning_job_id, after, limit)

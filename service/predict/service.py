"""Predict with the model of a finished job."""

from __future__ import annotations

import logging
from typing import Any, Literal, cast

from service.artifacts import repository
from service.artifacts.service import artifact_path
from service.http.context import Caller
from service.jobs.service import get
from service.predict.inputs import read_inputs, read_options
from service.predict.schemas import PredictIn, PredictionsOut
from service.shared.database.tables import Artifact, Job
from service.shared.errors import Conflict, InvalidRequest, NotFound, ServiceError, Unavailable
from service.shared.jobs.job_queries import has_published
from service.shared.jobs.planned_spec import planned_spec

logger = logging.getLogger(__name__)

# The merged model needs no base model beside it; the others do.
PREFERRED = ("merged", "lora", "adapter")
# The operator must mend these, or another request may succeed.
_UNAVAILABLE = frozenset({"artifact_damaged", "disk_full", "out_of_memory", "predict_failed"})
_WRONG_INPUT = frozenset({"bad_data", "invalid_image"})  # only the model's own processor finds these


def predict(caller: Caller, job_id: str, payload: PredictIn) -> PredictionsOut:
    """Return the model's answers to the inputs.

    Raises:
        Conflict: the job has not succeeded, or its base model is gone.
        InvalidRequest: an input does not fit the job.
        TooManyRequests, TimedOut, Unavailable: the process that predicts is busy, too slow, or ended.
    """
    with caller.db.read() as session:
        job = get(session, caller, job_id)
        artifacts = {artifact.name: artifact for artifact in repository.of_job(session, job_id)}
    artifact = _artifact(job, artifacts)
    spec = planned_spec(job)
    inputs, options = read_inputs(spec, payload), read_options(spec, payload)
    path = artifact_path(caller, artifact)
    if not path.is_file():
        raise NotFound(f"The file of artifact '{artifact.name}' is gone from the service's disk.", code="artifact_gone")
    base = caller.catalog.folder(spec.base_model)
    answer = caller.predictor.ask(
        {
            "archive": str(path),
            "sha256": artifact.sha256,
            "base": str(base or spec.base_model),
            "revision": None if base else spec.revision,
            "inputs": inputs,
            "options": options,
        }
    )
    if problem := answer.get("error"):
        raise _problem(problem)
    return PredictionsOut(
        job=job_id,
        task=spec.task,
        artifact=cast(Literal["adapter", "lora", "merged"], artifact.name),
        data=answer["answers"],
        seconds=answer["seconds"],
    )


def _artifact(job: Job, artifacts: dict[str, Artifact]) -> Artifact:
    if not has_published(job):
        raise Conflict(
            f"The job is {job.status}; its model can be tried once it has succeeded.",
            code=f"job_{job.status}",
            param="status",
        )
    for name in PREFERRED:
        if name in artifacts:
            return artifacts[name]
    raise NotFound("The artifacts of the job are gone.", code="artifact_gone")


def _problem(problem: dict[str, Any]) -> ServiceError:
    code, where = str(problem["code"]), problem.get("where")
    message = " ".join(str(problem[part]) for part in ("message", "hint") if problem.get(part))
    if code in _WRONG_INPUT:
        return InvalidRequest(message, code=code, param=where if str(where).startswith("inputs[") else "inputs")
    if code in _UNAVAILABLE:
        logger.error("prediction failed", extra={"code": code, "problem": message})
        return Unavailable(message, code=code)
    return Conflict(message, code=code, param=where if isinstance(where, str) else None)

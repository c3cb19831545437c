"""Predict with the model of a finished job."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from threading import Event
from typing import Any, cast

from adamss_core.spec import JobSpec, record_of
from adamss_core.spec.job import ArtifactName
from service.artifacts import repository
from service.artifacts.service import artifact_path
from service.http.context import Caller
from service.jobs.repository import checkpoints
from service.jobs.service import get
from service.predict.inputs import read_inputs, read_options
from service.predict.schemas import PredictIn, PredictionsOut
from service.registry import service as registry
from service.shared.database.tables import Artifact, Job
from service.shared.errors import Conflict, InvalidRequest, NotFound, ServiceError, Unavailable
from service.shared.jobs.job_queries import has_published
from service.shared.jobs.planned_spec import planned_spec

logger = logging.getLogger(__name__)

# The merged model needs no base model beside it; the others do.
PREFERRED: tuple[ArtifactName, ...] = ("merged", "lora", "adapter")
# Switched off, an adapter leaves its base model in memory.
BESIDE_BASE: tuple[ArtifactName, ...] = ("lora", "adapter", "merged")
# The operator must mend these, or another request may succeed.
_UNAVAILABLE = frozenset({"artifact_damaged", "disk_full", "out_of_memory", "predict_failed"})
# Only the model's own processor finds these.
_WRONG_INPUT = frozenset({"bad_data", "invalid_image", "context_length_exceeded"})
_GONE = frozenset({"checkpoint_gone"})


@dataclass(frozen=True)
class ModelToAsk:
    """A model to ask.

    Attributes:
        artifact: its name; None for a checkpoint.
        order: the part of an order that names the model.
    """

    spec: JobSpec
    artifact: ArtifactName | None
    order: dict[str, Any]


def predict(caller: Caller, job_id: str, payload: PredictIn) -> PredictionsOut:
    """Return the model's answers to the inputs.

    Raises:
        Conflict: the job has not succeeded, or its base model is gone.
        NotFound: the job, or the checkpoint, does not exist.
        InvalidRequest: an input does not fit the job.
        TooManyRequests, TimedOut, Unavailable: the process that predicts is busy, too slow, or ended.
    """
    asked = find_model(caller, job_id, payload.checkpoint, BESIDE_BASE if payload.with_base else PREFERRED)
    inputs, options = read_inputs(asked.spec, payload), read_options(asked.spec, payload)
    order = asked.order | {"inputs": inputs, "options": options, "with_base": payload.with_base}
    answer = caller.predictor.ask(order)
    if problem := answer.get("error"):
        raise _problem(problem)
    return PredictionsOut(
        job=job_id,
        task=asked.spec.task,
        artifact=asked.artifact,
        checkpoint=payload.checkpoint,
        data=answer["answers"],
        seconds=answer["seconds"],
    )


def predict_registered(caller: Caller, reference: str, payload: PredictIn) -> PredictionsOut:
    """Return the answers of a registered model; raises as `predict`.

    Raises:
        NotFound: there is no such model, label or version.
    """
    with caller.db.read() as session:
        job_id = registry.job_of(session, caller, reference)
    return predict(caller, job_id, payload)


def write(
    caller: Caller,
    asked: ModelToAsk,
    cells: dict[str, Any],
    writing: dict[str, Any],
    cancelled: Event,
    *,
    with_base: bool = False,
) -> Generator[dict[str, Any]]:
    """Yield the pieces of a text that the model writes, as `adamss_core` reports them; `prompt_tokens` first.

    Args:
        cells: the input.
        writing: fields of `adamss_core.training.tasks.text_generation_stream.Writing`.
        cancelled: set where nobody wants the rest.
        with_base: whether the base model writes after it; its pieces have "of": "base".

    Raises:
        InvalidRequest: the input is too long, or the chat template refuses it.
        Conflict, TooManyRequests, TimedOut, Unavailable: as `predict`.
    """
    order = asked.order | {"inputs": [cells], "writing": writing, "with_base": with_base}
    with closing(caller.predictor.follow(order, cancelled)) as lines:
        for line in lines:
            if problem := line.get("error"):
                raise _problem(problem)
            if "piece" in line:
                yield line["piece"]


def find_model(caller: Caller, job_id: str, checkpoint: int | None, preferred: Sequence[ArtifactName]) -> ModelToAsk:
    """Return the model of a job, or of its checkpoint at a step.

    Args:
        preferred: artifacts to load, the first one that is there.

    Raises:
        NotFound: the job, its files or the checkpoint do not exist.
        Conflict: the job has not succeeded.
    """
    with caller.db.read() as session:
        job = get(session, caller, job_id)
        artifacts = {artifact.name: artifact for artifact in repository.of_job(session, job_id)}
        kept = {row.step: row.path for row in checkpoints(session, job_id)}
    spec = planned_spec(job)
    base = caller.catalog.folder(spec.base_model)
    order: dict[str, Any] = {"base": str(base or spec.base_model), "revision": None if base else spec.revision}
    if checkpoint is not None:
        return ModelToAsk(spec, None, order | {"checkpoint": _checkpoint(caller, job, spec, checkpoint, kept)})
    artifact = _artifact(job, artifacts, preferred)
    path = artifact_path(caller, artifact)
    if not path.is_file():
        raise NotFound(f"The file of artifact '{artifact.name}' is gone from the service's disk.", code="artifact_gone")
    name = cast(ArtifactName, artifact.name)
    return ModelToAsk(spec, name, order | {"archive": str(path), "sha256": artifact.sha256})


def _checkpoint(caller: Caller, job: Job, spec: JobSpec, step: int, kept: dict[int, str]) -> dict[str, Any]:
    if step not in kept:
        there = f"It keeps those of steps {', '.join(map(str, kept))}." if kept else f"It is {job.status}."
        raise NotFound(f"The job has no checkpoint of step {step}. {there}", code="no_checkpoint", param="checkpoint")
    classes = (job.result or {}).get("labels") or []
    if record_of(spec).trains_head and job.result is None:
        raise Conflict(
            f"The job is {job.status}; checkpoints of this task can be tried once it has ended, when its classes are "
            "known.",
            code=f"job_{job.status}",
            param="checkpoint",
        )
    text = spec.model_copy(update={"webhook": None}).model_dump_json()
    folder = caller.host_files.local(caller.settings.files.job(job.id).path / kept[step])
    return {"folder": str(folder.parent), "step": step, "spec": text, "classes": classes}


def _artifact(job: Job, artifacts: dict[str, Artifact], preferred: Sequence[ArtifactName]) -> Artifact:
    if not has_published(job):
        raise Conflict(
            f"The job is {job.status}; its model can be tried once it has succeeded.",
            code=f"job_{job.status}",
            param="status",
        )
    for name in preferred:
        if name in artifacts:
            return artifacts[name]
    raise NotFound("The artifacts of the job are gone.", code="artifact_gone")


def _problem(problem: dict[str, Any]) -> ServiceError:
    code, where = str(problem["code"]), problem.get("where")
    message = " ".join(str(problem[part]) for part in ("message", "hint") if problem.get(part))
    if code in _WRONG_INPUT:
        named = str(where).startswith("inputs[") or code == "context_length_exceeded"
        return InvalidRequest(message, code=code, param=where if named else "inputs")
    if code in _GONE:
        return NotFound(message, code=code, param=where)
    if code in _UNAVAILABLE:
        logger.error("prediction failed", extra={"code": code, "problem": message})
        return Unavailable(message, code=code)
    return Conflict(message, code=code, param=where if isinstance(where, str) else None)

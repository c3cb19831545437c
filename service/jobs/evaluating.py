"""Evaluate the model of a finished job on another data set: a job of its own, which trains nothing."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from adamss_core.spec import EVALUATION_VERSION, JobSpec, SpecProblem, needed_version, record_of, without_unused
from adamss_core.spec.class_names import match_classes
from adamss_core.spec.job import DatasetId
from adamss_core.spec.survey import Survey
from service.datasets import repository as datasets
from service.datasets.leakage import test_warnings
from service.http.context import Caller
from service.jobs import checks, repository
from service.jobs.device_needs import needs_alone, one_device_warnings, with_one_device
from service.jobs.planning import refusal
from service.jobs.row_survey import survey_rows
from service.jobs.service import Submitted, create, digest_of, earlier_job, get, lock_model
from service.jobs.testing_rules import rows_problem, testing_warnings
from service.projects.service import check_submit
from service.shared.database.tables import Job
from service.shared.errors import Conflict, InvalidRequest
from service.shared.jobs import states
from service.shared.jobs.job_queries import has_published, model_artifact
from service.shared.jobs.planned_spec import planned_spec

DATASET = "dataset"


class EvaluateIn(BaseModel):
    """What a finished job's model is evaluated on."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    dataset: DatasetId
    """Id of a data set with the columns of the job's training data, its labels included."""
    model: Literal["trained", "base"] = "trained"
    """The trained model, or its base model alone, where that can do the task without training."""
    name: Annotated[str, Field(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f\x7f]+$")] | None = None
    """A name for people; by default that of the job and of the data set."""


def evaluate(caller: Caller, job_id: str, payload: EvaluateIn, idempotency_key: str | None) -> Submitted:
    """Queue the evaluation of a finished job's model.

    Raises:
        Conflict: the job has not succeeded, or none of its artifacts is left.
        InvalidRequest: the data set does not exist or does not fit the job, or the base model would only guess.
    """
    digest = digest_of(payload, job_id)
    if (earlier := earlier_job(caller, idempotency_key, digest)) is not None:
        return earlier
    with caller.db.read() as session:
        job = get(session, caller, job_id)
        _require_model(session, job)
    spec, classes = planned_spec(job), tuple((job.result or {}).get("labels") or ())
    try:
        rows, name = _survey(caller, spec, classes, payload.dataset)
        if payload.model == "base":
            _require_head(caller, spec, classes)
    except SpecProblem as problem:
        raise refusal(problem) from problem
    title = payload.name or f"{spec.name} on {name}"[:120]
    resolved = _resolved(caller, spec, job_id, payload, rows, title, classes)
    return create(caller, lambda session: _insert(session, caller, job_id, resolved), idempotency_key, digest)


def _require_model(session: Session, job: Job) -> None:
    other = (job.evaluates and "evaluates another job's model") or (job.inspects and "measures a spectrum")
    if not has_published(job) or other:
        raise Conflict(
            f"The job {other or f'is {job.status}'}; a model can be evaluated once the job that trains it has "
            "succeeded.",
            code="no_model" if other else f"job_{job.status}",
            param="status",
        )
    if model_artifact(session, job.id) is None:
        raise Conflict("The artifacts of the job are gone, so there is no model to evaluate.", code="artifact_gone")


def _survey(caller: Caller, spec: JobSpec, classes: tuple[str, ...], dataset_id: str) -> tuple[Survey, str]:
    """Count the rows of the data set, and return its name.

    Raises:
        SpecProblem: it does not exist, or does not fit the job.
    """
    with caller.db.read() as session:
        dataset = datasets.find(session, caller.project_id, dataset_id)
    if dataset is None:
        raise checks.unknown_dataset(dataset_id, DATASET)
    if problems := checks.column_problems(spec, dataset, DATASET):
        raise problems[0]
    rows = survey_rows(caller.host_files, spec, dataset, frozenset(classes) if classes else None)
    if (problem := rows_problem(rows, DATASET)) is not None:
        raise problem
    return rows, dataset.name


def _require_head(caller: Caller, spec: JobSpec, classes: tuple[str, ...]) -> None:
    """Raise SpecProblem where the base model is no classifier of the job's classes; others the worker refuses."""
    if not record_of(spec).trains_head or not classes:
        return
    theirs = caller.catalog.facts(spec.base_model, spec.revision).head_classes
    if not theirs or match_classes(theirs, classes) is None:
        raise SpecProblem(
            "model",
            f"The base model '{spec.base_model}' has no trained head for the job's classes, so it would only guess. "
            "Evaluate the trained model.",
            "no_head",
        )


def _resolved(
    caller: Caller, spec: JobSpec, job_id: str, payload: EvaluateIn, rows: Survey, title: str, classes: tuple[str, ...]
) -> dict[str, Any]:
    block, asked = spec.dataset.model_copy(update={"test": payload.dataset}), spec.resources
    own: dict[str, Any] = {
        "init_from": None,
        "webhook": None,
        "compare": [],
        "time_limit_seconds": None,
        "resources": with_one_device(spec.resources),
    }  # of the training
    spec = spec.model_copy(update={"name": title, "dataset": block} | own)
    version = max(EVALUATION_VERSION, needed_version(spec))
    return {
        "spec": without_unused(spec.model_dump(mode="json"), version),
        "spec_version": version,
        "evaluates": {"job": job_id, "model": payload.model, "dataset": payload.dataset},
        "warnings": [
            *one_device_warnings(asked),
            *testing_warnings(rows, DATASET, classes),
            *test_warnings(caller, spec),
        ],
        "test_rows": rows.usable - rows.unknown,
        "batches": math.ceil((rows.usable - rows.unknown) / spec.training.batch_size),
    }


def _insert(session: Session, caller: Caller, job_id: str, resolved: dict[str, Any]) -> Job:
    check_submit(session, caller.settings, caller.project_id)
    evaluated, spec = resolved["evaluates"], resolved["spec"]
    if not repository.lock_datasets(session, caller.project_id, [evaluated["dataset"]]):
        raise refusal(checks.unknown_dataset(evaluated["dataset"], DATASET))
    if repository.find(session, caller.project_id, job_id, lock=True) is None:
        raise InvalidRequest(f"There is no job {job_id} any more.", code="unknown_job")
    lock_model(session, caller, spec["base_model"])
    return states.submit(
        session,
        caller.project_id,
        owner=caller.key_name,
        name=spec["name"],
        spec=spec,
        resolved={name: value for name, value in resolved.items() if name != "batches"},
        retries=spec["retries"],
        total_steps=resolved["batches"],
        evaluates=job_id,
        spec_version=resolved["spec_version"],
        needs=needs_alone(JobSpec.model_validate(spec)),
    )

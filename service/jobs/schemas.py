"""Jobs as the API shows them; what they report is in `report_schemas.py`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from adamss_core.spec import Estimate, JobSpec, ScheduleStep, with_unused
from adamss_core.spec.tasks import find_metric
from adamss_core.spec.tasks.metrics import Direction
from service.http.openapi import Out
from service.jobs.comparison_schemas import ComparisonOut, ContenderProgressOut, contender_progress
from service.jobs.place_schemas import QueuePlaceOut
from service.jobs.repository import ListedJob
from service.jobs.training_sets import TrainingSetOut
from service.shared.database.tables import Job, JobStatus, Json
from service.shared.jobs import states

LISTED_NOTES = 100  # characters


class AppliedPresetOut(Out):
    """The preset that a spec names."""

    name: str
    """Its name."""
    fields: dict[str, Any]
    """The values that it filled in, by the paths of their fields."""


class PlanOut(Out):
    """What a job will do, before it does it."""

    object: Literal["plan"] = "plan"
    """Always "plan"."""
    spec: JobSpec
    """The spec with every default, and every "auto" of the ASA schedule replaced by its number."""
    warnings: list[str]
    """What works but may surprise."""
    estimate: Estimate
    """Parameters, steps, memory and sizes."""
    schedule: list[ScheduleStep]
    """The steps at which subspaces are pruned; empty without ASA."""
    auto: list[str] = Field(default=[])
    """Fields of `adamss` that were left at "auto": their numbers here are planned ones until the job runs, which
    derives them from the steps that its rows make."""
    suggested: list[str] = Field(default=[])
    """Fields that the job left out, and that are as the data set's `suggestion` has them."""
    preset: AppliedPresetOut | None = None
    """Fields that the preset which the job names has filled in; null without one."""
    budget: str | None = None
    """What was chosen for `adamss.budget`, and why; null without one."""
    spec_version: int = 1
    """The least version of the spec that knows all fields which the job uses. Workers of older versions leave it to
    others."""
    test_rows: int = 0
    """Rows of `dataset.test` that the finished model is evaluated on."""
    classes: dict[str, int] = Field(default={})
    """Rows of the training data with each class, those that are held out included; the most frequent class first. Empty
    where nothing is classified, and in plans of older versions."""
    training_sets: list[TrainingSetOut] = Field(default=[])
    """Rows that each data set gives, where the job trains on several."""
    time_limit_seconds: float | None = None
    """Longest time of training, over all attempts: the smaller of the spec's and the operator's limit. Null in plans of
    older versions."""
    cost: float | None = None
    """Price of the estimated time on all devices; null where no time is known, or the operator sets no
    ADAMSS_DEVICE_HOUR_RATE."""
    currency: str | None = None
    """Currency of the cost."""


class ProgressOut(Out):
    """How far a job is."""

    step: int
    """Optimizer steps that are done."""
    total_steps: int
    """Optimizer steps of the whole job."""
    epoch: float
    """Passes over the training rows that are done."""
    eta_seconds: float | None
    """Seconds that are left, as far as can be said."""
    contender: ContenderProgressOut | None = None
    """The contender that is trained for comparison, after the job's own steps; null at any other time."""


class ProblemOut(Out):
    """Why a job failed, or was run again."""

    code: str
    """The exact reason, for programs."""
    message: str
    """The reason in words."""
    hint: str | None = None
    """What to do about it."""


class AsaOut(Out):
    """Subspaces over all modules."""

    total: int
    """At the start."""
    active: int
    """Not pruned yet."""
    target: int | None = None
    """Left when pruning ends; null without ASA."""


class BestMetricOut(Out):
    """What decides which checkpoint of a job is the best."""

    name: str
    """The evaluation metric, `metric_for_best` of the spec; `result` has its value as eval_<name>."""
    direction: Direction
    """Whether larger ("max") or smaller ("min") values are better."""


class JudgementOut(Out):
    """The finished model's metric beside a baseline on the same rows."""

    metric: str
    """The metric that chose the checkpoint."""
    value: float | None
    """Of the finished model; null where it is undefined, as a correlation of equal answers."""
    baseline: float | None
    """Of the baseline."""
    predicts: str
    """The baseline's answers in words: the most frequent class, the mean, or what the base model does."""
    low: float | None
    """Lower bound of the value's confidence interval; null where it has none, as of rows that score alike."""
    high: float | None
    """Upper bound of the interval."""
    level: float
    """Confidence level of the interval."""
    method: str | None
    """Of the interval: Wilson for shares of rows, Fisher's z for correlations, else a paired bootstrap over the rows,
    which keeps the baseline at its value."""
    rows: int
    """Rows that both were measured on."""
    no_better: bool
    """Whether the baseline is as good as the value, or within its interval; also where one row, or fewer than 20
    without an interval, cannot show a difference."""


class CauseOut(Out):
    """What the numbers of a run show as a possible cause."""

    code: str
    """For programs: flat_loss, learning_rate, few_steps, rare_class, large_class, one_answer, few_held_out_rows or
    learnt_by_heart."""
    message: str
    """In words, with the numbers."""


class WarningOut(Out):
    """A reason to doubt a job that has succeeded."""

    code: str
    """For programs: no_better_than_baseline, few_held_out_rows, classes_not_evaluated, classes_not_trained_on or
    unknown_labels."""
    message: str
    """In words."""
    data: Literal["train", "eval", "test"]
    """The data set of the rows that show it: `train` where rows of it were held out."""
    causes: list[CauseOut]
    """What may have caused it; empty where the run's numbers show nothing."""


class EvaluatedOut(Out):
    """The model that a job evaluates."""

    job: str
    """Id of the job that trained it."""
    model: Literal["trained", "base"]
    """The trained model, or its base model alone."""
    dataset: str
    """Id of the data set of the rows."""


class InspectedOut(Out):
    """The spectrum that a job measures."""

    model: str
    """Name of the base model."""
    dataset: str
    """Id of the data set of the rows."""


class JobDeviceOut(Out):
    """A device that a job has."""

    name: str
    """Its name among those of its worker, such as cuda:0 or cpu:1."""
    kind: str
    """Its kind, such as h100 or cpu."""


class JobSummaryOut(Out):
    """A job as lists show it: without its spec and plan, which `GET /jobs/{id}` has."""

    object: Literal["job"] = "job"
    """Always "job"."""
    id: str
    """Its id."""
    name: str
    """Its name, from the spec until it is changed."""
    tags: list[str]
    """Its tags."""
    group: str | None
    """The group that it belongs to."""
    notes: str | None = None
    """Notes of people on it; in lists the first 100 characters, with … where they are not all."""
    sweep: str | None = None
    """The sweep that it is a trial of; null for others."""
    trial: int | None = None
    """Its number in the sweep."""
    owner: str | None = None
    """Name of the key that submitted it; null for jobs of earlier versions."""
    mine: bool = False
    """Tells if the key of this call submitted it; false in a stream, whose state all its watchers share."""
    baseline: bool = False
    """Tells if it is the pinned baseline of its group or project; false in a stream too."""
    priority: int = 0
    """Its priority, from the spec until it is changed."""
    preemptible: bool = True
    """Whether a job of a higher priority may take its devices."""
    devices: int = 1
    """How many devices it takes at once, all of one worker."""
    device_kind: str | None = None
    """The kind that these devices must be of; null for any."""
    runs_on: list[JobDeviceOut] = Field(default=[])
    """Devices that its newest attempt has or had; empty before the first, and of workers of earlier versions."""
    task: str | None
    """Its task."""
    base_model: str | None
    """Its base model."""
    status: JobStatus
    """queued, running, pausing, paused, cancelling, succeeded, failed or cancelled."""
    progress: ProgressOut
    """How far it is."""
    asa: AsaOut | None
    """Its subspaces, once it runs."""
    best_metric: BestMetricOut | None
    """What its checkpoints are compared by."""
    evaluates: EvaluatedOut | None = None
    """The model that it evaluates instead of training one; null for every other job."""
    inspects: InspectedOut | None = None
    """The spectrum that it measures instead of training: `GET /models/{name}/spectrum` has it; null for others."""
    result: dict[str, Any] | None
    """Numbers of the finished model's evaluation; a job that evaluates has `test_...` only."""
    judgement: JudgementOut | None = None
    """Its metric beside a baseline, once the job has succeeded; null for jobs of earlier versions."""
    warnings: list[WarningOut] = Field(default=[])
    """Reasons to doubt the result: `no_better_than_baseline` where the baseline is as good or within the interval,
    `few_held_out_rows` where fewer than 20 rows were evaluated, however good it looks, `rows_without_targets` and
    `rows_dropped` where a tenth or more of the training rows was too long to be trained on, `classes_not_evaluated` and
    `classes_not_trained_on` where one side lacks classes, `unknown_labels` where rows were left out because of their
    labels."""
    error: ProblemOut | None
    """Why it failed. A job with the code `time_limit` has published its best model by then."""
    resumable: bool
    """Whether `POST /jobs/{id}/resume` runs it on: it is paused, or its time limit has ended it."""
    attempt: int
    """How often it has been started; above 1 after a lost worker or a restart."""
    spec_version: int = 1
    """The least version of the spec that a worker must understand to run it."""
    created_at: datetime
    """When it was submitted."""
    queued_at: datetime
    """When it last began to wait for a worker."""
    queue: QueuePlaceOut | None = None
    """Its place in the queue and why it waits, in lists and from `GET /jobs/{id}`; null where it does not wait."""
    started_at: datetime | None
    """When it first ran."""
    ended_at: datetime | None
    """When it ended."""


class JobOut(JobSummaryOut):
    """A fine-tuning job, the evaluation of another one's model, or the measurement of a base model's spectrum."""

    result: dict[str, Any] | None
    """Evaluation of the finished model; text generation has that of the model before training as `before_training`.
    A job that evaluates has `test_...` only."""
    comparison: ComparisonOut | None = None
    """Its adapter beside the contenders of `compare`, as far as they are trained; also in `result`."""
    spec: dict[str, Any]
    """The spec as it was sent."""
    resolved: dict[str, Any]
    """The plan, as a dry run answers it: the spec with all numbers filled in, warnings, estimate, schedule. Once the
    job runs, the steps, the ASA schedule and the trained parameters are those that the run has counted."""
    metrics_archived_at: datetime | None = None
    """When its metrics were moved to its artifact `metrics`, from which all routes read them; null before."""


def render(job: Job, key_name: str = "", *, is_baseline: bool = False) -> JobOut:
    """Describe a job.

    Args:
        key_name: of the key that asks; empty where none does, as in a stream that many watch.
    """
    spec = job.resolved.get("spec", {})
    listed = ListedJob(
        job,
        spec.get("task"),
        spec.get("problem_type"),
        spec.get("base_model"),
        spec.get("training", {}).get("metric_for_best"),
        job.resolved.get("evaluates"),
        job.resolved.get("inspects"),
        is_baseline,
    )
    whole = {name: getattr(job, name) for name in ("notes", "result", "spec", "metrics_archived_at")}
    whole["comparison"] = (job.result or {}).get("comparison")
    whole["resolved"] = _resolved(job)
    return JobOut.model_validate(_summary(listed, key_name) | whole)


def summarise(listed: ListedJob, key_name: str) -> JobSummaryOut:
    result = listed.job.result
    numbers = result and {name: value for name, value in result.items() if not isinstance(value, (dict, list))}
    return JobSummaryOut.model_validate(
        _summary(listed, key_name) | {"result": numbers, "notes": _beginning(listed.job.notes)}
    )


def _beginning(notes: str | None) -> str | None:
    """Return as much of the notes as a list shows."""
    return notes if notes is None or len(notes) <= LISTED_NOTES else f"{notes[:LISTED_NOTES].rstrip()}…"


def _summary(listed: ListedJob, key_name: str) -> Json:
    job, result = listed.job, listed.job.result or {}
    metric = find_metric(listed.task, listed.problem_type, listed.metric)
    return {
        "id": job.id,
        "name": job.name,
        "tags": job.tags or [],
        "group": job.group_name,
        "owner": job.owner,
        "mine": job.owner == key_name,
        "baseline": listed.is_baseline,
        "sweep": job.sweep_id,
        "trial": job.trial,
        "priority": job.priority,
        "preemptible": job.preemptible,
        "devices": job.devices,
        "device_kind": job.device_kind,
        "runs_on": _runs_on(job),
        "task": listed.task,
        "base_model": listed.base_model,
        "status": job.status,
        "progress": {
            "step": job.step,
            "total_steps": job.total_steps,
            "epoch": job.epoch,
            "eta_seconds": job.eta_seconds,
            "contender": contender_progress(job),
        },
        "asa": job.asa,
        "best_metric": None if metric is None else {"name": metric.name, "direction": metric.direction},
        "evaluates": listed.evaluates,
        "inspects": listed.inspects,
        "judgement": result.get("judgement"),
        "warnings": result.get("warnings", []),
        "error": job.error,
        "resumable": states.is_resumable(job),
        "attempt": job.attempt,
        "spec_version": job.spec_version,
        "created_at": job.created_at,
        "queued_at": job.queued_at,
        "started_at": job.started_at,
        "ended_at": job.ended_at,
    }


def _runs_on(job: Job) -> list[Json]:
    """Return the devices of the newest attempt; a worker of an earlier version does not name them."""
    known = job.runs_on
    return known["devices"] if known is not None and known["attempt"] == job.attempt else []


def _resolved(job: Job) -> Json:
    """Return the plan with the defaults that its row leaves out for older workers."""
    spec = job.resolved.get("spec")
    return job.resolved if spec is None else job.resolved | {"spec": with_unused(spec)}

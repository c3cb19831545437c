"""Show jobs, events and checkpoints in OpenAI's shapes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from adamss_core.spec.measured_rows import FEW_HELD_OUT_ROWS, NOT_EVALUATED, NOT_TRAINED_ON, UNKNOWN_LABELS
from service.openai_api.files import result_id, unix
from service.openai_api.model_names import name_of
from service.openai_api.repository import BLOCK
from service.openai_api.tuning_schemas import (
    CheckpointMetricsOut,
    HyperparametersOut,
    MethodOut,
    SupervisedOut,
    TuningCheckpointOut,
    TuningErrorOut,
    TuningEventOut,
    TuningJobOut,
)
from service.openai_api.tuning_spec import preset_rate
from service.shared.database.tables import Checkpoint, Event, Job, JobStatus, MetricRow, now
from service.shared.jobs.job_queries import has_published
from service.shared.jobs.planned_spec import planned_spec

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
STATUSES: dict[JobStatus, Status] = {
    JobStatus.QUEUED: "queued",
    JobStatus.RUNNING: "running",
    JobStatus.PAUSING: "running",
    JobStatus.PAUSED: "queued",  # OpenAI's clients know no other word
    JobStatus.CANCELLING: "cancelled",
    JobStatus.SUCCEEDED: "succeeded",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELLED: "cancelled",
}
ERRORS = frozenset({"failed"})
DOUBTS = {"no_better_than_baseline", FEW_HELD_OUT_ROWS, NOT_EVALUATED, NOT_TRAINED_ON, UNKNOWN_LABELS}
WARNINGS = frozenset({"warning", "artifact_failed", "checkpoint_damaged", *DOUBTS})
EVENT = "ftevent_"


def show_job(job: Job, project: str) -> TuningJobOut:
    spec, block, result = planned_spec(job), job.resolved.get(BLOCK, {}), job.result or {}
    numbers = HyperparametersOut(
        n_epochs=math.ceil(spec.training.epochs),
        batch_size=spec.training.batch_size * spec.training.gradient_accumulation_steps,
        learning_rate_multiplier=round(spec.training.learning_rate / preset_rate(), 6),
    )
    tokens, epochs = result.get("train_tokens"), result.get("epochs")
    return TuningJobOut(
        id=job.id,
        created_at=unix(job.created_at),
        finished_at=None if job.ended_at is None else unix(job.ended_at),
        estimated_finish=None if job.eta_seconds is None else unix(now()) + math.ceil(job.eta_seconds),
        model=block.get("model") or spec.base_model,
        fine_tuned_model=name_of(job, project) if has_published(job) else None,
        organization_id=project,
        status=STATUSES[job.status],
        training_file=spec.dataset.training_sets[0].id,
        validation_file=spec.dataset.eval,
        result_files=[result_id(job)] if job.status == JobStatus.SUCCEEDED else [],
        hyperparameters=numbers,
        method=MethodOut(supervised=SupervisedOut(hyperparameters=numbers)),
        seed=spec.training.seed,
        trained_tokens=None if tokens is None or epochs is None else round(tokens * epochs),
        error=_error(job),
        user_provided_suffix=block.get("suffix"),
        metadata=block.get("metadata"),
        integrations=block.get("integrations") or [],
    )


def event_id(job_id: str, seq: int) -> str:
    return f"{EVENT}{job_id}_{seq}"


def show_event(row: Event | MetricRow, job: Job) -> TuningEventOut:
    """Show an event, or a logged step as an event."""
    of_step = isinstance(row, MetricRow)
    return TuningEventOut(
        id=event_id(job.id, row.seq),
        created_at=unix(row.time),
        level="info" if isinstance(row, MetricRow) else _level(row.type),
        message=_step(row, job) if isinstance(row, MetricRow) else row.message,
        type="metrics" if of_step else "message",
        data=_losses(row) if isinstance(row, MetricRow) else {"type": row.type, **row.data},
    )


def show_checkpoint(row: Checkpoint, job: Job, project: str, losses: Mapping[int, float | None]) -> TuningCheckpointOut:
    """Show a checkpoint.

    Args:
        losses: of training, by the step that logged them.
    """
    valid, accuracy = row.values.get("eval_loss"), row.values.get("eval_token_accuracy")
    return TuningCheckpointOut(
        id=checkpoint_id(job.id, row.step),
        created_at=unix(row.created_at),
        fine_tuned_model_checkpoint=name_of(job, project, row.step),
        fine_tuning_job_id=job.id,
        step_number=row.step,
        metrics=CheckpointMetricsOut(
            step=row.step,
            train_loss=losses.get(row.step),
            valid_loss=valid,
            full_valid_loss=valid,
            valid_mean_token_accuracy=accuracy,
            full_valid_mean_token_accuracy=accuracy,
        ),
    )


def checkpoint_id(job_id: str, step: int) -> str:
    return f"ftckpt_{job_id}_{step}"


def _error(job: Job) -> TuningErrorOut | None:
    if job.status != JobStatus.FAILED or job.error is None:
        return None
    message = " ".join(str(job.error[part]) for part in ("message", "hint") if job.error.get(part))
    return TuningErrorOut(code=job.error.get("code", "failed"), message=message)


def _level(kind: str) -> Literal["info", "warn", "error"]:
    return "error" if kind in ERRORS else "warn" if kind in WARNINGS else "info"


def _step(row: MetricRow, job: Job) -> str:
    name, loss = ("validation loss", "eval_loss") if row.kind == "eval" else ("training loss", "loss")
    value = row.values.get(loss)
    shown = "no loss" if value is None else f"{name} {value:.4g}"
    return f"Step {row.step}/{job.total_steps}: {shown}"


def _losses(row: MetricRow) -> dict[str, float | int | None]:
    name, loss = ("valid_loss", "eval_loss") if row.kind == "eval" else ("train_loss", "loss")
    return {"step": row.step, name: row.values.get(loss), **row.values}

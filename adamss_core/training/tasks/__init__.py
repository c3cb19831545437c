"""The training half of each task: data, processor, model and head, loss, metrics. The run around it is the same."""

from __future__ import annotations

from importlib import import_module

from adamss_core.spec import JobSpec, record_of
from adamss_core.training.base_model import Source, is_encoder_decoder
from adamss_core.training.tasks.base import Task

__all__ = ["Task", "task_of", "task_on"]


def task_on(spec: JobSpec, model: str, revision: str | None) -> Task:
    """Make the training half for a job on a base model; its config is read where the task depends on its kind.

    Args:
        model: a local folder, or a hub id.

    Raises:
        TrainingError: model_load_failed.
    """
    record = record_of(spec)
    if record.for_model(is_encoder_decoder=True) is record:
        return task_of(spec)
    source = Source(model, revision, spec.base_model, ())
    return task_of(spec, is_encoder_decoder=is_encoder_decoder(source, spec.task))


def task_of(spec: JobSpec, *, is_encoder_decoder: bool = False) -> Task:
    """Make the training half that the job's record names; modules of other tasks are not imported."""
    module, _, name = record_of(spec).for_model(is_encoder_decoder).training_half.partition(":")
    task: Task = getattr(import_module(module), name)(spec)
    return task

"""The training half of each task: data, processor, model and head, loss, metrics. The run around it is the same."""

from __future__ import annotations

from importlib import import_module

from adamss_core.spec import JobSpec, record_of
from adamss_core.training.tasks.base import Task

__all__ = ["Task", "task_of"]


def task_of(spec: JobSpec) -> Task:
    """Make the training half that the job's record names; modules of other tasks are not imported."""
    module, _, name = record_of(spec).training_half.partition(":")
    task: Task = getattr(import_module(module), name)(spec)
    return task

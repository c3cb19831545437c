"""What differs between tasks: data, processor, model and head, loss, metrics. Everything else is one run for all."""

from __future__ import annotations

from adamss_core.spec import JobSpec
from adamss_core.training.tasks.base import Task

__all__ = ["Task", "task_of"]


def task_of(spec: JobSpec) -> Task:
    """The job's task; what is only needed for another one is not imported."""
    if spec.task == "token-classification":
        from adamss_core.training.tasks.token_classification import TokenClassification

        return TokenClassification(spec)
    if spec.task == "image-classification":
        from adamss_core.training.tasks.image_classification import ImageClassification

        return ImageClassification(spec)
    if spec.task == "text-generation":
        from adamss_core.training.tasks.text_generation import TextGeneration

        return TextGeneration(spec)
    from adamss_core.training.tasks.text_classification import text_classification

    return text_classification(spec)

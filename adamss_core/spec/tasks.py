"""What belongs to which task: names, fields, evaluation metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from adamss_core.spec.adamss import FieldError, field_error

if TYPE_CHECKING:
    from adamss_core.spec.job import DatasetSpec, JobSpec

TaskName = Literal["text-classification", "token-classification", "image-classification", "text-generation"]
ProblemType = Literal["single_label_classification", "multi_label_classification", "regression"]
MetricName = Literal["loss", "accuracy", "macro_f1", "micro_f1", "matthews", "pearson", "spearman", "f1", "perplexity"]
Direction = Literal["max", "min"]

# Fields that mean something to some tasks only. A default is no statement: a spec is kept with all its fields.
FIELDS_OF_TASKS: dict[str, tuple[TaskName, ...]] = {
    "dataset.text": ("text-classification", "text-generation"),
    "dataset.text_pair": ("text-classification",),
    "dataset.label": ("text-classification", "image-classification"),
    "dataset.label_separator": ("text-classification",),
    "dataset.tokens": ("token-classification",),
    "dataset.tags": ("token-classification",),
    "dataset.image": ("image-classification",),
    "dataset.prompt": ("text-generation",),
    "dataset.completion": ("text-generation",),
    "dataset.messages": ("text-generation",),
    "training.packing": ("text-generation",),
    "training.sample_prompts": ("text-generation",),
}


def check_task_fields(spec: JobSpec) -> None:
    """Raises FieldError for what does not go with the task."""
    for path, tasks in FIELDS_OF_TASKS.items():
        block, _, name = path.partition(".")
        part = getattr(spec, block)
        if spec.task not in tasks and getattr(part, name) != type(part).model_fields[name].default:
            raise FieldError(path, f"belongs to {' and '.join(tasks)}, but the task is {spec.task}: leave it out")
    if spec.problem_type is not None and spec.task != "text-classification":
        raise field_error("problem_type", f"belongs to text-classification, but the task is {spec.task}: leave it out")
    if spec.dataset.label_separator is not None and spec.problem != "multi_label_classification":
        raise FieldError("dataset.label_separator", "needs problem_type multi_label_classification, or leave it out")
    check_generation_columns(spec.dataset)
    known = metrics_of(spec)
    if spec.training.metric_for_best not in ("auto", *known):
        raise FieldError(
            "training.metric_for_best",
            f"must be one of {', '.join(known)} for this task, but is {spec.training.metric_for_best!r}",
        )


def check_generation_columns(dataset: DatasetSpec) -> None:
    """Raises FieldError for half a pair, or two kinds of examples at once."""
    if dataset.messages is not None and (dataset.prompt or dataset.completion) is not None:
        raise FieldError("dataset.messages", "cannot go with prompt and completion: name the one or the others")
    if dataset.prompt is not None and dataset.completion is None:
        raise FieldError("dataset.completion", "is required with prompt: the column with the text to learn")
    if dataset.completion is not None and dataset.prompt is None:
        raise FieldError("dataset.prompt", "is required with completion; for text alone, use dataset.text")


def metrics_of(spec: JobSpec) -> tuple[str, ...]:
    """Names that an evaluation of the job has; the first one chooses the best checkpoint."""
    if spec.task == "token-classification":
        return ("f1", "accuracy", "loss")
    if spec.task == "text-generation":
        return ("loss", "perplexity")
    if spec.problem == "regression":
        return ("pearson", "spearman", "loss")
    if spec.problem == "multi_label_classification":
        return ("micro_f1", "macro_f1", "accuracy", "loss")
    return ("accuracy", "macro_f1", "matthews", "loss")


def direction_of(metric: str) -> Direction:
    """Whether a larger ("max") or a smaller ("min") value of an evaluation metric is better."""
    return "min" if metric in ("loss", "perplexity") else "max"

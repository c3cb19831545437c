"""The registry of tasks: everybody who must know something about a task asks its record.

A new task is its record in this folder, its training half in `adamss_core/training/tasks/`, and two words below: its
import, and its place in the loop that registers. Columns and training options that only it has are mixins, named in
`TaskColumns` and `TaskTraining`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel

from adamss_core.spec.adamss import FieldError
from adamss_core.spec.cells import Reader
from adamss_core.spec.facts import FACTS_FORMAT, ModelFacts
from adamss_core.spec.spec_model import OneOf
from adamss_core.spec.suggestion import Columns, Suggestion
from adamss_core.spec.tasks import image_classification, text_classification, text_generation, token_classification
from adamss_core.spec.tasks.base import TaskRecord
from adamss_core.spec.tasks.classes import ClassTraining
from adamss_core.spec.tasks.image_classification import ImageClassificationColumns
from adamss_core.spec.tasks.metrics import Metric
from adamss_core.spec.tasks.preset import Preset
from adamss_core.spec.tasks.text_classification import TextClassificationColumns
from adamss_core.spec.tasks.text_generation import TextGenerationColumns, TextGenerationTraining
from adamss_core.spec.tasks.token_classification import TokenClassificationColumns

if TYPE_CHECKING:
    from adamss_core.spec.job import JobSpec

_variants: dict[str, tuple[TaskRecord, ...]] = {}


class TaskColumns(
    TextGenerationColumns, ImageClassificationColumns, TokenClassificationColumns, TextClassificationColumns
):
    """The columns of all tasks, for the block `dataset`; pydantic lists those of the last base first."""


class TaskTraining(TextGenerationTraining, ClassTraining):
    """The options of single tasks, for the block `training`."""


def register(variants: Sequence[TaskRecord]) -> None:
    """Add a task.

    Args:
        variants: records of one name; the first is that of a job without `problem_type`.

    Raises:
        ValueError: another task has a metric of the same name with another title or direction. Lists of jobs, charts
            and exports put the values of one name side by side, so a name must mean one thing.
    """
    others = (records for name, records in _variants.items() if name != variants[0].name)
    known = {metric.name: metric for records in others for record in records for metric in record.metrics}
    for metric in (metric for record in variants for metric in record.metrics):
        if known.setdefault(metric.name, metric) != metric:
            raise ValueError(f"metric '{metric.name}' is {known[metric.name]} already: give this one another name")
    _variants[variants[0].name] = tuple(variants)


def unregister(name: str) -> None:
    del _variants[name]


for _task in (text_classification, token_classification, image_classification, text_generation):
    register(_task.RECORDS)


# --- one record -------------------------------------------------------------------------------------------------------


def record_of(spec: JobSpec) -> TaskRecord:
    """Return the record of the job's task, or of its variant."""
    return find_record(spec.task, spec.problem_type)


def record_on(spec: JobSpec, facts: ModelFacts) -> TaskRecord:
    """Return the record of the job's task on a base model."""
    return record_of(spec).for_model(facts.is_encoder_decoder)


def find_record(task: str, problem_type: str | None = None) -> TaskRecord:
    """Return the record of a task's variant; of its default variant without `problem_type`.

    Raises:
        KeyError: no task has this name, or the task no such variant.
    """
    for record in _variants[task]:
        if problem_type in (None, record.problem_type):
            return record
    raise KeyError(f"{task} has no problem_type {problem_type}")


def reader_of(spec: JobSpec) -> Reader:
    """Return the reader of the job's rows."""
    return record_of(spec).reader(spec)


def metrics_of(spec: JobSpec) -> tuple[str, ...]:
    """Return the names that an evaluation of the job has; the first one chooses the best checkpoint."""
    return tuple(metric.name for metric in record_of(spec).metrics)


def find_metric(task: str | None, problem_type: str | None, name: str | None) -> Metric | None:
    """Return a metric of a stored job; None where this version knows no such task, variant or metric."""
    for record in all_records():
        if record.name == task and problem_type in (None, record.problem_type):
            return next((metric for metric in record.metrics if metric.name == name), None)
    return None


# --- all records ------------------------------------------------------------------------------------------------------


def all_records() -> list[TaskRecord]:
    """Return the variants of all tasks, those of one task together."""
    return [record for variants in _variants.values() for record in variants]


def task_names() -> list[str]:
    return list(_variants)


def problem_types() -> list[str]:
    return list(dict.fromkeys(record.problem_type for record in all_records() if record.problem_type is not None))


def metric_names() -> list[str]:
    """Return the names of the metrics of all tasks; whatever else a metric is, its record knows."""
    return list(dict.fromkeys(metric.name for record in all_records() for metric in record.metrics))


def all_presets() -> list[Preset]:
    return [preset for record in all_records() for preset in record.presets]


def usual_columns() -> list[tuple[tuple[str, ...], str]]:
    """Return the columns of the inputs and of the class that presets name, for tasks with one class in each row."""
    found: list[tuple[tuple[str, ...], str]] = []
    for preset in all_presets():
        record = find_record(preset.task, preset.problem_type)
        if record.is_stratified and record.target is not None:
            inputs = [name for field, name in preset.dataset.items() if field in record.field_kinds]
            label = preset.dataset[record.target]
            found.append((tuple(name for name in inputs if name != label), label))
    return list(dict.fromkeys(found))


def facts_format() -> str:
    """Return the format of a model's facts: facts that were stored before a task was added are inspected again."""
    return f"{FACTS_FORMAT}: {', '.join(task_names())}"


def field_owners() -> dict[str, tuple[str, ...]]:
    """Return the path of each field that only some tasks have -> their names."""
    owners: dict[str, list[str]] = {}
    for record in all_records():
        blocks = {"dataset": record.dataset_fields, "training": record.training_fields}
        for path in (f"{block}.{field}" for block, fields in blocks.items() for field in fields):
            owners.setdefault(path, []).append(record.name)
    return {path: tuple(dict.fromkeys(names)) for path, names in owners.items()}


def implied_task(dataset: Mapping[str, Any]) -> str | None:
    """Return the task of a `dataset` block, where it sets a field that one task alone has; None where it does not."""
    owners = [tasks for path, tasks in field_owners().items() if path.removeprefix("dataset.") in dataset]
    named = {tasks[0] for tasks in owners if len(tasks) == 1}
    return named.pop() if len(named) == 1 else None


def _with_variants() -> tuple[str, ...]:
    """Return the names of the tasks that have variants."""
    return tuple(dict.fromkeys(record.name for record in all_records() if record.problem_type is not None))


TaskName = Annotated[str, OneOf(task_names)]
ProblemType = Annotated[str, OneOf(problem_types)]
MetricChoice = Annotated[str, OneOf(lambda: [*metric_names(), "auto"])]
DEFAULT_TASK = next(iter(_variants))


def name_owners(model: type[BaseModel], prefix: str = "") -> None:
    """Name in the description of each field that only some tasks have these tasks, after its first sentence."""
    owners = field_owners() | {"problem_type": _with_variants()}
    for name, field in model.model_fields.items():
        if tasks := owners.get(f"{prefix}{name}"):
            first, dot, rest = f"{field.description} ".partition(". ")
            field.description = f"{first} ({', '.join(tasks)}){dot}{rest}".rstrip()
    model.model_rebuild(force=True)


# --- what a data set would do for -------------------------------------------------------------------------------------


def suggestions(columns: Columns) -> list[Suggestion]:
    """Return what a data set would do for, the best first: a certain one before others, then by the evidence."""
    found = [suggestion for record in all_records() if (suggestion := record.suggest(columns)) is not None]
    return sorted(found, key=lambda suggestion: (suggestion.is_certain, suggestion.evidence), reverse=True)


# --- the fields of a spec ---------------------------------------------------------------------------------------------


def check_task_fields(spec: JobSpec) -> None:
    """Raise FieldError for a field that does not go with the task; a default counts as not set."""
    for path, tasks in field_owners().items():
        if spec.task not in tasks and _is_set(spec, path):
            raise FieldError(path, f"belongs to {' and '.join(tasks)}, but the task is {spec.task}: leave it out")
    _check_problem_type(spec)
    record = record_of(spec)
    record.check(spec)
    best, known = spec.training.metric_for_best, [metric.name for metric in record.metrics]
    if best not in ("auto", *known):
        raise FieldError(
            "training.metric_for_best", f"must be one of {', '.join(known)} for this task, but is {best!r}"
        )


def _check_problem_type(spec: JobSpec) -> None:
    tasks = [record.name for record in all_records() if record.problem_type == spec.problem_type]
    if spec.problem_type is not None and spec.task not in tasks:
        raise FieldError("problem_type", f"belongs to {' and '.join(tasks)}, but the task is {spec.task}: leave it out")


def _is_set(spec: JobSpec, path: str) -> bool:
    block, _, name = path.partition(".")
    part: BaseModel = getattr(spec, block)
    return bool(getattr(part, name) != type(part).model_fields[name].default)

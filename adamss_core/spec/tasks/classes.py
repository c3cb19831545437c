"""Rules on data sets whose labels are classes, shared by the tasks that classify."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from adamss_core.spec.labels import class_name
from adamss_core.spec.problem import SpecProblem
from adamss_core.spec.spec_model import SpecModel
from adamss_core.spec.survey import MAX_CLASSES, Survey

if TYPE_CHECKING:
    from adamss_core.spec.job import JobSpec
    from adamss_core.spec.tasks.base import TaskRecord


ClassName = Annotated[str, Field(min_length=1, max_length=1_000)]
Weight = Annotated[float, Field(gt=0, le=1e6)]
Weights = Annotated[dict[ClassName, Weight], Field(min_length=1, max_length=MAX_CLASSES)]
NAMED = 5  # columns of a label that a message names
CLASS_TRAINING = ("class_weights", "label_smoothing")  # `training_fields` of a task that classifies


class ClassTraining(SpecModel):
    class_weights: Weights | Literal["balanced"] | None = None
    """Weight of each class in the training loss. "balanced" lets each class count the same, however few rows it has; a
    map names weights, with 1 for all other classes. Evaluations keep the plain loss, so that jobs compare."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each label that is spread over all classes in the training loss. Evaluations keep the plain loss."""


def named_weights(weights: Mapping[str, float]) -> dict[str, float]:
    """Return class -> weight, with the classes' names as training data have them."""
    return {class_name(name): weight for name, weight in weights.items()}


def unknown_weighted_class(record: TaskRecord, spec: JobSpec, survey: Survey) -> SpecProblem | None:
    """Refuse a weight for a class that no row has."""
    weights = spec.training.class_weights
    unknown = sorted(set(named_weights(weights)) - set(survey.labels)) if isinstance(weights, dict) else []
    if not unknown:
        return None
    known = ", ".join(f"'{name[:60]}'" for name in sorted(survey.labels)[:20])
    return SpecProblem(
        "training.class_weights",
        f"class_weights names '{unknown[0][:60]}', but no row has this class in column '{_column(record, spec)}'. "
        f"Its classes are {known}.",
        "unknown_class",
    )


def too_many_classes(record: TaskRecord, spec: JobSpec, survey: Survey) -> SpecProblem | None:
    if not survey.has_too_many_classes:
        return None
    return _problem(
        record,
        f"Column '{_column(record, spec)}' has more than {MAX_CLASSES:,} different values, too many to be classes. "
        "Name the column with the classes.",
        "too_many_classes",
    )


def no_classes(record: TaskRecord, spec: JobSpec, survey: Survey) -> SpecProblem | None:
    if survey.labels:
        return None
    message = f"No row has a class in column '{_column(record, spec)}'. Name the column with the classes."
    return _problem(record, message, "no_classes")


def one_class(record: TaskRecord, spec: JobSpec, survey: Survey) -> SpecProblem | None:
    if len(survey.labels) != 1:
        return None
    return _problem(
        record,
        f"Every row has the label '{next(iter(survey.labels))[:60]}' in column '{_column(record, spec)}', so there is "
        "nothing to tell apart. Add rows of another class, or name another column.",
        "one_class",
    )


def unrepeated_classes(record: TaskRecord, spec: JobSpec, survey: Survey) -> SpecProblem | None:
    if max(survey.labels.values()) > 1:
        return None
    return _problem(
        record,
        f"No label in column '{_column(record, spec)}' comes twice in {survey.usable} rows. Name a column with "
        'classes; to predict numbers, set problem_type to "regression".',
        "no_classes",
    )


def _column(record: TaskRecord, spec: JobSpec) -> str:
    assert record.target is not None
    column: str | list[str] = getattr(spec.dataset, record.target)
    return column if isinstance(column, str) else "', '".join(column[:NAMED])


def _problem(record: TaskRecord, message: str, code: str) -> SpecProblem:
    return SpecProblem(f"dataset.{record.target}", message, code)

"""Rules on data sets whose labels are classes, shared by the tasks that classify."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adamss_core.spec.problem import SpecProblem
from adamss_core.spec.survey import MAX_CLASSES, Survey

if TYPE_CHECKING:
    from adamss_core.spec.job import JobSpec
    from adamss_core.spec.tasks.base import TaskRecord


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
    column: str = getattr(spec.dataset, record.target)
    return column


def _problem(record: TaskRecord, message: str, code: str) -> SpecProblem:
    return SpecProblem(f"dataset.{record.target}", message, code)

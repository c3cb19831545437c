"""Kinds of labels, whatever the inputs are: one class, any number of classes, or a number for each row."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adamss_core.spec.adamss import FieldError
from adamss_core.spec.cells import Cells, class_of, holds, label_set, number_of
from adamss_core.spec.problem import SpecProblem
from adamss_core.spec.suggestion import Columns, Suggestion
from adamss_core.spec.survey import MAX_CLASSES, Survey
from adamss_core.spec.tasks.answer import AnswerColumn
from adamss_core.spec.tasks.base import TaskRecord
from adamss_core.spec.tasks.classes import (
    CLASS_TRAINING,
    no_classes,
    one_class,
    too_many_classes,
    unknown_weighted_class,
    unrepeated_classes,
)
from adamss_core.spec.tasks.metrics import ACCURACY, LOSS, MACRO_F1, MATTHEWS, MICRO_F1, PEARSON, SPEARMAN

if TYPE_CHECKING:
    from adamss_core.spec.job import JobSpec

SINGLE_LABEL, MULTI_LABEL, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
# More different numbers than these may be classes or quantities: the job has to say which.
MANY_INTEGERS, MANY_FRACTIONS = 50, 10
USUAL_SPREAD = (0.05, 20.0)  # of numbers to predict, for which the usual learning rates work


def undeclared_numbers(record: TaskRecord, spec: JobSpec, survey: Survey) -> SpecProblem | None:
    """Refuse many numbers that may be classes or quantities, unless the job says which."""
    if spec.problem_type is not None:
        return None
    numbers = [_finite(name) for name in survey.labels]
    allowed = MANY_INTEGERS if all(number is not None and number.is_integer() for number in numbers) else MANY_FRACTIONS
    if None in numbers or len(numbers) <= allowed:
        return None
    more = " or more" if survey.has_too_many_classes else ""
    return SpecProblem(
        "problem_type",
        f"Column '{spec.dataset.label}' holds {min(len(numbers), MAX_CLASSES):,}{more} different numbers. Set "
        f'problem_type to "{REGRESSION}" to predict the number, or to "{SINGLE_LABEL}" if each is the name of a class.',
        "problem_type_missing",
    )


def one_value(record: TaskRecord, spec: JobSpec, survey: Survey) -> SpecProblem | None:
    if survey.spread != 0:
        return None
    return SpecProblem(
        "dataset.label",
        f"Every row has the number {survey.mean:g} in column '{spec.dataset.label}', so there is nothing to learn. "
        "Name another column.",
        "one_value",
    )


@dataclass(frozen=True)
class FoundInputs:
    """The columns of the inputs that a record found in a data set.

    Attributes:
        dataset: field -> column.
        usual: how many were found by a usual name or a telling type.
        reason: by what they were found.
    """

    dataset: dict[str, str]
    is_certain: bool
    usual: int
    reason: str


class LabelledRecord(TaskRecord):
    """A task with a label in each row; a record adds its inputs, and one of the kinds of labels below."""

    target = "label"
    answers = frozenset({"label"})
    training_fields = CLASS_TRAINING

    @abstractmethod
    def read_inputs(self, spec: JobSpec, cells: Cells) -> Cells:
        """Convert the cells of the inputs; raises Unusable."""

    @abstractmethod
    def read_label(self, spec: JobSpec, cell: Any) -> Any:
        """Convert a label cell; raises Unusable."""

    @abstractmethod
    def find_inputs(self, columns: Columns) -> FoundInputs | None:
        """Find the columns of the inputs in a data set."""

    def check(self, spec: JobSpec) -> None:
        if spec.dataset.label_separator is not None:
            raise FieldError("dataset.label_separator", f"needs problem_type {MULTI_LABEL}, or leave it out")
        if isinstance(spec.dataset.label, list):
            raise FieldError("dataset.label", f"lists columns, which needs problem_type {MULTI_LABEL}")

    def read_fields(self, spec: JobSpec) -> tuple[str, ...]:
        return tuple(dict.fromkeys(path.partition("[")[0] for path in self.columns(spec)))

    def read(self, spec: JobSpec, cells: Cells) -> Cells:
        return self.read_inputs(spec, cells) | {"label": self.read_label(spec, _label_cell(spec, cells))}

    def suggest(self, columns: Columns) -> Suggestion | None:
        """Find inputs with a label of this record's kind."""
        inputs = self.find_inputs(columns)
        label = None if inputs is None else columns.label(list(inputs.dataset.values()))
        if inputs is None or label is None:
            return None
        problem_type, what, is_clear = _kind_of(columns.by_name[label.column])
        if problem_type != self.problem_type:
            return None
        return Suggestion(
            self.name,
            None if self.problem_type == SINGLE_LABEL else self.problem_type,
            {**inputs.dataset, "label": label.column},
            is_certain=is_clear and inputs.is_certain and label.is_certain,
            evidence=inputs.usual + label.is_usual,
            reason=f"{inputs.reason} and {label.column!r} {what}",
        )

    def column_problem(self, field: str, column: str, column_type: str) -> SpecProblem | None:
        if field != "label" or column_type not in ("list", "vector"):
            return super().column_problem(field, column, column_type)
        if column_type == "vector":
            return _vectors(column)
        return SpecProblem(
            "problem_type",
            f"Column '{column}' holds lists of classes. Set problem_type to \"{MULTI_LABEL}\", or name a column with "
            "one class in each row.",
            "problem_type_missing",
        )


class OneClass(LabelledRecord):
    """Classes that exclude each other."""

    problem_type = SINGLE_LABEL
    is_stratified = True
    metrics = (ACCURACY, MACRO_F1, MATTHEWS, LOSS)
    survey_rules = (
        undeclared_numbers,
        too_many_classes,
        no_classes,
        one_class,
        unrepeated_classes,
        unknown_weighted_class,
    )
    answer_field = "label"
    answer_columns = (AnswerColumn("label", "Label"), AnswerColumn("score", "Score", decimals=4))

    def read_label(self, spec: JobSpec, cell: Any) -> str:
        return class_of(cell)

    def classes_of(self, cells: Cells) -> tuple[str, ...]:
        return (cells["label"],)


class SeveralClasses(LabelledRecord):
    """Any number of classes for a row."""

    problem_type = MULTI_LABEL
    metrics = (MICRO_F1, MACRO_F1, ACCURACY, LOSS)
    survey_rules = (too_many_classes, no_classes, unrepeated_classes, unknown_weighted_class)
    answer_field = "labels"
    answer_columns = (AnswerColumn("labels", "Labels"),)

    def check(self, spec: JobSpec) -> None:
        if isinstance(spec.dataset.label, list) and spec.dataset.label_separator is not None:
            raise FieldError("dataset.label_separator", "has no effect on columns of 0 and 1: leave it out")

    def suggest(self, columns: Columns) -> Suggestion | None:
        """Find inputs with a list of classes, or with columns of 0 and 1 for each class."""
        found, inputs = super().suggest(columns), self.find_inputs(columns)
        if found is not None or inputs is None or columns.label(list(inputs.dataset.values())) is not None:
            return found
        marks = columns.of_marks()
        if len(marks) < 2:
            return None
        mapping: dict[str, str | list[str]] = {**inputs.dataset, "label": marks}
        reason = f"{inputs.reason}, and {len(marks)} columns are 0 or 1 in every row, one for each class"
        return Suggestion(self.name, self.problem_type, mapping, False, 1 + inputs.usual, reason)

    def read_label(self, spec: JobSpec, cell: Any) -> tuple[str, ...]:
        return label_set(cell, spec.dataset.label_separator)

    def classes_of(self, cells: Cells) -> tuple[str, ...]:
        labels: tuple[str, ...] = cells["label"]
        return labels

    def column_problem(self, field: str, column: str, column_type: str) -> SpecProblem | None:
        if field == "label" and column_type != "vector":
            return None
        return super().column_problem(field, column, column_type)


class OneNumber(LabelledRecord):
    """A number to predict for each row."""

    problem_type = REGRESSION
    metrics = (PEARSON, SPEARMAN, LOSS)
    survey_rules = (one_value,)
    answer_field = "value"
    answer_columns = (AnswerColumn("value", "Value"),)
    # Outputs are on the scale of the data: in bf16 a year could only be told to the nearest eight.
    trains_in_fp32 = True

    def check(self, spec: JobSpec) -> None:
        super().check(spec)
        for name in CLASS_TRAINING:
            if getattr(spec.training, name) != type(spec.training).model_fields[name].default:
                raise FieldError(
                    f"training.{name}", f"needs classes, but problem_type is {self.problem_type}: leave it out"
                )

    def read_label(self, spec: JobSpec, cell: Any) -> float:
        return number_of(cell)

    def number_of(self, cells: Cells) -> float:
        number: float = cells["label"]
        return number

    def survey_warnings(self, spec: JobSpec, survey: Survey) -> list[str]:
        low, high = USUAL_SPREAD
        if low <= survey.spread <= high:
            return []
        return [
            f"The numbers in '{spec.dataset.label}' spread by {survey.spread:.3g} around {survey.mean:.3g}. The usual "
            "learning rates fit a spread of about 1: divide the column by a number that brings it there."
        ]

    def outputs(self, classes: int) -> int:
        return 1


def _label_cell(spec: JobSpec, cells: Cells) -> Any:
    """Return the cell with the label; of columns for each class the list of those that hold."""
    columns = spec.dataset.label
    if isinstance(columns, str):
        return cells["label"]
    return [name for place, name in enumerate(columns) if holds(cells[f"label[{place}]"])]


def _vectors(column: str) -> SpecProblem:
    return SpecProblem(
        "dataset.label",
        f"Column '{column}' holds as many numbers from 0 to 1 in every row, as if each place stood for a class; their "
        "names are unknown, and shares of classes are not learned. Write the names of each row's classes as a list, or "
        f"a column of 0 and 1 for each class, and list those columns with problem_type {MULTI_LABEL}.",
        "wrong_column_type",
    )


def _kind_of(label: Mapping[str, Any]) -> tuple[str, str, bool]:
    """Return the problem type of a label column's profile, what the column holds, and whether there is no doubt."""
    many = f"{label['distinct']:,}{' or more' if label['distinct_capped'] else ''} different"
    numbers = [_finite(name) for name in label["values"] or ()]
    are_whole = label["type"] == "integer" or all(number is not None and number.is_integer() for number in numbers)
    if label["type"] == "vector":
        return MULTI_LABEL, "as many numbers from 0 to 1 in every row, which no task reads as classes", False
    if label["type"] == "mixed":
        return MULTI_LABEL, "lists of classes in some rows and one class in others", False
    if label["type"] == "list":
        return MULTI_LABEL, f"lists of {many} classes", True
    if label["type"] not in ("integer", "float"):
        return SINGLE_LABEL, f"{many} classes", label["values"] is not None
    if label["distinct"] > (MANY_INTEGERS if are_whole else MANY_FRACTIONS):
        return REGRESSION, f"{many} numbers", not are_whole
    return SINGLE_LABEL, f"{many} classes", are_whole


def _finite(name: str) -> float | None:
    try:
        number = float(name)
    except ValueError:
        return None
    return number if math.isfinite(number) else None

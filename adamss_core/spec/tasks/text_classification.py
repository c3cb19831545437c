"""Text classification: one class, several classes, or a number for a text or a pair of texts."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from adamss_core.spec.adamss import FieldError
from adamss_core.spec.cells import Cells, Unusable, class_of, holds, label_set, number_of
from adamss_core.spec.labels import as_text
from adamss_core.spec.problem import SpecProblem
from adamss_core.spec.spec_model import Column
from adamss_core.spec.suggestion import Choice, Columns, Suggestion
from adamss_core.spec.survey import MAX_CLASSES, Survey
from adamss_core.spec.tasks.answer import AnswerColumn
from adamss_core.spec.tasks.base import FieldKind, TaskRecord
from adamss_core.spec.tasks.classes import (
    CLASS_TRAINING,
    no_classes,
    one_class,
    too_many_classes,
    unknown_weighted_class,
    unrepeated_classes,
)
from adamss_core.spec.tasks.columns import LabelColumn, TextColumn
from adamss_core.spec.tasks.metrics import ACCURACY, LOSS, MACRO_F1, MATTHEWS, MICRO_F1, PEARSON, SPEARMAN
from adamss_core.spec.tasks.preset import ENCODER_ADAMSS, ENCODER_TRAINING, MEASURED, Preset

if TYPE_CHECKING:
    from adamss_core.spec.job import JobSpec

NAME = "text-classification"
HALF = "adamss_core.training.tasks.text_classification"
# More different numbers than these may be classes or quantities: the job has to say which.
MANY_INTEGERS, MANY_FRACTIONS = 50, 10
# Usual names of pairs of texts, the most telling first.
PAIRS = (
    *(("text", "text_pair"), ("premise", "hypothesis"), ("sentence1", "sentence2"), ("question1", "question2")),
    *(("text1", "text2"), ("sentence_a", "sentence_b"), ("text_a", "text_b"), ("query", "passage")),
)
USUAL_SPREAD = (0.05, 20.0)  # of numbers to predict, for which the usual learning rates work


class TextClassificationColumns(LabelColumn, TextColumn):
    text_pair: Column | None = None
    """Column with the second text, for pairs."""
    label_separator: Annotated[str, Field(min_length=1, max_length=5)] | None = None
    """What separates the classes within a cell, where a row has several; lists in JSONL need none."""


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
        'problem_type to "regression" to predict the number, or to "single_label_classification" if each is the name '
        "of a class.",
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


class TextClassification(TaskRecord):
    """The common part of the variants."""

    name = NAME
    title = "Text classification"
    column_sets = (("text", "label", "text_pair"), ("text", "label"))
    field_kinds: ClassVar[Mapping[str, FieldKind]] = {"text": "text", "label": "label", "text_pair": "text"}
    field_titles: ClassVar[Mapping[str, str]] = {"text_pair": "Second text"}
    target = "label"
    answers = frozenset({"label"})
    dataset_options = ("label_separator",)
    training_fields = CLASS_TRAINING
    needs = "both a text and a label"
    auto_model = "AutoModelForSequenceClassification"
    peft_type = "SEQ_CLS"

    def check(self, spec: JobSpec) -> None:
        if spec.dataset.label_separator is not None:
            raise FieldError(
                "dataset.label_separator", f"needs problem_type {MultiLabel.problem_type}, or leave it out"
            )
        if isinstance(spec.dataset.label, list):
            raise FieldError("dataset.label", f"lists columns, which needs problem_type {MultiLabel.problem_type}")

    def read_fields(self, spec: JobSpec) -> tuple[str, ...]:
        return tuple(dict.fromkeys(path.partition("[")[0] for path in self.columns(spec)))

    def read(self, spec: JobSpec, cells: Cells) -> Cells:
        texts: Cells = {}
        for field in ("text", "text_pair"):
            if field in cells:
                texts[field] = as_text(cells[field])
                if not texts[field] or isinstance(cells[field], list | dict):
                    raise Unusable("without a text")
        return texts | {"label": self.read_label(spec, self._label_cell(spec, cells))}

    def _label_cell(self, spec: JobSpec, cells: Cells) -> Any:
        """Return the cell with the label; of columns for each class the list of those that hold."""
        columns = spec.dataset.label
        if isinstance(columns, str):
            return cells["label"]
        return [name for place, name in enumerate(columns) if holds(cells[f"label[{place}]"])]

    def suggest(self, columns: Columns) -> Suggestion | None:
        """Find a text, or a pair of texts, with a label of this variant's kind."""
        text = columns.text()
        pair = next((both for names in PAIRS if (both := columns.both_texts(names)) is not None), None)
        texts = [Choice(name, is_usual=True, is_only=True) for name in pair or ()] or ([] if text is None else [text])
        label = columns.label([text.column for text in texts]) if texts else None
        if label is None:
            return None
        problem_type, what, is_clear = _kind_of(columns.by_name[label.column])
        if problem_type != self.problem_type:
            return None
        names = [choice.column for choice in texts]
        chosen = [*texts, label]
        return Suggestion(
            self.name,
            None if self.problem_type == SingleLabel.problem_type else self.problem_type,
            {**dict(zip(("text", "text_pair"), names, strict=False)), "label": label.column},
            is_certain=is_clear and all(choice.is_certain for choice in chosen),
            evidence=sum(choice.is_usual for choice in chosen),
            reason=f"{' and '.join(map(repr, names))} hold{'s' * (pair is None)} text and {label.column!r} {what}",
        )

    @abstractmethod
    def read_label(self, spec: JobSpec, cell: Any) -> Any:
        """Convert a label cell; raises Unusable."""

    def column_problem(self, field: str, column: str, column_type: str) -> SpecProblem | None:
        if field != "label" or column_type != "list":
            return super().column_problem(field, column, column_type)
        return SpecProblem(
            "problem_type",
            f"Column '{column}' holds lists of classes. Set problem_type to \"{MultiLabel.problem_type}\", or name a "
            "column with one class in each row.",
            "problem_type_missing",
        )


class SingleLabel(TextClassification):
    """One class for each text."""

    problem_type = "single_label_classification"
    training_half = f"{HALF}:SingleLabel"
    is_stratified = True
    is_profiled = True
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
    presets = (
        Preset(
            name=NAME,
            task=NAME,
            dataset={"text": "text", "label": "label"},
            adamss=ENCODER_ADAMSS,
            training=ENCODER_TRAINING,
            reason=MEASURED,
        ),
        Preset(
            name="text-pairs",
            task=NAME,
            dataset={"text": "text", "text_pair": "text_pair", "label": "label"},
            adamss=ENCODER_ADAMSS,
            training=ENCODER_TRAINING,
            reason=f"Not measured on a task of its own: the values that were measured for {NAME}.",
        ),
    )

    def read_label(self, spec: JobSpec, cell: Any) -> str:
        return class_of(cell)

    def classes_of(self, cells: Cells) -> tuple[str, ...]:
        return (cells["label"],)


class MultiLabel(TextClassification):
    """Any number of classes for each text."""

    problem_type = "multi_label_classification"
    training_half = f"{HALF}:MultiLabel"
    metrics = (MICRO_F1, MACRO_F1, ACCURACY, LOSS)
    survey_rules = (too_many_classes, no_classes, unrepeated_classes, unknown_weighted_class)
    answer_field = "labels"
    answer_columns = (AnswerColumn("labels", "Labels"),)
    presets = (
        Preset(
            name="multi-label",
            task=NAME,
            problem_type=problem_type,
            dataset={"text": "text", "label": "labels", "label_separator": ";"},
            adamss=ENCODER_ADAMSS,
            training=ENCODER_TRAINING,
            reason=f"Not measured on a task of its own: the values that were measured for {NAME}.",
        ),
    )

    def check(self, spec: JobSpec) -> None:
        if isinstance(spec.dataset.label, list) and spec.dataset.label_separator is not None:
            raise FieldError("dataset.label_separator", "has no effect on columns of 0 and 1: leave it out")

    def suggest(self, columns: Columns) -> Suggestion | None:
        """Find a text with a list of classes, or with columns of 0 and 1 for each class."""
        found, text = super().suggest(columns), columns.text()
        marks = (
            columns.of_marks() if text is not None and found is None and columns.label([text.column]) is None else []
        )
        if text is None or len(marks) < 2:
            return found
        mapping: dict[str, str | list[str]] = {"text": text.column, "label": marks}
        reason = f"{text.column!r} holds text, and {len(marks)} columns are 0 or 1 in every row, one for each class"
        return Suggestion(self.name, self.problem_type, mapping, False, 1 + text.is_usual, reason)

    def read_label(self, spec: JobSpec, cell: Any) -> tuple[str, ...]:
        return label_set(cell, spec.dataset.label_separator)

    def classes_of(self, cells: Cells) -> tuple[str, ...]:
        labels: tuple[str, ...] = cells["label"]
        return labels

    def column_problem(self, field: str, column: str, column_type: str) -> SpecProblem | None:
        return None if field == "label" else super().column_problem(field, column, column_type)


class Regression(TextClassification):
    """A number for each text."""

    problem_type = "regression"
    training_half = f"{HALF}:Regression"
    metrics = (PEARSON, SPEARMAN, LOSS)
    survey_rules = (one_value,)
    answer_field = "value"
    answer_columns = (AnswerColumn("value", "Value"),)
    # Outputs are on the scale of the data: in bf16 a year could only be told to the nearest eight.
    trains_in_fp32 = True
    presets = (
        Preset(
            name="regression",
            task=NAME,
            problem_type=problem_type,
            dataset={"text": "text", "label": "score"},
            adamss=ENCODER_ADAMSS,
            training=ENCODER_TRAINING,
            reason="Measured with `make bench-rates` (MiniLM, the raters' mean of movie reviews): Pearson 0.70 at "
            "0.01, 0.74 at 0.03, against 0.74 of LoRA at its best rate of 0.003.",
        ),
    )

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


def _kind_of(label: Mapping[str, Any]) -> tuple[str, str, bool]:
    """Return the problem type of a label column's profile, what the column holds, and whether there is no doubt."""
    many = f"{label['distinct']:,}{' or more' if label['distinct_capped'] else ''} different"
    numbers = [_finite(name) for name in label["values"] or ()]
    are_whole = label["type"] == "integer" or all(number is not None and number.is_integer() for number in numbers)
    if label["type"] == "list":
        return MultiLabel.problem_type, f"lists of {many} classes", True
    if label["type"] not in ("integer", "float"):
        return SingleLabel.problem_type, f"{many} classes", label["values"] is not None
    if label["distinct"] > (MANY_INTEGERS if are_whole else MANY_FRACTIONS):
        return Regression.problem_type, f"{many} numbers", not are_whole
    return SingleLabel.problem_type, f"{many} classes", are_whole


def _finite(name: str) -> float | None:
    try:
        number = float(name)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


RECORDS = (SingleLabel(), MultiLabel(), Regression())

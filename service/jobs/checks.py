"""What of the data cannot work for a job, said with a remedy before anything is trained."""

from __future__ import annotations

import math

from adamss_core.spec import JobSpec
from adamss_core.spec.cells import reader_of, why_left_out
from service.datasets.profiling import MAX_DISTINCT
from service.jobs.rows import NESTED, Scan
from service.shared.database.tables import Dataset
from service.shared.errors import InvalidRequest, quoted_names

MIN_ROWS = 4
SUGGESTED_ROWS_PER_CLASS = 8
# More different numbers than these may be classes or quantities: the job has to say which.
MANY_INTEGERS, MANY_FRACTIONS = 50, 10
SPREAD = (0.05, 20.0)  # of numbers to predict, for which the usual learning rates do


def check_columns(spec: JobSpec, dataset: Dataset, param: str) -> None:
    """Raises InvalidRequest for a column that is not there, or cannot be what the task takes it for."""
    columns = {column["name"]: column for column in dataset.profile["columns"]}
    for field, name in reader_of(spec).columns.items():
        if name not in columns:
            raise InvalidRequest(
                f"Data set {dataset.id} ({param}) has no column '{name}'. It has {quoted_names(list(columns))}.",
                code="unknown_column",
                param=f"dataset.{field}",
            )
        kind = columns[name]["type"]
        if field == "messages" and kind not in ("messages", "empty"):
            raise _wrong_column(field, name, f"holds no chats but is of type {kind}", "Name a column with lists of "
                                'messages, such as [{"role": "user", "content": "..."}].')  # fmt: skip
        if field in ("text", "text_pair", "image", "prompt", "completion") and kind in NESTED:
            raise _wrong_column(
                field, name, f"holds {_KINDS[kind]}, not a text in each row", "Name a column with text."
            )
        if field == "label":
            _check_label_column(spec, kind, name)


_KINDS = {"list": "lists", "messages": "chats"}


def _wrong_column(field: str, name: str, what: str, remedy: str) -> InvalidRequest:
    return InvalidRequest(f"Column '{name}' {what}. {remedy}", code="wrong_column_type", param=f"dataset.{field}")


def _check_label_column(spec: JobSpec, kind: str, name: str) -> None:
    if kind == "list" and spec.task == "text-classification" and spec.problem != "multi_label_classification":
        raise InvalidRequest(
            f"Column '{name}' holds lists of classes. Set problem_type to \"multi_label_classification\", or name a "
            "column with one class in each row.",
            code="problem_type_missing",
            param="problem_type",
        )


def check_rows(spec: JobSpec, found: Scan) -> None:
    """Raises InvalidRequest where there is nothing to learn."""
    if found.usable == 0:
        names = quoted_names(list(reader_of(spec).columns.values()))
        raise InvalidRequest(
            f"No row can be used: {why_left_out(found.left_out) or 'the data set is empty'}. The job reads {names}; "
            "name the columns that hold its data.",
            code="no_usable_rows",
            param="dataset.train",
        )
    if spec.problem == "regression":
        if found.spread == 0:
            raise InvalidRequest(
                f"Every row has the number {found.mean:g} in column '{spec.dataset.label}', so there is nothing to "
                "learn. Name another column.",
                code="one_value",
                param="dataset.label",
            )
    elif spec.task != "text-generation":
        _check_kind_of_label(spec, found)
        _check_classes(spec, found)
    if found.usable < MIN_ROWS:
        raise InvalidRequest(
            f"Only {found.usable} rows can be used; at least {MIN_ROWS} are needed, and some "
            f"{SUGGESTED_ROWS_PER_CLASS} a class to learn anything.",
            code="too_few_rows",
            param="dataset.train",
        )


def _check_kind_of_label(spec: JobSpec, found: Scan) -> None:
    """Raises InvalidRequest for many numbers of which nobody said what they are."""
    if spec.task != "text-classification" or spec.problem_type is not None:
        return
    numbers = [_number(name) for name in found.labels]
    if None in numbers or len(numbers) <= (MANY_INTEGERS if all(map(_is_whole, numbers)) else MANY_FRACTIONS):
        return
    raise InvalidRequest(
        f"Column '{spec.dataset.label}' holds {min(len(numbers), MAX_DISTINCT):,}"
        f'{" or more" if found.has_too_many_classes else ""} different numbers. Set problem_type to "regression" to '
        'predict the number, or to "single_label_classification" if each is the name of a class.',
        code="problem_type_missing",
        param="problem_type",
    )


def _number(name: str) -> float | None:
    try:
        value = float(name)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _is_whole(value: float | None) -> bool:
    return value is not None and value.is_integer()


def _check_classes(spec: JobSpec, found: Scan) -> None:
    field = "tags" if spec.task == "token-classification" else "label"
    name = getattr(spec.dataset, field)
    several = spec.problem == "multi_label_classification"
    if found.has_too_many_classes:
        raise InvalidRequest(
            f"Column '{name}' has more than {MAX_DISTINCT:,} different values, too many to be classes. Name the column "
            "with the classes.",
            code="too_many_classes",
            param=f"dataset.{field}",
        )
    if not found.labels:
        raise InvalidRequest(
            f"No row has a class in column '{name}'. Name the column with the classes.",
            code="no_classes",
            param=f"dataset.{field}",
        )
    if len(found.labels) == 1 and not several:
        raise InvalidRequest(
            f"Every row has the label '{next(iter(found.labels))[:60]}' in column '{name}', so there is nothing to "
            "tell apart. Add rows of another class, or name another column.",
            code="one_class",
            param=f"dataset.{field}",
        )
    if max(found.labels.values()) == 1 and field == "label":
        raise InvalidRequest(
            f"No label in column '{name}' comes twice in {found.usable} rows. Name a column with classes; to predict "
            'numbers, set problem_type to "regression".',
            code="no_classes",
            param="dataset.label",
        )


def check_evaluation(spec: JobSpec, found: Scan) -> None:
    if found.usable == 0:
        raise InvalidRequest(
            f"No row of the evaluation data can be used: {why_left_out(found.left_out) or 'it is empty'}. Name a data "
            "set with the same columns as the training data.",
            code="no_usable_rows",
            param="dataset.eval",
        )
    if found.unknown == found.usable:
        raise InvalidRequest(
            "No label of the evaluation data occurs in the training data. Name data with the same labels.",
            code="labels_differ",
            param="dataset.eval",
        )


def left_out_warning(found: Scan, which: str) -> list[str]:
    rows = found.left_out.total()
    return [f"{rows} {which} rows are left out: {why_left_out(found.left_out)}."] if rows else []


def spread_warning(spec: JobSpec, found: Scan) -> list[str]:
    low, high = SPREAD
    if spec.problem != "regression" or low <= found.spread <= high:
        return []
    return [
        f"The numbers in '{spec.dataset.label}' spread by {found.spread:.3g} around {found.mean:.3g}. The usual "
        "learning rates fit a spread of about 1: divide the column by a number that brings it there."
    ]

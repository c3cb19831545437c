"""Fill in what a spec leaves out of task and columns, from what its training data look like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from adamss_core.spec import JobSpec, record_of
from adamss_core.spec.suggestion import ColumnMapping, Columns, Suggestion
from adamss_core.spec.tasks import all_records, suggestions
from service.datasets.splits import EVAL, TEST, TRAIN
from service.shared.database.tables import Dataset


@dataclass(frozen=True)
class Completed:
    """A spec whose task and columns are known.

    Attributes:
        taken: paths of the fields that were taken from the suggestion.
        suggestion: None where nothing was taken.
    """

    spec: JobSpec
    taken: tuple[str, ...] = ()
    suggestion: Suggestion | None = None

    def warnings(self) -> list[str]:
        """Describe what was taken from a suggestion that leaves doubt."""
        if self.suggestion is None or self.suggestion.is_certain:
            return []
        return [
            f"The spec leaves out {_listed(self.taken)}. From the data they are likely: {describe(self.suggestion)} "
            f"({self.suggestion.reason}). Write them into the spec to be sure."
        ]


def suggest(dataset: Dataset, given: ColumnMapping | None = None) -> list[Suggestion]:
    """Return what a data set would do for, the best first.

    Args:
        given: field -> column, as a spec has them: only suggestions with these columns are returned.
    """
    given = given or {}
    columns = Columns(dataset.profile["columns"], dataset.rows, dataset.format == "images", given)
    return [found for found in suggestions(columns) if given.items() <= found.dataset.items()]


def splits_of(dataset: Dataset) -> dict[str, str]:
    """Return eval and test -> id of the data set that was uploaded with this one, which is to train on."""
    splits = dict(dataset.profile.get("splits", {}))
    return {name: splits[name] for name in (EVAL, TEST) if name in splits} if splits.get(TRAIN) == dataset.id else {}


def complete(spec: JobSpec, dataset: Dataset) -> Completed:
    """Fill in task, columns and splits that the spec leaves out; what it names itself is never changed."""
    completed = _with_columns(spec, dataset)
    given = {name for name in spec.dataset.model_fields_set if getattr(spec.dataset, name) is not None}
    splits = splits_of(dataset)
    if given & {EVAL, "eval_fraction", "group"}:
        splits.pop(EVAL, None)
    added = {name: one for name, one in splits.items() if name not in given}
    if not added:
        return completed
    data = completed.spec.dataset.model_copy(update=added)
    taken = (*completed.taken, *(f"dataset.{name}" for name in added))
    return replace(completed, spec=completed.spec.model_copy(update={"dataset": data}), taken=taken)


def _with_columns(spec: JobSpec, dataset: Dataset) -> Completed:
    names = [column["name"] for column in dataset.profile["columns"]]
    usual = record_of(spec).with_usual_columns(spec, names)
    if names_task(spec) and set(record_of(usual).columns(usual).values()) <= set(names):
        return Completed(usual)
    given = _given_columns(spec)
    for suggestion in suggest(dataset, given):
        if completed := _taken(spec, suggestion, given):
            return completed
    return Completed(usual)


def names_task(spec: JobSpec) -> bool:
    return "task" in spec.model_fields_set


def mapping_that_works(spec: JobSpec, dataset: Dataset) -> Suggestion | None:
    """Return columns of the data set that would do for the spec's task, whatever columns it names."""
    return next((found for found in suggest(dataset) if found.task == spec.task), None)


def describe(suggestion: Suggestion) -> str:
    """Write a suggestion as the fields of a spec."""
    problem_type = "" if suggestion.problem_type is None else f", problem_type {suggestion.problem_type}"
    return f"task {suggestion.task}{problem_type}, {describe_columns(suggestion)}"


def describe_columns(suggestion: Suggestion) -> str:
    return ", ".join(f"dataset.{field} {_quoted(columns)}" for field, columns in suggestion.dataset.items())


def _quoted(columns: str | list[str]) -> str:
    return f"'{columns}'" if isinstance(columns, str) else f"[{', '.join(map(_quoted, columns))}]"


def _given_columns(spec: JobSpec) -> ColumnMapping:
    """Return field -> column of the fields of any task that the spec sets itself."""
    fields = {field for record in all_records() for field in record.field_kinds}
    values: Mapping[str, Any] = {name: getattr(spec.dataset, name) for name in spec.dataset.model_fields_set & fields}
    return {name: column for name, column in values.items() if column is not None}


def _taken(spec: JobSpec, suggestion: Suggestion, given: ColumnMapping) -> Completed | None:
    """Return the spec with what it leaves out taken from the suggestion; None where the two do not go together."""
    if names_task(spec) and spec.task != suggestion.task:
        return None
    if spec.problem_type is not None and spec.problem_type != suggestion.problem_type:
        return None
    fields: dict[str, Any] = {}
    if not names_task(spec):
        fields["task"] = suggestion.task
        if spec.problem_type is None and suggestion.problem_type is not None:
            fields["problem_type"] = suggestion.problem_type
    columns = {name: column for name, column in suggestion.dataset.items() if name not in given}
    plain = spec.model_dump(exclude_unset=True)
    try:
        completed = JobSpec.model_validate({**plain, **fields, "dataset": {**plain["dataset"], **columns}})
    except ValidationError:  # fields that the spec sets belong to another task
        return None
    return Completed(completed, (*fields, *(f"dataset.{name}" for name in columns)), suggestion)


def _listed(paths: tuple[str, ...]) -> str:
    *first, last = paths
    return f"{', '.join(first)} and {last}" if first else last

"""The data sets that a job trains on: their ids, the column of groups, and the rows that each one gives."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

from adamss_core.spec import JobSpec, SpecProblem
from adamss_core.spec.tasks.base import NESTED
from service.http.openapi import Out
from service.jobs.case import TRAIN, Case
from service.shared.errors import quoted_names


class TrainingSetOut(Out):
    """Count what one of the data sets gives to a job."""

    dataset: str
    """Id of the data set."""
    weight: float
    """Times that its training rows are seen in an epoch."""
    usable: int
    """Rows with everything that the job needs."""
    trained: int
    """Rows in an epoch, without those held out, by the weight."""


def training_sets(case: Case) -> list[TrainingSetOut]:
    """List what each data set gives, where there are several."""
    sets = case.spec.dataset.training_sets
    if len(sets) == 1:
        return []
    return [
        TrainingSetOut(dataset=one.id, weight=one.weight, usable=part.usable, trained=trained)
        for one, part, trained in zip(sets, case.training_parts, case.row_counts.trained, strict=True)
    ]


def training_ids(spec: JobSpec) -> dict[str, str]:
    """Return field of the spec -> id of a data set to train on."""
    ids = [one.id for one in spec.dataset.training_sets]
    return {f"{TRAIN}[{i}]" if len(ids) > 1 else TRAIN: one for i, one in enumerate(ids)}


def group_problems(case: Case) -> list[SpecProblem]:
    """Return why `dataset.group` cannot divide the rows."""
    group = case.spec.dataset.group
    if group is None:
        return []
    if case.record.target is not None and case.spec.dataset.group == getattr(case.spec.dataset, case.record.target):
        message = (
            f"Column '{group}' is the label: whole classes would be held out, and none of them could be learnt. Name "
            "another column, or leave dataset.group out."
        )
        return [SpecProblem("dataset.group", message, "group_is_label")]
    known = {name: {column["name"]: column for column in one.profile["columns"]} for name, one in case.training.items()}
    for param, columns in known.items():
        if group not in columns:
            message = f"Data set '{case.training[param].name}' ({param}) has no column '{group}'. It has "
            return [SpecProblem("dataset.group", f"{message}{quoted_names(list(columns))}.", "unknown_column")]
        if columns[group]["type"] in NESTED:
            return [SpecProblem("dataset.group", f"Column '{group}' holds lists; name one of plain values.")]
    if all(columns[group]["distinct"] == 1 and not columns[group]["empty"] for columns in known.values()):
        values = {value for columns in known.values() for value in columns[group]["values"] or ()}
        if len(values) == 1:
            message = f"All rows have the same value in column '{group}', so none can be held out. Name another column."
            return [SpecProblem("dataset.group", message, "one_group")]
    return []


def group_warnings(case: Case) -> list[str]:
    """Say that whole groups are held out, so that their rows are counted by the run only."""
    group = case.spec.dataset.group
    if group is None:
        return []
    single = sum(
        column["empty"]
        for one in case.training.values()
        for column in one.profile["columns"]
        if column["name"] == group
    )
    alone = f" {single:,} rows have no value there: each is a group of its own." if single else ""
    return [
        f"Whole groups of '{group}' are held out, so the numbers of rows trained on and held out are not exact before "
        f"the run.{alone}"
    ]


def disjoint_classes(case: Case) -> list[str]:
    """Warn of two data sets without a common class, as where each writes the same classes in its own way.

    A data set of one class is left alone: a file for each class is usual.
    """
    sets = zip(case.training.values(), case.training_parts, strict=False)
    named = [(one.id, part.labels) for one, part in sets if len(part.labels) > 1]
    return [
        f"Data sets {first} and {second} have no class in common: {_most_frequent(mine)}, and "
        f"{_most_frequent(theirs)}. The model learns to tell all of them apart. Write the same classes in the same way "
        "in both."
        for (first, mine), (second, theirs) in combinations(named, 2)
        if mine.keys().isdisjoint(theirs)
    ]


def _most_frequent(labels: Counter[str]) -> str:
    return quoted_names([name for name, _ in labels.most_common()], limit=5)

"""From a spec of the right shape to a plan: does it make sense for this data and this model?"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from adamss_core.spec import (
    JobSpec,
    ModelFacts,
    SpecProblem,
    check_modules_to_save,
    estimate,
    make_plan,
    match_targets,
    schedule,
    total_subspaces,
)
from adamss_core.spec.labels import as_text, class_name
from adamss_core.spec.split import held_out
from service.context import Caller
from service.datasets import repository as datasets
from service.datasets.profiling import MAX_DISTINCT
from service.datasets.service import dataset_path
from service.db import Dataset
from service.errors import InvalidRequest
from service.jobs.schemas import PlanOut
from service.validation import column_names

MIN_ROWS = 4
SUGGESTED_ROWS_PER_CLASS = 8


@dataclass(frozen=True)
class RowCounts:
    """Usable rows of a job: those with a text and a label."""

    train: int
    evaluation: int
    classes: int
    warnings: tuple[str, ...]


def plan_job(caller: Caller, spec: JobSpec) -> PlanOut:
    """What the job will do.

    Raises:
        InvalidRequest: it cannot work; names the field and what would be right.
    """
    counts = count_rows(caller, spec)
    facts = caller.catalog.facts(spec.base_model, spec.revision)
    _check_model(spec, facts)
    try:
        check_modules_to_save(spec.adamss, facts)
        modules = match_targets(spec.adamss, facts)
        subspaces = total_subspaces(modules, spec.adamss)
        plan = make_plan(spec, counts.train, subspaces)
    except SpecProblem as problem:
        raise InvalidRequest(problem.message, code=problem.code, param=problem.param) from problem
    return PlanOut(
        spec=plan.spec,
        warnings=[*counts.warnings, *plan.warnings, *_model_warnings(spec, facts)],
        estimate=estimate(plan, facts, modules, counts.classes, counts.train, counts.evaluation),
        schedule=schedule(plan.spec.adamss, subspaces),
    )


def count_rows(caller: Caller, spec: JobSpec) -> RowCounts:
    """Checks data sets and columns, and counts as the training run will."""
    train = _dataset(caller, spec.dataset.train, "dataset.train")
    labels, left_out = _label_counts(caller, spec, train, "dataset.train")
    _check_labels(spec, labels)
    warnings = _left_out_warning(left_out, "training")
    if spec.dataset.eval is None:
        held = sum(held_out(labels, spec.dataset.eval_fraction).values())
        if held == 0:
            raise InvalidRequest(
                "No row can be held out for evaluation. Add rows, or name a data set as dataset.eval.",
                code="too_few_rows",
                param="dataset.eval_fraction",
            )
        return RowCounts(sum(labels.values()) - held, held, len(labels), tuple(warnings))
    evaluation = _dataset(caller, spec.dataset.eval, "dataset.eval")
    eval_labels, eval_left_out = _label_counts(caller, spec, evaluation, "dataset.eval")
    known = sum(rows for name, rows in eval_labels.items() if name in labels)
    unknown = sum(eval_labels.values()) - known
    if known == 0:
        raise InvalidRequest(
            "No label of the evaluation data occurs in the training data. Name data with the same labels.",
            code="labels_differ",
            param="dataset.eval",
        )
    warnings += _left_out_warning(eval_left_out, "evaluation")
    if unknown:
        warnings.append(f"{unknown} evaluation rows are left out: their labels do not occur in the training data.")
    return RowCounts(sum(labels.values()), known, len(labels), tuple(warnings))


def _dataset(caller: Caller, dataset_id: str, param: str) -> Dataset:
    with caller.db.read() as session:
        dataset = datasets.find(session, caller.project_id, dataset_id)
    if dataset is None:
        raise unknown_dataset(dataset_id, param)
    return dataset


def unknown_dataset(dataset_id: str, param: str) -> InvalidRequest:
    return InvalidRequest(
        f"There is no data set {dataset_id}. GET /datasets lists yours; POST /datasets uploads one.",
        code="unknown_dataset",
        param=param,
    )


def _label_counts(caller: Caller, spec: JobSpec, dataset: Dataset, param: str) -> tuple[Counter[str], int]:
    """Usable rows by label, and how many are left out; from the profile where that says it all, else from the rows."""
    columns = {column["name"]: column for column in dataset.profile["columns"]}
    wanted = {"text": spec.dataset.text, "label": spec.dataset.label, "text_pair": spec.dataset.text_pair}
    named = {field: name for field, name in wanted.items() if name is not None}
    for field, name in named.items():
        if name not in columns:
            raise InvalidRequest(
                f"Data set {dataset.id} ({param}) has no column '{name}'. It has {column_names(list(columns))}.",
                code="unknown_column",
                param=f"dataset.{field}",
            )
    label = columns[spec.dataset.label]
    if label["distinct_capped"]:
        raise InvalidRequest(
            f"Column '{label['name']}' has more than {MAX_DISTINCT:,} different values, too many to be classes. Name "
            "the column with the classes.",
            code="too_many_classes",
            param="dataset.label",
        )
    if label["values"] is not None and not any(columns[name]["empty"] for name in named.values()):
        return Counter(label["values"]), 0
    return _scan(_rows(caller, dataset), list(named.values()), spec.dataset.label)


def _scan(rows: Iterator[dict[str, object]], names: list[str], label: str) -> tuple[Counter[str], int]:
    counts: Counter[str] = Counter()
    left_out = 0
    for row in rows:
        if all(as_text(row[name]) for name in names):
            counts[class_name(row[label])] += 1
        else:
            left_out += 1
    return counts, left_out


def _rows(caller: Caller, dataset: Dataset) -> Iterator[dict[str, object]]:
    with dataset_path(caller.settings, dataset.id).open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def _check_labels(spec: JobSpec, labels: Counter[str]) -> None:
    rows, label = sum(labels.values()), spec.dataset.label
    if rows == 0:
        raise InvalidRequest(
            f"No row has both a text in '{spec.dataset.text}' and a label in '{label}'. Name the columns that have.",
            code="no_usable_rows",
            param="dataset.train",
        )
    if len(labels) == 1:
        raise InvalidRequest(
            f"Every row has the label '{next(iter(labels))[:60]}' in column '{label}', so there is nothing to tell "
            "apart. Add rows of another class, or name another column.",
            code="one_class",
            param="dataset.label",
        )
    if max(labels.values()) == 1:
        raise InvalidRequest(
            f"Each of the {rows} rows has a label of its own in '{label}'. Name a column with classes; numbers must be "
            "put into classes first.",
            code="no_classes",
            param="dataset.label",
        )
    if rows < MIN_ROWS:
        raise InvalidRequest(
            f"Only {rows} rows can be used; at least {MIN_ROWS} are needed, and some {SUGGESTED_ROWS_PER_CLASS} a "
            "class to learn anything.",
            code="too_few_rows",
            param="dataset.train",
        )


def _left_out_warning(rows: int, which: str) -> list[str]:
    return [f"{rows} {which} rows are left out: they have no text or no label."] if rows else []


def _check_model(spec: JobSpec, facts: ModelFacts) -> None:
    if facts.tasks and spec.task not in facts.tasks:
        raise InvalidRequest(
            f"'{spec.base_model}' ({facts.model_type}) cannot be fine-tuned for {spec.task}. It can for "
            f"{', '.join(facts.tasks)}.",
            code="task_not_supported",
            param="base_model",
        )
    if not facts.has_tokenizer:
        raise InvalidRequest(
            f"'{spec.base_model}' has no tokenizer. Put its files (tokenizer.json, tokenizer_config.json) into the "
            "model's folder.",
            code="missing_tokenizer",
            param="base_model",
        )


def _model_warnings(spec: JobSpec, facts: ModelFacts) -> list[str]:
    limit = facts.max_positions
    if limit is None or spec.training.max_length <= limit:
        return []
    return [f"training.max_length is {spec.training.max_length}, but the model takes {limit} tokens at most."]

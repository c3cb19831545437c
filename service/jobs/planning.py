"""From a spec of the right shape to a plan: does it make sense for this data and this model?"""

from __future__ import annotations

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
    with_defaults,
)
from adamss_core.spec.generation import with_usual_columns
from adamss_core.spec.split import held_out
from service.datasets import repository as datasets
from service.datasets.repetition import leakage_warnings
from service.http.context import Caller
from service.jobs.checks import check_columns, check_evaluation, check_rows, left_out_warning, spread_warning
from service.jobs.inheritance import check_init_from
from service.jobs.rows import scan
from service.jobs.schemas import PlanOut
from service.shared.database.tables import Dataset
from service.shared.errors import InvalidRequest

WITH_LABEL = ("text-classification", "image-classification")


@dataclass(frozen=True)
class RowCounts:
    """Usable rows of a job."""

    train: int
    evaluation: int
    classes: int
    warnings: tuple[str, ...]


def plan_job(caller: Caller, spec: JobSpec) -> PlanOut:
    """What the job will do.

    Raises:
        InvalidRequest: it cannot work; names the field and what would be right.
    """
    train = _dataset(caller, spec.dataset.train, "dataset.train")
    spec = with_defaults(with_usual_columns(spec, [column["name"] for column in train.profile["columns"]]))
    check_init_from(caller, spec)
    counts = count_rows(caller, spec, train)
    facts = caller.catalog.facts(spec.base_model, spec.revision)
    _check_model(spec, facts)
    facts = facts.for_task(spec.task)
    try:
        check_modules_to_save(spec.adamss, facts)
        modules = match_targets(spec.adamss, facts)
        subspaces = total_subspaces(modules, spec.adamss)
        plan = make_plan(spec, counts.train, subspaces)
    except SpecProblem as problem:
        raise InvalidRequest(problem.message, code=problem.code, param=problem.param) from problem
    outputs = 1 if spec.problem == "regression" else counts.classes
    return PlanOut(
        spec=plan.spec,
        warnings=[*counts.warnings, *plan.warnings, *_model_warnings(spec, facts), *leakage_warnings(caller, spec)],
        estimate=estimate(plan, facts, modules, outputs, counts.train, counts.evaluation),
        schedule=schedule(plan.spec.adamss, subspaces),
        auto=spec.adamss.auto_fields if spec.adamss.use_asa else [],
    )


def count_rows(caller: Caller, spec: JobSpec, train: Dataset) -> RowCounts:
    """Checks data sets and columns, and counts as the training run will."""
    check_columns(spec, train, "dataset.train")
    found = scan(caller.settings, spec, train)
    check_rows(spec, found)
    warnings = [*left_out_warning(found, "training"), *spread_warning(spec, found)]
    if spec.dataset.eval is None:
        one_class = spec.task in WITH_LABEL and spec.problem == "single_label_classification"
        groups = found.labels if one_class else {"": found.usable}
        held = sum(held_out(groups, spec.dataset.eval_fraction).values())
        if held == 0:
            raise InvalidRequest(
                "No row can be held out for evaluation. Add rows, or name a data set as dataset.eval.",
                code="too_few_rows",
                param="dataset.eval_fraction",
            )
        return RowCounts(found.usable - held, held, len(found.labels), tuple(warnings))
    evaluation = _dataset(caller, spec.dataset.eval, "dataset.eval")
    check_columns(spec, evaluation, "dataset.eval")
    known = frozenset(found.labels) if found.labels else None
    others = scan(caller.settings, spec, evaluation, known)
    check_evaluation(spec, others)
    warnings += left_out_warning(others, "evaluation")
    if others.unknown:
        warnings.append(
            f"{others.unknown} evaluation rows are left out: their labels do not occur in the training data."
        )
    return RowCounts(found.usable, others.usable - others.unknown, len(found.labels), tuple(warnings))


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


def _check_model(spec: JobSpec, facts: ModelFacts) -> None:
    if facts.tasks and spec.task not in facts.tasks:
        raise InvalidRequest(
            f"'{spec.base_model}' ({facts.model_type}) cannot be fine-tuned for {spec.task}. It can for "
            f"{', '.join(facts.tasks)}.",
            code="task_not_supported",
            param="base_model",
        )
    if spec.task == "image-classification":
        if not facts.has_image_processor:
            raise _missing(spec, "missing_image_processor", "image processor", "preprocessor_config.json")
        return
    if not facts.has_tokenizer:
        raise _missing(spec, "missing_tokenizer", "tokenizer", "tokenizer.json, tokenizer_config.json")
    if spec.task == "token-classification" and not facts.has_fast_tokenizer:
        raise _missing(spec, "missing_tokenizer", "fast tokenizer, which tells words apart", "tokenizer.json")
    if spec.dataset.messages is not None and not facts.has_chat_template:
        raise _missing(
            spec,
            "missing_chat_template",
            "chat template",
            "chat_template.jinja",
            " Or use prompt and completion columns.",
        )


def _missing(spec: JobSpec, code: str, what: str, files: str, otherwise: str = "") -> InvalidRequest:
    return InvalidRequest(
        f"'{spec.base_model}' has no {what}. Put its files ({files}) into the model's folder.{otherwise}",
        code=code,
        param="base_model",
    )


def _model_warnings(spec: JobSpec, facts: ModelFacts) -> list[str]:
    limit = facts.max_positions
    if limit is None or spec.training.max_length <= limit or spec.task == "image-classification":
        return []
    return [f"training.max_length is {spec.training.max_length}, but the model takes {limit} tokens at most."]

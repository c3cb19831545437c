"""Plan a submitted job in three verbs: resolve fills the spec in, survey counts its rows, judge applies the rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from adamss_core.spec import (
    JobSpec,
    ModelFacts,
    SpecProblem,
    check_modules_to_save,
    estimate,
    make_plan,
    match_targets,
    record_of,
    schedule,
    total_subspaces,
    with_defaults,
)
from service.datasets import repository as datasets
from service.datasets.leakage import contradiction_warnings, leakage_warnings
from service.http.context import Caller
from service.jobs import checks
from service.jobs.case import Case
from service.jobs.row_survey import survey_rows
from service.jobs.schemas import PlanOut
from service.jobs.testing_rules import TESTING_RULES, survey_test, testing_warnings
from service.jobs.warm_start_rules import WARM_START_RULES, WARM_START_WARNINGS, find_ancestor
from service.shared.database.tables import Dataset
from service.shared.errors import InvalidRequest


def plan_job(caller: Caller, spec: JobSpec) -> PlanOut:
    """Return what the job will do.

    Raises:
        InvalidRequest: the job cannot work; names the field and a remedy.
    """
    try:
        case = survey_test(caller, survey(caller, resolve(caller, spec)))
        judge((*WARM_START_RULES, *checks.DATA_RULES, *TESTING_RULES), case)
        return fit(caller, case, caller.catalog.facts(case.spec.base_model, case.spec.revision))
    except SpecProblem as problem:
        raise refusal(problem) from problem


def refusal(problem: SpecProblem) -> InvalidRequest:
    return InvalidRequest(problem.message, code=problem.code, param=problem.param)


def resolve(caller: Caller, spec: JobSpec) -> Case:
    """Look up data sets and ancestor, and fill in columns and defaults.

    Raises:
        SpecProblem: the training data do not exist.
    """
    train = _find_dataset(caller, spec.dataset.train)
    if train is None:
        raise checks.unknown_dataset(spec.dataset.train, "dataset.train")
    evaluation = None if spec.dataset.eval is None else _find_dataset(caller, spec.dataset.eval)
    test = None if spec.dataset.test is None else _find_dataset(caller, spec.dataset.test)
    columns = [column["name"] for column in train.profile["columns"]]
    spec = with_defaults(record_of(spec).with_usual_columns(spec, columns))
    return Case(spec, train, evaluation, find_ancestor(caller, spec.init_from), test=test)


def survey(caller: Caller, case: Case) -> Case:
    """Count the rows of each data set whose columns fit, in one pass."""
    if checks.training_columns_fit(case) is not None:
        return case
    rows = survey_rows(caller.settings, case.spec, case.train)
    case = replace(case, training_rows=rows)
    if case.evaluation is None or checks.evaluation_columns_fit(case) is not None:
        return case
    known = frozenset(rows.labels) if rows.labels else None
    return replace(case, evaluation_rows=survey_rows(caller.settings, case.spec, case.evaluation, known))


def judge(rules: Sequence[Callable[..., SpecProblem | None]], *subject: Case | ModelFacts) -> None:
    """Raise the problem of the first rule that finds one."""
    for rule in rules:
        if (problem := rule(*subject)) is not None:
            raise problem


def fit(caller: Caller, case: Case, facts: ModelFacts) -> PlanOut:
    """Fit the job to its base model.

    Raises:
        SpecProblem: the model is for other tasks, lacks a part, or the adapter or its schedule does not fit.
    """
    judge(checks.MODEL_RULES, case, facts)
    spec = case.spec
    facts = facts.for_task(spec.task)
    check_modules_to_save(spec.adamss, facts)
    modules = match_targets(spec.adamss, facts)
    subspaces = total_subspaces(modules, spec.adamss)
    plan = make_plan(spec, case.train_count, subspaces)
    warnings = [warning for rule in (*WARM_START_WARNINGS, *checks.DATA_WARNINGS) for warning in rule(case)]
    warnings += testing_warnings(case)
    warnings += [warning for model_rule in checks.MODEL_WARNINGS for warning in model_rule(case, facts)]
    warnings += [*plan.warnings, *leakage_warnings(caller, spec), *contradiction_warnings(caller, spec)]
    outputs = case.record.outputs(len(case.training_rows.labels))
    return PlanOut(
        spec=plan.spec,
        warnings=warnings,
        estimate=estimate(plan, facts, modules, outputs, case.train_count, case.eval_count),
        schedule=schedule(plan.spec.adamss, subspaces),
        auto=spec.adamss.auto_fields if spec.adamss.use_asa else [],
        test_rows=case.test_rows.usable - case.test_rows.unknown,
    )


def _find_dataset(caller: Caller, dataset_id: str) -> Dataset | None:
    with caller.db.read() as session:
        return datasets.find(session, caller.project_id, dataset_id)

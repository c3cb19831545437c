"""Plan a submitted job: resolve fills the spec in, survey counts its rows, judge applies the rules, fit matches the
base model, plan counts what the job needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from adamss_core.spec import (
    ADDED_MODEL_VERSION,
    Estimate,
    JobSpec,
    ModelFacts,
    SpecProblem,
    Targets,
    check_modules_to_save,
    check_saved_apart,
    estimate,
    make_plan,
    needed_version,
    schedule,
    total_subspaces,
    with_defaults,
)
from adamss_core.spec.budget import CHOSEN, fit_budget
from adamss_core.spec.contender_names import check_ranks
from adamss_core.spec.modules_in_full import saved_warnings
from adamss_core.spec.survey import Survey
from service.datasets import repository as datasets
from service.datasets.leakage import contradiction_warnings, leakage_warnings
from service.datasets.left_out import complete
from service.http.context import Caller
from service.jobs import advice, checks
from service.jobs.case import Case, Found
from service.jobs.chosen_preset import fill_in
from service.jobs.device_rules import check_devices, device_warnings, find_room, with_division
from service.jobs.row_survey import survey_rows
from service.jobs.schemas import AppliedPresetOut, PlanOut
from service.jobs.target_check import targets_of
from service.jobs.testing_rules import TESTING_RULES, survey_test, testing_warnings
from service.jobs.time_limit import effective_limit, limit_warnings
from service.jobs.token_lengths import find_lengths
from service.jobs.training_sets import disjoint_classes, group_warnings, training_ids, training_sets
from service.jobs.warm_start_rules import WARM_START_RULES, WARM_START_WARNINGS, find_ancestor
from service.jobs.workers import (
    device_of,
    expected_seconds,
    find_workers,
    lacking_warnings,
    version_warnings,
)
from service.shared.database.tables import Dataset, Json
from service.shared.errors import InvalidRequest, ServiceError, merged
from service.shared.settings import Settings

CHAINS = (
    WARM_START_RULES,
    checks.COMPARISON_RULES,
    checks.TRAINING_RULES,
    checks.EVALUATION_RULES,
    TESTING_RULES,
)  # none relies on another


def plan_job(caller: Caller, spec: JobSpec) -> PlanOut:
    """Return what the job will do.

    Raises:
        InvalidRequest: the job cannot work; names each field at fault and a remedy.
    """
    try:
        case = survey_test(caller, survey(caller, resolve(caller, spec)))
    except SpecProblem as problem:
        raise refusal(problem) from problem
    problems = [found for chain in CHAINS for found in judge(chain, case)]
    try:
        facts, targets = fit(caller, case)
        case, targets, chosen = within_budget(case, facts, targets)
    except SpecProblem as problem:
        raise refusal(*problems, problem) from problem
    except InvalidRequest as problem:
        raise merged([*map(refusal, problems), problem]) from problem
    except ServiceError as error:
        raise refusal(*problems) if problems else error from error
    if problems:
        raise refusal(*problems)
    try:
        made = plan(caller, case, facts, targets)
    except SpecProblem as problem:
        raise refusal(problem) from problem
    return made.model_copy(update={"budget": chosen})


def refusal(*problems: SpecProblem) -> InvalidRequest:
    """Make one error of all problems; the first one is in front."""
    return merged([InvalidRequest(problem.message, code=problem.code, param=problem.param) for problem in problems])


def resolve(caller: Caller, spec: JobSpec) -> Case:
    """Look up data sets and ancestor, and fill in columns and defaults.

    Raises:
        SpecProblem: the training data do not exist.
        InvalidRequest: the preset does not exist, or does not go together with the spec.
    """
    train, *more = _training_data(caller, spec)
    completed = complete(spec, train)
    spec, preset = fill_in(caller, completed.spec)
    spec = with_defaults(spec)
    evaluation = None if spec.dataset.eval is None else _find_dataset(caller, spec.dataset.eval)
    test = None if spec.dataset.test is None else _find_dataset(caller, spec.dataset.test)
    ancestor = find_ancestor(caller, spec.starting_point)
    return Case(spec, train, evaluation, ancestor, completed, preset, test=test, more_train=tuple(more))


def _training_data(caller: Caller, spec: JobSpec) -> list[Dataset]:
    found = []
    for param, dataset_id in training_ids(spec).items():
        if (dataset := _find_dataset(caller, dataset_id)) is None:
            raise checks.unknown_dataset(dataset_id, param)
        found.append(dataset)
    return found


def survey(caller: Caller, case: Case) -> Case:
    """Count the rows of each data set whose columns fit, in one pass."""
    if checks.training_columns_fit(case):
        return case
    parts = tuple(survey_rows(caller.host_files, case.spec, dataset) for dataset in case.training.values())
    rows = Survey.joined(parts)
    case = replace(case, training_rows=rows, training_parts=parts)
    if case.evaluation is None or checks.evaluation_columns_fit(case):
        return case
    known = frozenset(rows.labels) if rows.labels else None
    return replace(case, evaluation_rows=survey_rows(caller.host_files, case.spec, case.evaluation, known))


def judge(rules: Sequence[Callable[..., Found]], *subject: Case | ModelFacts) -> Sequence[SpecProblem]:
    """Return the problems of the first rule that finds any: the rules after it rely on it."""
    for rule in rules:
        if found := rule(*subject):
            return [found] if isinstance(found, SpecProblem) else found
    return []


def fit(caller: Caller, case: Case) -> tuple[ModelFacts, Targets]:
    """Return the facts of the base model for the job's task, and the modules to adapt.

    Raises:
        SpecProblem: the model is for other tasks or lacks a part, or the adapter does not fit it.
        InvalidRequest, Unavailable: as the catalog does.
    """
    spec = case.spec
    facts = caller.catalog.facts(spec.base_model, spec.revision)
    if problems := judge(checks.MODEL_RULES, case, facts):
        raise problems[0]
    facts = facts.for_task(spec.task)
    check_modules_to_save(spec.adamss, facts)
    targets = targets_of(caller, spec, facts)
    check_saved_apart(spec.adamss, facts, targets.modules)
    check_ranks(spec, targets.modules)
    return facts, targets


def within_budget(case: Case, facts: ModelFacts, targets: Targets) -> tuple[Case, Targets, str | None]:
    """Return the case and its targets with an adapter that keeps to `adamss.budget`, and the choice in words or None.

    Raises:
        SpecProblem: the budget is too small, or stands beside a field that it decides.
    """
    adamss = case.spec.adamss
    if adamss.budget is None:
        return case, targets, None
    if beside := [name for name in CHOSEN if name in adamss.model_fields_set]:
        message = f"adamss.budget decides adamss.{beside[0]}: leave one of them out."
        raise SpecProblem(f"adamss.{beside[0]}", message, "decided_by_budget")
    fitted = fit_budget(adamss, targets.modules, facts.parameters)
    case = replace(case, spec=case.spec.model_copy(update={"adamss": fitted.spec}))
    return case, replace(targets, modules=fitted.modules), fitted.reason


def plan(caller: Caller, case: Case, facts: ModelFacts, targets: Targets) -> PlanOut:
    """Count steps, subspaces, memory and time of a job that can work.

    Raises:
        SpecProblem: the schedule cannot be reached, or no worker has the devices or the memory.
    """
    spec, modules = case.spec, targets.modules
    subspaces = total_subspaces(modules, spec.adamss)
    steps = make_plan(spec, case.train_count, subspaces)
    lengths, measuring = find_lengths(caller, spec, list(case.training.values()))
    workers = find_workers(caller)
    outputs = case.record.outputs(len(case.training_rows.labels))
    device = device_of(workers, spec.resources.kind)
    room = find_room(caller, spec.resources, device.kind, workers)
    counts = (outputs, case.train_count, case.eval_count)
    needs = estimate(steps, facts, modules, *counts, lengths=lengths, device=device, largest=room.largest)
    check_devices(caller, spec, room, needs)
    steps = replace(steps, spec=with_division(steps.spec, needs.sharded))
    needs = needs.model_copy(update={"seconds": expected_seconds(caller, spec, facts, needs, lengths)})
    warnings = case.completed.warnings()
    warnings += [warning for rule in (*WARM_START_WARNINGS, *checks.DATA_WARNINGS) for warning in rule(case)]
    warnings += [] if case.test is None else testing_warnings(case.test_rows, "dataset.test", case.training_rows.labels)
    warnings += [*group_warnings(case), *disjoint_classes(case)]
    warnings += [warning for model_rule in checks.MODEL_WARNINGS for warning in model_rule(case, facts)]
    warnings += [*targets.warnings, *advice.without_effect(spec, facts, modules), *steps.warnings]
    warnings += [*leakage_warnings(caller, spec), *contradiction_warnings(caller, spec)]
    warnings += saved_warnings(spec.adamss, facts)
    warnings += [*advice.of_settings(steps, modules), *advice.rows_beyond_the_limit(spec, facts, lengths)]
    warnings += [*device_warnings(spec, room, needs), *lacking_warnings(spec, workers), *measuring]
    warnings += limit_warnings(caller.settings, spec, needs)
    ancestor = case.ancestor.spec if case.ancestor is not None else None
    version = max(needed_version(one) for one in (steps.spec, ancestor) if one is not None)
    if caller.catalog.find_added(spec.base_model) is not None:
        version = max(version, ADDED_MODEL_VERSION)
    return PlanOut(
        spec=steps.spec,
        spec_version=version,
        warnings=[*warnings, *version_warnings(caller, version)],
        estimate=needs,
        schedule=schedule(steps.spec.adamss, subspaces),
        auto=spec.adamss.auto_fields if spec.adamss.use_asa else [],
        suggested=list(case.completed.taken),
        preset=None if case.preset is None else AppliedPresetOut.model_validate(case.preset, from_attributes=True),
        test_rows=case.test_rows.usable - case.test_rows.unknown,
        classes=dict(sorted(case.training_rows.labels.items(), key=lambda found: (-found[1], found[0]))),
        training_sets=training_sets(case),
        time_limit_seconds=effective_limit(caller.settings, spec.time_limit_seconds),
        **_price(caller.settings, needs),
    )


def _price(settings: Settings, needs: Estimate) -> Json:
    """Return cost and currency of the estimated time, where the operator sets a price."""
    if settings.device_hour_rate is None or needs.seconds is None:
        return {}
    hours = needs.seconds * needs.devices / 3600
    return {"cost": round(hours * settings.device_hour_rate, 4), "currency": settings.currency}


def _find_dataset(caller: Caller, dataset_id: str) -> Dataset | None:
    with caller.db.read() as session:
        return datasets.find(session, caller.project_id, dataset_id)

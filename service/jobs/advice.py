"""Warn of settings that work but hardly do what they are for; each warning names a remedy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from adamss_core.spec import JobSpec, Lengths, LinearModule, ModelFacts, Plan, record_of, record_on
from adamss_core.spec.lengths import length_limit
from adamss_core.spec.measured_rows import FIELDS, classes_not_evaluated, few_measured_rows
from adamss_core.spec.shapes import shape_of
from adamss_core.spec.tasks.preset import FAR
from adamss_core.spec.without_effect import clamped_rank, idle_bias, idle_settings
from service.jobs.case import Case
from service.shared.errors import quoted_names

USUAL = 3  # times the preset's rate, at most
MANY = 0.1  # share of the rows; above that of the longest ones in a sample


def same_column_twice(case: Case) -> list[str]:
    """Warn of fields that read the same column, as where a text is compared with itself."""
    return [
        f"dataset.{first} and dataset.{second} both read column '{name}', so one of them says nothing new. Name "
        "another column, or leave one out."
        for (first, name), (second, same) in combinations(case.record.columns(case.spec).items(), 2)
        if name == same
    ]


def classes_with_one_row(case: Case) -> list[str]:
    """Warn of classes that are trained on once and never evaluated."""
    alone = [name for name, rows in case.training_rows.labels.items() if rows == 1]
    if not alone:
        return []
    named = quoted_names(alone, limit=5)
    return [
        f"{len(alone)} {'class has' if len(alone) == 1 else 'classes have'} a single row ({named}), which is too few "
        "to learn or to measure. Add rows, or leave these rows out."
    ]


def few_rows_to_evaluate(case: Case) -> list[str]:
    """Warn of a share or a data set that is too small to tell a good model from a lucky one."""
    few = few_measured_rows(case.eval_count, FIELDS["train" if case.spec.dataset.eval is None else "eval"])
    return [] if few is None else [few]


def classes_to_evaluate(case: Case) -> list[str]:
    """Warn of classes that evaluation or test data lack."""
    known = case.training_rows.labels
    found = [
        classes_not_evaluated(known, rows.labels, FIELDS[data])
        for data, rows in (("eval", case.evaluation_rows), ("test", case.test_rows))
        if rows.labels
    ]
    return [warning for warning in found if warning is not None]


def of_settings(plan: Plan, modules: Sequence[LinearModule]) -> list[str]:
    """Return the warnings that need neither rows nor workers."""
    spec = plan.spec
    return [*rates_far_above(spec), *more_subspaces_than_rows(spec, modules), *evaluation_beyond_the_end(plan)]


def without_effect(spec: JobSpec, facts: ModelFacts, modules: Sequence[LinearModule]) -> list[str]:
    """Warn of settings of the adapter that others switch off, and of those that a job does not read.

    Args:
        spec: with the schedule as the user gave it.
    """
    adamss, task_type = spec.adamss, record_on(spec, facts).peft_type
    widths = {module.name: min(module.out_features, module.in_features + module.bias) for module in modules}
    messages = [*idle_settings(adamss), *clamped_rank(adamss.r, widths)]
    messages += idle_bias(adamss.bias, any(module.bias for module in modules))
    if adamss.task_type not in (None, task_type):
        messages.append(f"task_type is {adamss.task_type}, but has no effect: the job's task is {spec.task}.")
    if adamss.inference_mode:
        messages.append("inference_mode has no effect: a job trains. Every adapter that PEFT saves has it.")
    return [f"adamss.{message}" for message in messages]


def rates_far_above(spec: JobSpec) -> list[str]:
    """Compare the learning rates with those of the task's preset."""
    preset = record_of(spec).presets[0].training
    rates = {name: getattr(spec.training, name) for name in ("learning_rate", "head_learning_rate")}
    return [
        f"training.{name} is {rate:g}, {rate / preset[name]:.3g} times the {preset[name]:g} that suits {spec.task}: "
        f"the loss may diverge. Use {preset[name]:g} to {USUAL * preset[name]:g}, or leave it out."
        for name, rate in rates.items()
        if rate is not None and name in preset and rate > FAR * preset[name]
    ]


def more_subspaces_than_rows(spec: JobSpec, modules: Sequence[LinearModule]) -> list[str]:
    """Warn where a module has fewer rows than the job wants subspaces, and name the number that results."""
    wanted = spec.adamss.num_subspaces
    short = [module for module in modules if module.out_features < wanted]
    if not short:
        return []
    fewest = min(module.out_features for module in short)
    total = sum(shape_of(module, spec.adamss).subspaces for module in modules)
    return [
        f"adamss.num_subspaces is {wanted}, but {len(short)} of {len(modules)} modules have fewer rows, such as "
        f"'{short[0].name}' with {short[0].out_features}. Each has one subspace for each row there: {total:,} in all. "
        f"Use at most {fewest}."
    ]


def evaluation_beyond_the_end(plan: Plan) -> list[str]:
    """Warn of an interval that the run is too short for."""
    every = plan.spec.training.eval_steps
    if every == "epoch" or every <= plan.total_steps:
        return []
    return [
        f"training.eval_steps is {every}, but the job has {plan.total_steps} steps: it is evaluated only at its end, "
        f'and no better checkpoint can be chosen. Use at most {max(1, plan.total_steps // 2)}, or "epoch".'
    ]


def rows_beyond_the_limit(spec: JobSpec, facts: ModelFacts, lengths: Lengths) -> list[str]:
    """Warn of a limit below many of the measured rows, and say what the model takes where that is no more."""
    limit = length_limit(spec, facts, lengths)
    over = lengths.over(limit)
    if lengths.source != "measured" or over == 0 or over < MANY * lengths.rows:
        return []
    outcome = {
        "truncate": "are cut, or left out where nothing to learn is left",
        "drop": "would be left out",
        "raise": "are refused",
    }[spec.training.over_length]
    shortest = f"; the shortest has {lengths.counts[-1][0]}" if over == lengths.rows else ""
    most = limit if lengths.limit is None else lengths.limit
    if spec.training.max_length < most:
        remedy = f"Raise training.max_length, of which the model takes {most} at most, or shorten the texts."
    else:
        remedy = f"The model takes {most} tokens at most: shorten the texts, or use a model that takes more."
    which = "All" if over == lengths.rows else f"{over:,} of"
    return [f"{which} {lengths.rows:,} sampled rows are longer than {limit} tokens and {outcome}{shortest}. {remedy}"]

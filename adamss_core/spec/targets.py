"""Find the modules that a spec adapts, from the facts of its base model; see `target_rule` for the rule itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adamss_core.shared_weights import REMEDY, shares_weight
from adamss_core.spec.adamss import AdamssSpec
from adamss_core.spec.facts import LinearModule, ModelFacts
from adamss_core.spec.modules_in_full import default_heads
from adamss_core.spec.problem import SpecProblem
from adamss_core.spec.target_names import count_ends, describe_renamed
from adamss_core.spec.target_rule import PatternError, TargetRule, choose_targets
from adamss_core.spec.without_effect import closest, idle_targets, last_names

SUGGESTIONS = 8
NAMED = 3  # modules that an error names in full
SHARED = "target_shares_weight"


@dataclass(frozen=True)
class Targets:
    """The modules that a spec adapts, in the model's order, and what its fields for them do not do."""

    modules: list[LinearModule]
    warnings: list[str]


def match_targets(spec: AdamssSpec, facts: ModelFacts, task_type: str | None = None) -> list[LinearModule]:
    """Return the modules of `find_targets`."""
    return find_targets(spec, facts, task_type).modules


def find_targets(spec: AdamssSpec, facts: ModelFacts, task_type: str | None = None) -> Targets:
    """Return the modules that a run adapts.

    Args:
        task_type: PEFT's, for which it trains heads in full by their names.

    Raises:
        SpecProblem: the targets match nothing, a module that cannot be adapted, is never called or shares its weight;
            or a pattern cannot be used.
    """
    rule = target_rule(spec, facts, task_type)
    linear = {module.name: module for module in [*facts.linear_modules, *facts.output_modules]}
    try:
        choice = choose_targets(rule, list(facts.modules), linear, facts.output_layer, facts.model_type)
        notices = [describe_renamed(choice.renamed, facts.model_type)] if choice.renamed else []
        warnings = [f"adamss.{text}" for text in [*notices, *idle_targets(choice, linear)]] if choice.targets else []
    except PatternError as error:
        message = f"{error.field} is no regular expression: {error.reason}."
        raise SpecProblem(f"adamss.{error.field}", message, "invalid_pattern") from error
    if not choice.targets:
        raise _nothing_matched(rule, facts)
    _check_kinds(choice.targets, linear, facts)
    matched = [linear[name] for name in choice.targets]
    readers = {module.name: module.bypassed_by for module in matched if module.bypassed_by is not None}
    if readers:
        raise SpecProblem("adamss.target_modules", " ".join(describe_bypassed(readers)), "target_without_effect")
    return Targets(matched, warnings)


def target_rule(spec: AdamssSpec, facts: ModelFacts, task_type: str | None = None) -> TargetRule:
    """Return the rule of a spec, with all modules that a run trains in full.

    Raises:
        SpecProblem: the spec names no targets, and the model's type has no default ones.
    """
    targets = spec.target_modules if spec.target_modules is not None else facts.default_targets
    if targets is None:
        raise SpecProblem(
            "adamss.target_modules",
            f"There are no default targets for models of type {facts.model_type}. Name the linear layers to adapt, "
            f'such as {", ".join(_last_names(facts)[:SUGGESTIONS])}, or use "all-linear".',
            "targets_missing",
        )
    added = [*default_heads(task_type), *facts.head_modules, *(facts.fresh_modules or [])]
    return TargetRule(
        targets=targets,
        saved=[*(spec.modules_to_save or []), *added],
        layers=spec.layers_to_transform,
        layers_pattern=spec.layers_pattern,
    )


def _check_kinds(targets: Sequence[str], linear: Mapping[str, LinearModule], facts: ModelFacts) -> None:
    """Raise SpecProblem for a target that is not linear, or that shares its weight."""
    for name in targets:
        if name in facts.shared_weights:
            shares = shares_weight(name, facts.shared_weights[name])
            message = f"target_modules matches a module that cannot be adapted: {shares} {REMEDY}"
            raise SpecProblem("adamss.target_modules", message, SHARED)
        if name not in linear:
            message = " ".join(describe_unsupported(name, facts.modules[name]))
            raise SpecProblem("adamss.target_modules", message, "target_not_linear")


def describe_unsupported(name: str, kind: str) -> tuple[str, str]:
    """Return message and remedy for a target of a class that cannot be adapted."""
    return (
        f"target_modules matches '{name}', which is a {kind}.",
        "Only nn.Linear, transformers' Conv1D and bitsandbytes linears can be adapted: name those, or keep this module "
        "out with a narrower name.",
    )


def describe_bypassed(readers: Mapping[str, str]) -> tuple[str, str]:
    """Return message and remedy for targets that are not called.

    Args:
        readers: name of each such target -> the class that reads its weight.
    """
    shown = ", ".join(f"'{name}'" for name in list(readers)[:NAMED])
    more = f" and {len(readers) - NAMED} more" if len(readers) > NAMED else ""
    kinds = " and ".join(dict.fromkeys(readers.values()))
    leave_out = ", ".join(dict.fromkeys(name.rpartition(".")[2] for name in readers))
    return (
        f"target_modules matches {shown}{more}, whose weight {kinds} reads without calling the module, always or in "
        "its fused kernels, so that an adapter there would do nothing.",
        f"Leave {leave_out} out of target_modules and name the other layers to adapt.",
    )


def _nothing_matched(rule: TargetRule, facts: ModelFacts) -> SpecProblem:
    names = [rule.targets] if isinstance(rule.targets, str) else list(rule.targets)
    where = " in the layers of layers_to_transform" if rule.uses_layers else ""
    if any(rule.leaves_out(name) for name in facts.modules if not rule.takes_all and rule.names(name)):
        where += " beside those that are trained in full"
    return SpecProblem(
        "adamss.target_modules",
        f"target_modules {', '.join(names)[:200]} matches no linear layer of the model{where}. "
        f"{closest(names, _last_names(facts))}{count_ends(module.name for module in facts.linear_modules)}",
        "targets_not_found",
    )


def _last_names(facts: ModelFacts) -> list[str]:
    return last_names(module.name for module in facts.linear_modules)

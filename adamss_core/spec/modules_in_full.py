"""Find the modules that a job trains in full, from names alone: by the rule of `peft.utils.other._set_trainable`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from adamss_core.shared_weights import REMEDY, shares_weight
from adamss_core.spec.adamss import AdamssSpec
from adamss_core.spec.facts import LinearModule, ModelFacts
from adamss_core.spec.problem import SpecProblem

DEFAULT_HEADS = ("classifier", "score")  # which PEFT names for every classification task, whichever the model has
SUGGESTIONS = 8
NAMED = 3  # modules that a message names in full


def outermost(names: Sequence[str], modules: Sequence[str]) -> list[str]:
    """Return the modules whose names end with one of `names`, without those inside another of them, in order."""
    ends = tuple(names)
    matched = [module for module in modules if module.endswith(ends)] if ends else []
    found = set(matched)
    return [module for module in matched if found.isdisjoint(_around(module))]


def names_of(names: Sequence[str], modules: Sequence[str], outer: Sequence[str]) -> list[str]:
    """Return names that match the modules `outer` and none inside of them: the same names where these do."""
    found, resolved = set(outer), list[str]()
    for name in names:
        matched = [module for module in modules if module.endswith(name)]
        resolved += [name] if found.issuperset(matched) else [module for module in matched if module in found]
    return list(dict.fromkeys(resolved))


def default_heads(peft_type: str | None) -> tuple[str, ...]:
    """Return the names that PEFT adds to `modules_to_save` for its task type."""
    return DEFAULT_HEADS if peft_type in ("SEQ_CLS", "TOKEN_CLS") else ()


def trained_in_full(spec: AdamssSpec, facts: ModelFacts, defaults: Sequence[str]) -> list[str]:
    """Return the modules that a job trains in full: those it names, the head, and those without weights in the files.

    Args:
        defaults: names that PEFT adds for the task.
    """
    asked = [*(spec.modules_to_save or []), *defaults]
    # By their whole names, as the run adds them.
    added = [*facts.head_modules, *(facts.fresh_modules or [])]
    return outermost([*asked, *added], _modules(facts))


def saved_parameters(names: Sequence[str], facts: ModelFacts) -> int:
    """Count the parameters of modules that are trained in full, those of the head left out."""
    body = [name for name in names if name not in facts.head_modules]
    return sum(
        count
        for module, count in facts.module_parameters.items()
        if any(f"{module}.".startswith(f"{name}.") for name in body)
    )


def untied_parameters(changed: Sequence[str], facts: ModelFacts) -> int:
    """Count the parameters that a merged model has more, where one of the tied modules is adapted or saved."""
    tied = list(facts.tied_weights)
    if not any(f"{module}.".startswith(f"{name}.") for module in tied for name in changed):
        return 0
    return (len(tied) - 1) * max(facts.module_parameters.get(module, 0) for module in tied)


def may_only_hold(module: str) -> bool:
    """Return whether a module has the name of a table that others read, which T5 and BART use."""
    return _last(module) == "shared"


def read_in_its_place(module: str, tied: Mapping[str, str]) -> str | None:
    """Return what a model reads in the place of a table that only holds the weight, as `shared` of T5 and BART does.

    Args:
        tied: modules with the same weight, as in `ModelFacts.tied_weights`.
    """
    readers = [name for name, other in tied.items() if other == module and _last(name) == "embed_tokens"]
    return readers[0] if readers and may_only_hold(module) else None


def free_inside(module: str, modules: Sequence[str], targets: Sequence[str]) -> list[str]:
    """Return the first modules inside one that hold no target: they can be trained in full beside the adapter."""
    inside = [name for name in modules if name.startswith(f"{module}.") and not _last(name).isdigit()]
    free = [name for name in inside if not any(f"{target}.".startswith(f"{name}.") for target in targets)]
    return outermost(free, free)[:NAMED]


def apart_hint(module: str, modules: Sequence[str], targets: Sequence[str]) -> str:
    """Say what to name in the place of a module that holds targets."""
    free = ", ".join(f"'{name}'" for name in free_inside(module, modules, targets))
    beside = f", or name modules beside the targets: {free}" if free else ""
    return f"A module is either adapted or trained as a whole: use a longer name{beside}."


def check_modules_to_save(spec: AdamssSpec, facts: ModelFacts) -> None:
    """Raise SpecProblem for a name that the model has no module of, or none that can be trained in full."""
    modules = _modules(facts)
    for index, name in enumerate(spec.modules_to_save or []):
        field = f"adamss.modules_to_save[{index}]"
        matched = [module for module in modules if module.endswith(name)]
        if not matched and name not in DEFAULT_HEADS:
            raise SpecProblem(field, f"The model has no module '{name}'. {_closest(name, modules)}", "unknown_module")
        for module in outermost([name], modules):
            _check_trainable(field, module, facts)


def _check_trainable(field: str, module: str, facts: ModelFacts) -> None:
    shared = facts.shared_weights | {other: name for name, other in facts.shared_weights.items()}
    if (other := shared.get(module)) is not None:
        message = f"modules_to_save names a module that cannot be trained: {shares_weight(module, other)}"
        raise SpecProblem(field, f"{message} {REMEDY}", "target_shares_weight")
    if (reader := read_in_its_place(module, facts.tied_weights)) is not None:
        holds = f"'{module}' only holds the weight that '{reader}' reads"
        message = f"{holds}: nothing would be trained. Name '{_last(reader)}'."
        raise SpecProblem(field, message, "module_not_trainable")
    if module in facts.module_lists:
        inside = next((name for name in facts.module_parameters if name.startswith(f"{module}.")), None)
        remedy = f"Name the modules in it, such as '{inside}'." if inside else "Leave it out."
        message = f"'{module}' is a list of modules, which cannot be trained as one. {remedy}"
        raise SpecProblem(field, message, "module_not_trainable")


def check_saved_apart(spec: AdamssSpec, facts: ModelFacts, targets: Sequence[LinearModule]) -> None:
    """Raise SpecProblem for a target inside a module that is trained in full by the end of its name."""
    for index, name in enumerate(spec.modules_to_save or []):
        for module in outermost([name], _modules(facts)):
            inside = next((target.name for target in targets if f"{target.name}.".startswith(f"{module}.")), None)
            if inside is not None:
                raise SpecProblem(
                    f"adamss.modules_to_save[{index}]",
                    f"modules_to_save matches '{module}' by the end of its name, and target_modules matches "
                    f"'{inside}'. {apart_hint(module, _modules(facts), [target.name for target in targets])}",
                    "module_not_trainable",
                )


def saved_warnings(spec: AdamssSpec, facts: ModelFacts) -> list[str]:
    """Warn of names that mean more than they seem to, or nothing that is trained."""
    warnings = []
    for index, name in enumerate(spec.modules_to_save or []):
        matched = outermost([name], _modules(facts))
        others = list(dict.fromkeys(_last(module) for module in matched if not f".{module}".endswith(f".{name}")))
        if others:
            warnings.append(
                f"adamss.modules_to_save[{index}] '{name}' also trains {', '.join(others[:NAMED])}"
                f"{f' and {len(others) - NAMED} more' if len(others) > NAMED else ''}: PEFT matches the ends of names. "
                "Use a longer name to train fewer modules."
            )
        if matched and not saved_parameters(matched, facts) and not set(matched) & set(facts.head_modules):
            warnings.append(f"adamss.modules_to_save[{index}] '{name}' has no parameters, so nothing is trained there.")
    return warnings


def _modules(facts: ModelFacts) -> list[str]:
    """Return the names of all modules; of facts without them, those that linear layers and heads are known by."""
    return list(facts.module_parameters) or [
        name
        for module in [*(linear.name for linear in facts.linear_modules), *facts.head_modules]
        for name in (*_around(module), module)
    ]


def _around(module: str) -> list[str]:
    """Return the names of the modules around one."""
    parts = module.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def _last(module: str) -> str:
    return module.rpartition(".")[2]


def _closest(name: str, modules: Sequence[str]) -> str:
    ends = list(dict.fromkeys(end for module in modules if not (end := _last(module)).isdigit()))
    if close := difflib.get_close_matches(name, [*ends, *modules], n=3, cutoff=0.5):
        return f"The closest are: {', '.join(close)}."
    return f"It has: {', '.join(ends[:SUGGESTIONS])}."

"""Describe settings of an adapter that have no effect, for the dry run and the core alike.

A setting counts as made where it differs from PEFT's default: an adapter_config.json has every field.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

from adamss_core.spec.adamss import SCHEDULE_FIELDS, AdamssSpec
from adamss_core.spec.target_names import count_ends
from adamss_core.spec.target_rule import CONDENSED_FROM, TargetChoice, ends_of

NAMED = 3  # names that a message has in full
ONLY_WITH_ASA = (
    "asa_target_subspaces",
    *SCHEDULE_FIELDS,
    "asa_importance_beta",
    "asa_uncertainty_beta",
    "asa_schedule_exponent",
    "asa_pruned",
)


class Fields(Protocol):
    """The fields that `AdamssSpec` and `peft.AdamssConfig` have in common."""

    r: int
    subspace_rank: int
    use_asa: bool
    use_dynamic_rank: bool
    svd_threshold: float
    layers_to_transform: Any


def idle_settings(fields: Fields) -> list[str]:
    """Describe fields that others switch off."""
    known = AdamssSpec.model_fields.items()
    made = [name for name, field in known if getattr(fields, name, field.default) != field.default]
    idle = [name for name in made if name in ONLY_WITH_ASA] if not fields.use_asa else []
    messages = []
    if idle:
        messages.append(f"{_listed(idle, len(idle))} {_have(idle)} no effect while use_asa is false.")
    if "svd_threshold" in made and not fields.use_dynamic_rank:
        messages.append("svd_threshold has no effect while use_dynamic_rank is false.")
    if "layers_pattern" in made and fields.layers_to_transform is None:
        messages.append("layers_pattern has no effect without layers_to_transform: all layers are adapted.")
    if fields.use_dynamic_rank and fields.svd_threshold >= 1 and fields.subspace_rank > 1:
        messages.append(
            f"svd_threshold is {fields.svd_threshold:g}: no singular value is above the largest, so each rank is 1. "
            "Use less than 1."
        )
    if fields.use_dynamic_rank and fields.subspace_rank == 1:
        messages.append("use_dynamic_rank has no effect with subspace_rank 1: each rank is 1. Raise subspace_rank.")
    return [*messages, *_constant_averages(fields), *_sparse_pruning(fields)]


def _constant_averages(fields: Any) -> list[str]:
    """Describe a decay of 1, with which an average stays at 0, and with it the score: the product of both."""
    names = [name for name in ("asa_importance_beta", "asa_uncertainty_beta") if getattr(fields, name) == 1]
    if not fields.use_asa or not names:
        return []
    verb, usual = "are" if len(names) > 1 else "is", AdamssSpec.model_fields[names[0]].default
    return [
        f"{_listed(names)} {verb} 1: the average never leaves 0, so every subspace scores 0 and pruning keeps the "
        f"first ones. Use less than 1, such as {usual}."
    ]


def _sparse_pruning(fields: Any) -> list[str]:
    """Describe an interval that is longer than the ramp, so that its end comes before most of its prunings."""
    init, final, interval = (getattr(fields, name) for name in SCHEDULE_FIELDS)
    if not fields.use_asa or not all(isinstance(value, int) for value in (init, final, interval)):
        return []
    if interval <= final - init:
        return []
    between = [step for step in range(-(-init // interval) * interval, final, interval) if step > init]
    steps = " and ".join(str(step) for step in [*between, final])
    return [
        f"mask_interval is {interval}, but the ramp has {final - init} steps: subspaces are pruned after step "
        f"{steps} only. Use at most {max(1, (final - init) // 2)} to prune little by little."
    ]


def idle_bias(bias: str, any_bias: bool) -> list[str]:
    """Describe a frozen bias where there is none.

    Args:
        any_bias: whether one of the adapted modules has a bias.
    """
    if bias != "frozen" or any_bias:
        return []
    return ["bias has no effect: none of the adapted modules has a bias."]


def idle_removal(asa_pruned: str, use_asa: bool) -> list[str]:
    """Describe a removal without pruning, for a configuration that has no field of it."""
    return ["asa_pruned has no effect while use_asa is false."] if asa_pruned == "removed" and not use_asa else []


def clamped_rank(r: int, widths: Mapping[str, int]) -> list[str]:
    """Describe an r above the smaller dimension of targets' weights.

    Args:
        widths: name of each target -> the smaller dimension of its [W | b].
    """
    narrow = {name: width for name, width in widths.items() if width < r}
    if not narrow or r == AdamssSpec.model_fields["r"].default:
        return []
    name, fewest, most = next(iter(narrow)), min(narrow.values()), max(narrow.values())
    results = str(most) if fewest == most else f"{fewest} to {most}"
    return [
        f"r is {r}, but {len(narrow)} of {len(widths)} modules have fewer rows or columns, such as '{name}': their "
        f"rank is {results}. Use at most {most}."
    ]


def idle_targets(choice: TargetChoice, known: Collection[str]) -> list[str]:
    """Describe names and layers that choose nothing beside others that do.

    Args:
        known: names of modules that can be adapted, to suggest.
    """
    return [*_idle_names(choice, known), *_idle_layers(choice)]


def _idle_names(choice: TargetChoice, known: Collection[str]) -> list[str]:
    rule = choice.asked
    if isinstance(rule.targets, str):
        return []
    chosen = {end for name in choice.targets for end in ends_of(name)}
    idle = sorted(name for name in rule.targets if name not in chosen)
    ends = {end for name in choice.modules for end in ends_of(name)} if idle else set()
    saved = [name for name in idle if name in ends and _is_left_out(choice, name)]
    missing = [name for name in idle if name not in ends]
    messages = []
    if missing:
        messages.append(
            f"target_modules has names that no module has: {_listed(missing)}. "
            f"{closest(missing, last_names(known))}{count_ends(known)}"
        )
    if saved:
        messages.append(
            f"target_modules has no effect for {_listed(saved)}: what is trained in full (modules_to_save, or the "
            "head) gets no adapter."
        )
    return messages


def _is_left_out(choice: TargetChoice, end: str) -> bool:
    return all(choice.rule.leaves_out(name) for name in choice.modules if end in ends_of(name))


def _idle_layers(choice: TargetChoice) -> list[str]:
    asked, rule = choice.asked, choice.rule
    if asked.layers is None or asked.layers == []:
        return []
    if not rule.uses_layers:
        return ["layers_to_transform has no effect on a regular expression: put the layers into target_modules."]
    messages = []
    named = [name for name in choice.modules if name and rule.names(name) and not rule.leaves_out(name)]
    present = {layer for name in named if (layer := rule.layer_of(name)) is not None}
    if missing := sorted(set(rule.layer_indices) - present):
        shown = f"{min(present)} to {max(present)}" if present else "no layers"
        messages.append(
            f"layers_to_transform has indices of layers that are not there: {_listed(map(str, missing))}."
            f" The modules of target_modules are in {shown}."
        )
    in_full = [name for name in choice.targets if rule.layer_of(name) not in rule.layer_indices]
    if in_full:
        why = (
            f' "all-linear" names each module in full where there are fewer than {CONDENSED_FROM}, as in PEFT.'
            if asked.takes_all
            else ""
        )
        messages.append(
            f"layers_to_transform has no effect on modules that target_modules names in full: {_listed(in_full)}.{why}"
        )
    return messages


def closest(names: Sequence[str], known: Sequence[str]) -> str:
    """Suggest known names for unknown ones; of many unknown ones for the first few, as each takes a while."""
    close = [match for name in names[:NAMED] for match in difflib.get_close_matches(name, known, n=3, cutoff=0.5)]
    if close:
        return f"The closest are: {', '.join(dict.fromkeys(close))}. "
    return ""


def last_names(names: Iterable[str]) -> list[str]:
    """Return the last part of each name, once."""
    return list(dict.fromkeys(name.rpartition(".")[2] for name in names))


def _listed(names: Iterable[str], limit: int = NAMED) -> str:
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _have(names: Sequence[str]) -> str:
    return "have" if len(names) > 1 else "has"

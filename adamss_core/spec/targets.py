"""Find the modules that a spec adapts, by the rules of `peft.tuners.tuners_utils`, from names alone."""

from __future__ import annotations

import difflib
import re
import time
from collections.abc import Mapping, Sequence

import regex

from adamss_core.shared_weights import REMEDY, shares_weight
from adamss_core.spec.adamss import AdamssSpec
from adamss_core.spec.facts import LinearModule, ModelFacts
from adamss_core.spec.problem import SpecProblem
from adamss_core.spec.target_names import Renamed, count_ends, find_renamed, present_names

ALL_LINEAR = "all-linear"
SEQ_CLS_HEADS = ("classifier", "score")  # PEFT trains these in full for a classification task
MATCH_SECONDS = 1.0  # for all modules together: patterns come from users, and some never end
SUGGESTIONS = 8
NAMED = 3  # modules that an error names in full
SHARED = "target_shares_weight"


def match_targets(spec: AdamssSpec, facts: ModelFacts) -> list[LinearModule]:
    """Return the linear modules that the spec adapts, in the model's order.

    Raises:
        SpecProblem: the targets match nothing, a module that is never called, or a layer that shares its weight; or a
            pattern cannot be used.
    """
    matcher = _Matcher(spec, facts)
    _check_shared_weights(matcher, facts)
    matched = [module for module in facts.linear_modules if matcher.matches(module.name)]
    if not matched:
        raise _nothing_matched(spec, facts, matcher.targets)
    readers = {module.name: module.bypassed_by for module in matched if module.bypassed_by is not None}
    if readers:
        raise SpecProblem("adamss.target_modules", " ".join(describe_bypassed(readers)), "target_without_effect")
    return matched


def renamed_targets(targets: Sequence[str] | str | None, facts: ModelFacts) -> Renamed:
    """Return former name -> present names, of the targets that the model knows under other names."""
    return find_renamed(targets, (module.name for module in facts.linear_modules), facts.model_type)


def _check_shared_weights(matcher: _Matcher, facts: ModelFacts) -> None:
    """Raise SpecProblem for a target that shares its weight; "all-linear" never means the output embeddings."""
    linear = {module.name for module in facts.linear_modules}
    for name, other in facts.shared_weights.items():
        if (name in linear or not matcher.takes_all) and matcher.matches(name):
            message = f"target_modules matches a module that cannot be adapted: {shares_weight(name, other)} {REMEDY}"
            raise SpecProblem("adamss.target_modules", message, SHARED)


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


class _Matcher:
    """`check_target_module_exists` for one spec; all its patterns share one time limit."""

    def __init__(self, spec: AdamssSpec, facts: ModelFacts) -> None:
        targets = spec.target_modules if spec.target_modules is not None else facts.default_targets
        if targets is None:
            raise SpecProblem(
                "adamss.target_modules",
                f"There are no default targets for models of type {facts.model_type}. Name the linear layers to adapt, "
                f'such as {", ".join(_last_names(facts)[:SUGGESTIONS])}, or use "all-linear".',
                "targets_missing",
            )
        self.spec = spec
        self.targets = targets if isinstance(targets, str) else present_names(targets, renamed_targets(targets, facts))
        self.excluded = [*(spec.modules_to_save or []), *facts.head_modules, *SEQ_CLS_HEADS]
        self.deadline = time.monotonic() + MATCH_SECONDS
        self._check_patterns()

    @property
    def takes_all(self) -> bool:
        return isinstance(self.targets, str) and self.targets.lower() == ALL_LINEAR

    def matches(self, name: str) -> bool:
        if any(self._match("modules_to_save", rf"(^|.*\.){head}($|\..*)", name) for head in self.excluded):
            return False
        if self.takes_all:
            return True
        if isinstance(self.targets, str):
            return self._match("target_modules", rf"(?:{self.targets})\Z", name) is not None
        if name in self.targets:
            return True
        return any(name.endswith(f".{target}") for target in self.targets) and self._in_chosen_layer(name)

    def _in_chosen_layer(self, name: str) -> bool:
        layers = self.spec.layers_to_transform
        if layers is None or layers == []:
            return True
        matches = (self._match("layers_pattern", pattern, name) for pattern in self._layer_patterns())
        match = next((match for match in matches if match is not None), None)
        return match is not None and int(match["idx"]) in ([layers] if isinstance(layers, int) else layers)

    def _layer_patterns(self) -> list[str]:
        names = self.spec.layers_pattern
        if not names:
            return [r".*?\.[^.]*\.(?P<idx>\d+)\."]
        return [rf"(?:^|.*?\.){name}\.(?P<idx>\d+)\." for name in ([names] if isinstance(names, str) else names)]

    def _check_patterns(self) -> None:
        fields = {"target_modules": [self.targets] if isinstance(self.targets, str) else []}
        fields["modules_to_save"] = self.spec.modules_to_save or []
        names = self.spec.layers_pattern
        fields["layers_pattern"] = [names] if isinstance(names, str) else names or []
        for field, patterns in fields.items():
            for pattern in patterns:
                try:
                    re.compile(pattern)
                    regex.compile(pattern)
                except (re.error, regex.error, RecursionError, OverflowError) as error:
                    raise SpecProblem(
                        f"adamss.{field}", f"{field} is no regular expression: {error}.", "invalid_pattern"
                    ) from error

    def _match(self, field: str, pattern: str, name: str) -> regex.Match[str] | None:
        try:
            left = max(0.001, self.deadline - time.monotonic())
            # Without the GIL, so that a slow pattern does not hold up other requests.
            return regex.match(pattern, name, timeout=left, concurrent=True)
        except TimeoutError as error:
            raise SpecProblem(
                f"adamss.{field}",
                f"{field} takes too long to match. Use a simpler expression, or a list of names.",
                "pattern_too_slow",
            ) from error


def _nothing_matched(spec: AdamssSpec, facts: ModelFacts, targets: Sequence[str] | str) -> SpecProblem:
    names = [targets] if isinstance(targets, str) else list(targets)
    where = "" if spec.layers_to_transform is None else " in the layers of layers_to_transform"
    return SpecProblem(
        "adamss.target_modules",
        f"target_modules {', '.join(names)[:200]} matches no linear layer of the model{where}. "
        f"{_closest(names, _last_names(facts))}{count_ends(module.name for module in facts.linear_modules)}",
        "targets_not_found",
    )


def _closest(names: Sequence[str], known: Sequence[str]) -> str:
    close = [match for name in names for match in difflib.get_close_matches(name, known, n=3, cutoff=0.5)]
    if close:
        return f"The closest are: {', '.join(dict.fromkeys(close))}. "
    return ""


def _last_names(facts: ModelFacts) -> list[str]:
    return list(dict.fromkeys(module.name.rpartition(".")[2] for module in facts.linear_modules))

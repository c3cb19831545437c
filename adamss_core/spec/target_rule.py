"""Decide by names alone which modules an adapter goes on: one function for dry run and core, with PEFT's results.

PEFT's rule is spread over three functions of `peft.tuners.tuners_utils` (0.21), which need torch:
`_maybe_include_all_linear_layers`, `_find_minimal_target_modules` and `check_target_module_exists`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from adamss_core.spec.target_names import Renamed, find_renamed, present_names

ALL_LINEAR = "all-linear"
CONDENSED_FROM = 20  # names: `peft.utils.constants.MIN_TARGET_MODULES_FOR_OPTIMIZATION`
_ANY_LAYER = re.compile(r".*?\.[^.]*\.(?P<idx>\d+)\.")
_PLAIN = re.compile(r"[A-Za-z0-9_.-]+")  # as a regular expression, in linear time
_WORD = re.compile(r"\w+")


class PatternError(ValueError):
    """A field that holds no regular expression."""

    def __init__(self, field: str, pattern: str, reason: str) -> None:
        super().__init__(field, pattern, reason)
        self.field, self.pattern, self.reason = field, pattern, reason


@dataclass(frozen=True)
class TargetRule:
    """The fields of `peft.AdamssConfig` that select modules.

    Attributes:
        targets: names or ends of names; as one string a regular expression, or "all-linear".
        saved: regular expressions for parts of names: modules that are trained in full, and those inside of them.
        layers: indices of layers; has no effect on names in full and on a regular expression.
        layers_pattern: regular expressions for the name of the list of layers.
        excluded: as `targets`; a later PEFT may have the field, and a config may have it already.
    """

    targets: Collection[str] | str
    saved: Sequence[str] = ()
    layers: Collection[int] | int | None = None
    layers_pattern: Sequence[str] | str | None = None
    excluded: Collection[str] | str | None = None

    @classmethod
    def of(cls, config: Any) -> TargetRule:
        """Take the fields from a `peft.AdamssConfig` whose `target_modules` are set."""
        return cls(
            targets=config.target_modules,
            saved=config.modules_to_save or (),
            layers=config.layers_to_transform,
            layers_pattern=config.layers_pattern,
            excluded=getattr(config, "exclude_modules", None),
        )

    @property
    def takes_all(self) -> bool:
        return isinstance(self.targets, str) and self.targets.lower() == ALL_LINEAR

    @property
    def uses_layers(self) -> bool:
        """Return whether `layers` restricts names; as in PEFT an empty list does not, an empty tuple leaves none."""
        return self.layers is not None and self.layers != [] and not isinstance(self.targets, str)

    @property
    def layer_indices(self) -> Collection[int]:
        return (self.layers,) if isinstance(self.layers, int) else self.layers or ()

    def has_patterns(self) -> bool:
        """Return whether a field holds more than names, so that compiling or matching it may take any time."""
        patterns = [*self.saved, *_several(self.layers_pattern)]
        if isinstance(self.targets, str) and not self.takes_all:
            patterns.append(self.targets)
        return not all(map(_PLAIN.fullmatch, patterns))

    def matches(self, name: str) -> bool:
        """Return whether a module gets an adapter; "all-linear" must be resolved by now (see `choose_targets`).

        Raises:
            PatternError: a field holds no regular expression.
        """
        if self.leaves_out(name) or not self.names(name):
            return False
        return not self.uses_layers or name in self._targets or self.layer_of(name) in self._layers

    def names(self, name: str) -> bool:
        """Return whether `targets` match a module, in whatever layer it is."""
        if isinstance(self.targets, str):
            return self._expression.fullmatch(name) is not None
        return not self._targets.isdisjoint(ends_of(name))

    def leaves_out(self, name: str) -> bool:
        """Return whether a module gets no adapter as it is excluded or trained in full."""
        if isinstance(self.excluded, str):
            if self.excluded and _compiled("exclude_modules", self.excluded).fullmatch(name):
                return True
        elif self.excluded and not self._excluded.isdisjoint(ends_of(name)):
            return True
        words, expressions = self._saved
        return not words.isdisjoint(name.split(".")) or any(expression.match(name) for expression in expressions)

    def layer_of(self, name: str) -> int | None:
        """Return the index of the layer that a module is in."""
        expressions = self._layer_expressions or [_ANY_LAYER]
        match = next((match for expression in expressions if (match := expression.match(name))), None)
        return None if match is None else int(match["idx"])

    @cached_property
    def _targets(self) -> frozenset[str]:
        return frozenset(() if isinstance(self.targets, str) else self.targets)

    @cached_property
    def _layers(self) -> frozenset[int]:
        return frozenset(self.layer_indices)

    @cached_property
    def _excluded(self) -> frozenset[str]:
        return frozenset(self.excluded or ())

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        return _compiled("target_modules", str(self.targets))

    @cached_property
    def _saved(self) -> tuple[frozenset[str], list[re.Pattern[str]]]:
        """Split the names that are a single part of a module's name from the expressions, which cost a match each."""
        words = frozenset(filter(_WORD.fullmatch, self.saved))
        others = [name for name in self.saved if name not in words]
        return words, [_compiled("modules_to_save", name, rf"(^|.*\.){name}($|\..*)") for name in others]

    @cached_property
    def _layer_expressions(self) -> list[re.Pattern[str]]:
        return [
            _compiled("layers_pattern", name, rf"(?:^|.*?\.){name}\.(?P<idx>\d+)\.")
            for name in _several(self.layers_pattern)
        ]


@dataclass(frozen=True)
class TargetChoice:
    """The modules that a rule chooses.

    Attributes:
        rule: with "all-linear" resolved, and many names condensed to ends of names.
        asked: as the user gave it, former names replaced.
        targets: names of modules, in the model's order.
        modules: names of all modules of the model.
        renamed: former name -> present names, of the targets that were replaced.
    """

    rule: TargetRule
    asked: TargetRule
    targets: list[str]
    modules: Sequence[str]
    renamed: Renamed


def choose_targets(
    rule: TargetRule,
    modules: Sequence[str],
    linear: Collection[str],
    output: str | None = None,
    model_type: str | None = None,
) -> TargetChoice:
    """Return the modules that get an adapter, whatever kind they are of.

    Args:
        modules: names of all modules, in the model's order.
        linear: names of those that "all-linear" means, `output` among them.
        output: the one that it leaves out: output embeddings, or the head of a sequence classifier.
        model_type: by which names from before transformers 5 are known.

    Raises:
        PatternError: a field holds no regular expression.
    """
    renamed = find_renamed(rule.targets, modules, model_type)
    if renamed:
        rule = replace(rule, targets=present_names(rule.targets, renamed))
    targets = rule.targets
    if rule.takes_all:
        targets = {name for name in linear if name != output}
    if not isinstance(targets, str) and len(targets) >= CONDENSED_FROM:
        targets = condense(frozenset(targets), modules)
    resolved = replace(rule, targets=targets)
    return TargetChoice(resolved, rule, [name for name in modules if name and resolved.matches(name)], modules, renamed)


def condense(targets: frozenset[str], modules: Iterable[str]) -> frozenset[str]:
    """Return the shortest ends of names that tell the targets from all other modules, or the targets themselves."""
    others = {end for name in modules if targets.isdisjoint(ends := ends_of(name)) for end in ends}
    required: set[str] = set()
    for ends in sorted(map(ends_of, targets)):
        if required.isdisjoint(ends[:-1]):
            end = next((end for end in ends if end not in required and end not in others), None)
            required |= set() if end is None else {end}
    return frozenset(required) if 0 < len(required) < len(targets) else targets


def ends_of(name: str) -> list[str]:
    """Return every end of a name at its dots, the shortest first and the whole name last."""
    parts = name.split(".")
    return [".".join(parts[start:]) for start in reversed(range(len(parts)))]


def _several(value: Sequence[str] | str | None) -> Sequence[str]:
    return [value] if isinstance(value, str) and value else value or ()


def _compiled(field: str, given: str, pattern: str | None = None) -> re.Pattern[str]:
    try:
        return re.compile(given if pattern is None else pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise PatternError(field, given, str(error)) from error

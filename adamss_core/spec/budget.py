"""Fit an adapter to a budget: width, rank, rows, layers and ASA target from shapes, in the order that cost least.

Measured with `make bench-quality` (docs/quality.md): one subspace and a wide basis from the inputs, r a third of the
width or more, then half of the rows, then a smaller r. Below that only fewer layers are left, or removed subspaces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from heapq import nlargest
from typing import Any

from adamss_core.spec.adamss import AdamssSpec
from adamss_core.spec.facts import LinearModule
from adamss_core.spec.packed_sizes import trained_rows
from adamss_core.spec.problem import SpecProblem
from adamss_core.spec.shapes import removes_pruned
from adamss_core.spec.target_rule import TargetRule

FIELD = "adamss.budget"
CHOSEN = ("r", "num_subspaces", "subspace_rank", "use_dynamic_rank", "row_share")  # what a budget always decides
MEASURED_SHARES, LESS = (1.0, 0.75, 0.5), (0.25, 0.125)
GOOD_WIDTH, POOR_WIDTH = 3, 6  # parts of a module's width that r has at least, in turn
LEAST_R = 16
MOST_RANK = 1_024  # as the spec allows
ANY_LAYERS = TargetRule(())
# Measured with MiniLM (docs/quality.md): points beside a LoRA of rank 1, "that LoRA", on reviews, numbers and tweets.
MEASURED = "Measured with MiniLM,"
WHOLE = (
    f"{MEASURED} r of a third of the width in the basis of the inputs was within 0.9 points of that LoRA at 67 %, and "
    "with DINOv2-small on images 0.9 points ahead of it"
)
HALF_OF_ROWS = (
    f"{MEASURED} r of half the width for half of the rows at 50 %: -0.3, +0.3 and -1.3 points beside that LoRA"
)
NARROW = f"{MEASURED} r of a sixth of the width for half of the rows at 33 %: -0.8, -2.1, -1.7 points beside that LoRA"
FEWER_LAYERS = (
    f"{MEASURED} the last three of six layers alone at 33 %: -1.6, -2.1, -1.6 points beside that LoRA, a LoRA on the "
    "last two -2.1, -1.7, -1.4; less was not measured"
)
UNMEASURED = "So little was not measured (docs/quality.md)"


@dataclass(frozen=True)
class Form:
    """The adapter that each module gets: one subspace.

    Attributes:
        share: of the rows, that are trained.
    """

    r: int
    share: float = 1.0
    rank: int = 1

    def elements(self, module: LinearModule) -> int:
        """Count A and B of a module."""
        basis = min(self.r, _width(module))
        return min(self.rank, basis) * (basis + trained_rows(module.out_features, self.share, 1))


@dataclass(frozen=True)
class Fitted:
    """A spec within its budget.

    Attributes:
        modules: that are adapted.
        peak: elements of A and B that training starts with.
        elements: of A and B that are published, at most: the budget's.
        reason: what was chosen and why, in words.
    """

    spec: AdamssSpec
    modules: list[LinearModule]
    peak: int
    elements: int
    reason: str


@dataclass(frozen=True)
class _Choice:
    modules: Sequence[LinearModule]
    form: Form
    why: str


def budget_elements(budget: int | str, modules: Sequence[LinearModule], parameters: int) -> int:
    """Return the elements that a budget allows.

    Args:
        modules: that are adapted, layers that a budget leaves out included.
        parameters: of the base model.
    """
    if isinstance(budget, int):
        return budget
    share, _, lora = budget.rpartition("lora:r=") if "lora" in budget else (budget, "", "")
    whole = int(lora) * _lora_elements(modules) if lora else parameters
    return int(Decimal(share.partition("%")[0] or "100") * whole / 100)


def fit_budget(spec: AdamssSpec, modules: Sequence[LinearModule], parameters: int) -> Fitted:
    """Choose r, K, rank and rows so that A and B are published with at most the budget's elements.

    The first layers are left out where nothing else fits, unless the spec names targets or layers. With ASA and no
    target half of the subspaces stay; where it removes the others, the adapter may start with twice the budget.

    Raises:
        SpecProblem: even the smallest adapter has more; names the least.
    """
    assert spec.budget is not None
    allowed = budget_elements(spec.budget, modules, parameters)
    choice = _choose(spec, modules, allowed)
    form, adapted = choice.form, choice.modules
    chosen: dict[str, Any] = {
        "r": form.r,
        "num_subspaces": 1,
        "subspace_rank": form.rank,
        "use_dynamic_rank": False,
        "row_share": form.share,
        "basis": spec.basis if "basis" in spec.model_fields_set else "inputs",
    }
    if spec.use_asa:
        chosen["asa_target_subspaces"] = _target(spec, len(adapted))
    if len(adapted) < len(modules):
        chosen["layers_to_transform"] = _layers(adapted)
    peak, elements = sum(map(form.elements, adapted)), published_elements(adapted, form, _kept(spec, len(adapted)))
    fitted = Fitted(spec.model_copy(update=chosen), list(adapted), peak, elements, "")
    return replace(fitted, reason=_reason(fitted, modules, allowed, choice.why))


def published_elements(modules: Sequence[LinearModule], form: Form, kept: int) -> int:
    """Count A and B where the `kept` largest modules stay."""
    return sum(nlargest(kept, map(form.elements, modules)))


def _choose(spec: AdamssSpec, modules: Sequence[LinearModule], allowed: int) -> _Choice:
    widest = max(_width(module) for module in modules)
    good, poor = -(-widest // GOOD_WIDTH), -(-widest // POOR_WIDTH)

    def fits(part: Sequence[LinearModule], form: Form) -> bool:
        return published_elements(part, form, _kept(spec, len(part))) <= allowed

    def widened(part: Sequence[LinearModule], form: Form, most: int, why: str) -> _Choice:
        return _Choice(part, replace(form, r=_largest(lambda r: fits(part, replace(form, r=r)), most)), why)

    for share in MEASURED_SHARES:  # a good width first, with as many rows as fit beside it
        if fits(modules, form := Form(good, share)):
            if share < 1:
                return widened(modules, form, widest, HALF_OF_ROWS)
            rank = _largest(lambda rank: fits(modules, Form(widest, 1.0, rank)), min(widest, MOST_RANK))
            return widened(modules, replace(form, rank=rank), widest, WHOLE)
    if fits(modules, form := Form(poor, MEASURED_SHARES[-1])):
        return widened(modules, form, good, NARROW)
    fewest = modules
    for fewest in _last_layers(spec, modules):
        if fits(fewest, form):
            return widened(fewest, form, widest, FEWER_LAYERS)
    for share in LESS:
        if fits(fewest, form := Form(good, share)):
            return widened(fewest, form, widest, UNMEASURED)
    if not fits(fewest, form := Form(min(LEAST_R, good), LESS[-1])):
        raise _too_small(spec, modules, fewest, form, allowed)
    return widened(fewest, form, good, UNMEASURED)


def _too_small(
    spec: AdamssSpec, modules: Sequence[LinearModule], fewest: Sequence[LinearModule], form: Form, allowed: int
) -> SpecProblem:
    least = published_elements(fewest, form, _kept(spec, len(fewest)))
    of = f"these {len(modules)} modules" if fewest is modules else "the last layer alone"
    return SpecProblem(
        FIELD,
        f"The budget allows {allowed:,} elements of A and B, but the smallest adapter of {of} has {least:,}. Allow "
        "that many, or name fewer modules in adamss.target_modules.",
        "budget_too_small",
    )


def _last_layers(spec: AdamssSpec, modules: Sequence[LinearModule]) -> Iterator[Sequence[LinearModule]]:
    """Yield the modules without the first layer, without the first two and so on, where the spec leaves the choice."""
    if any(value is not None for value in (spec.target_modules, spec.layers_to_transform, spec.layers_pattern)):
        return
    layers = [ANY_LAYERS.layer_of(module.name) for module in modules]
    if None in layers:  # `layers_to_transform` would leave these out
        return
    for first in _layers(modules)[1:]:
        yield [module for module, layer in zip(modules, layers, strict=True) if layer is not None and layer >= first]


def _layers(modules: Sequence[LinearModule]) -> list[int]:
    """Return the indices of the modules' layers, by the rule that `layers_to_transform` follows."""
    return sorted({layer for module in modules if (layer := ANY_LAYERS.layer_of(module.name)) is not None})


def _target(spec: AdamssSpec, subspaces: int) -> int:
    """Return the ASA target: the given one, else half of the subspaces, which is what was measured."""
    given = "asa_target_subspaces" in spec.model_fields_set
    return spec.asa_target_subspaces if given else -(-subspaces // 2)


def _kept(spec: AdamssSpec, subspaces: int) -> int:
    """Return how many subspaces are published."""
    return min(_target(spec, subspaces), subspaces) if removes_pruned(spec) else subspaces


def _reason(fitted: Fitted, modules: Sequence[LinearModule], allowed: int, why: str) -> str:
    spec, count = fitted.spec, len(fitted.modules)
    of_lora = allowed / _lora_elements(modules)
    of_rows = "" if spec.row_share == 1 else f", for {spec.row_share:.0%} of the rows"
    start = f"{fitted.peak:,}" if fitted.peak == fitted.elements else f"{fitted.peak:,} at the start"
    parts = [
        f"{FIELD} {spec.budget} allows {allowed:,} elements of A and B, {of_lora:.0%} of a LoRA of rank 1 on the same "
        f"{len(modules)} targets: r {spec.r}, one subspace of rank {spec.subspace_rank} in each of {count} "
        f"modules{of_rows}, in the basis of the {spec.basis}, which takes {start}."
    ]
    if count < len(modules):
        parts.append(
            f"The targets are those of the last {len(_layers(fitted.modules))} of {len(_layers(modules))} layers "
            "(adamss.layers_to_transform): all of them do not fit."
        )
    if spec.use_asa:
        stay = min(spec.asa_target_subspaces, count)
        after = (
            f"removes the others: at most {fitted.elements:,} are published"
            if removes_pruned(spec)
            else "freezes the others, which are published too"
        )
        parts.append(f"ASA keeps {stay} of {count} subspaces and {after}.")
    return " ".join([*parts, f"{why}."])


def _lora_elements(modules: Sequence[LinearModule]) -> int:
    """Count a LoRA of rank 1."""
    return sum(module.in_features + module.out_features for module in modules)


def _largest(fits: Callable[[int], bool], most: int) -> int:
    """Return the largest number, at least 1 and at most `most`, that fits; smaller ones fit too."""
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _width(module: LinearModule) -> int:
    return min(module.out_features, module.in_features + module.bias)

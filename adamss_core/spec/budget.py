"""Fit an adapter to a budget: width, rank and rows from the shapes of the modules, in the order that cost least.

Measured with `make bench-quality` (docs/quality.md): one subspace and a wide basis from the inputs, r a third of the
width or more, then fewer rows; fewer layers were no better than fewer rows, and more subspaces add nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from adamss_core.spec.adamss import AdamssSpec
from adamss_core.spec.facts import LinearModule
from adamss_core.spec.packed_sizes import trained_rows
from adamss_core.spec.problem import SpecProblem

FIELD = "adamss.budget"
CHOSEN = ("r", "num_subspaces", "subspace_rank", "use_dynamic_rank", "row_share")  # what a budget decides
SHARES = (1.0, 0.75, 0.5, 0.25, 0.125)
GOOD_WIDTH = 3  # part of a module's width that r should have
LEAST_R = 16
MOST_RANK = 1_024  # as the spec allows


@dataclass(frozen=True)
class Fitted:
    """A spec within its budget.

    Attributes:
        elements: of A and B over all modules, pruned ones included.
        reason: what was chosen, in words.
    """

    spec: AdamssSpec
    elements: int
    reason: str


def budget_elements(budget: int | str, modules: Sequence[LinearModule], parameters: int) -> int:
    """Return the elements that a budget allows.

    Args:
        modules: that are adapted.
        parameters: of the base model.
    """
    if isinstance(budget, int):
        return budget
    if budget.endswith("%"):
        return int(float(budget[:-1]) / 100 * parameters)
    rank = int(budget.removeprefix("lora:r="))
    return sum(rank * (module.in_features + module.out_features) for module in modules)


def fit_budget(spec: AdamssSpec, modules: Sequence[LinearModule], parameters: int) -> Fitted:
    """Choose r, K, rank and rows so that A and B have at most the budget's elements.

    Raises:
        SpecProblem: even the smallest adapter of these modules has more; names the least.
    """
    assert spec.budget is not None
    allowed = budget_elements(spec.budget, modules, parameters)
    widest = max(_width(module) for module in modules)
    good = -(-widest // GOOD_WIDTH)
    rank, share, r = _choice(modules, allowed, good, widest)
    chosen = {"r": r, "num_subspaces": 1, "subspace_rank": rank, "use_dynamic_rank": False, "row_share": share}
    basis = spec.basis if "basis" in spec.model_fields_set else "inputs"
    elements = count_elements(modules, r, share, rank)
    of_rows = "" if share == 1 else f", for {share:.0%} of the rows"
    reason = (
        f"adamss.budget {spec.budget} allows {allowed:,} elements of A and B: r {r}, one subspace of rank {rank} in "
        f"each of {len(modules)} modules{of_rows}, in the basis of the {basis}, which takes {elements:,}."
    )
    return Fitted(spec.model_copy(update={**chosen, "basis": basis}), elements, reason)


def count_elements(modules: Sequence[LinearModule], r: int, share: float, rank: int) -> int:
    """Return the elements of A and B with one subspace in each module."""
    total = 0
    for module in modules:
        basis = min(r, _width(module))
        own = min(rank, basis)
        total += own * (basis + trained_rows(module.out_features, share, 1))
    return total


def _choice(modules: Sequence[LinearModule], allowed: int, good: int, widest: int) -> tuple[int, float, int]:
    """Return rank, share of the rows and r."""
    for share in SHARES:  # a good width first, with as many rows as fit beside it
        if count_elements(modules, good, share, 1) <= allowed:
            rank = 1
            if share == 1:
                rank = _largest(partial(count_elements, modules, widest, share), allowed, min(widest, MOST_RANK))
            return rank, share, _largest(partial(_count, modules, share, rank), allowed, widest)
    least_r, least_share = min(LEAST_R, good), SHARES[-1]
    least = count_elements(modules, least_r, least_share, 1)
    if least > allowed:
        raise SpecProblem(
            FIELD,
            f"The budget allows {allowed:,} elements of A and B, but the smallest adapter of these {len(modules)} "
            f"modules has {least:,}. Allow that many, or name fewer modules in adamss.target_modules.",
            "budget_too_small",
        )
    return 1, least_share, _largest(partial(_count, modules, least_share, 1), allowed, good)


def _count(modules: Sequence[LinearModule], share: float, rank: int, r: int) -> int:
    return count_elements(modules, r, share, rank)


def _largest(count: Callable[[int], int], allowed: int, most: int) -> int:
    """Return the largest number, at least 1 and at most `most`, whose count is allowed; counts rise with it."""
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count(middle) <= allowed else (low, middle - 1)
    return low


def _width(module: LinearModule) -> int:
    return min(module.out_features, module.in_features + module.bias)

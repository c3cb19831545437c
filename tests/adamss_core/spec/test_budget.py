"""A budget is never exceeded, and names the least where it is too small."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from adamss_core.spec.adamss import AdamssSpec
from adamss_core.spec.budget import budget_elements, count_elements, fit_budget
from adamss_core.spec.facts import LinearModule
from adamss_core.spec.problem import SpecProblem
from adamss_core.spec.shapes import shape_of

PARAMETERS = 22_700_000


def module(width: int, out: int, bias: bool = True) -> LinearModule:
    return LinearModule(name="a", kind="Linear", in_features=width, out_features=out, bias=bias)


MINILM = [module(384, 384)] * 12


@pytest.mark.parametrize(
    ("budget", "elements"),
    [(5_000, 5_000), ("0.05%", 11_350), ("lora:r=1", 9_216), ("lora:r=4", 36_864), ("100%", PARAMETERS)],
)
def test_a_budget_is_a_number_a_share_or_a_lora(budget: int | str, elements: int) -> None:
    assert budget_elements(budget, MINILM, PARAMETERS) == elements
    assert AdamssSpec(budget=budget).budget == budget


@pytest.mark.parametrize("budget", [0, -1, "5", "5 %", "lora:r=0", "lora", 1.5, "1e3%"])
def test_other_budgets_are_refused(budget: object) -> None:
    with pytest.raises(ValidationError):
        AdamssSpec.model_validate({"budget": budget})


@pytest.mark.parametrize(
    ("budget", "r", "share", "rank"),
    [
        ("lora:r=1", 384, 1.0, 1),  # all of the width
        (6_144, 128, 1.0, 1),
        (4_608, 192, 0.5, 1),  # a third of the width does not fit beside all rows, nor beside three quarters
        (3_072, 160, 0.25, 1),
        ("lora:r=4", 384, 1.0, 4),
    ],
)
def test_a_wide_basis_comes_first_then_fewer_rows(budget: int | str, r: int, share: float, rank: int) -> None:
    fitted = fit_budget(AdamssSpec(budget=budget), MINILM, PARAMETERS)
    spec = fitted.spec
    assert (spec.r, spec.row_share, spec.subspace_rank, spec.num_subspaces) == (r, share, rank, 1)
    assert spec.basis == "inputs"
    assert f"{fitted.elements:,}" in fitted.reason
    assert fit_budget(AdamssSpec(budget=budget, basis="weights"), MINILM, PARAMETERS).spec.basis == "weights"


def test_a_budget_that_is_too_small_names_the_least() -> None:
    least = count_elements(MINILM, 16, 0.125, 1)
    assert fit_budget(AdamssSpec(budget=least), MINILM, PARAMETERS).elements == least
    with pytest.raises(SpecProblem, match=f"the smallest adapter of these 12 modules has {least:,}") as caught:
        fit_budget(AdamssSpec(budget=least - 1), MINILM, PARAMETERS)
    assert (caught.value.param, caught.value.code) == ("adamss.budget", "budget_too_small")


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 3_000), st.integers(1, 3_000), st.booleans()), min_size=1, max_size=6),
    st.integers(1, 500_000),
)
def test_a_budget_is_never_exceeded(shapes: list[tuple[int, int, bool]], budget: int) -> None:
    modules = [module(*shape) for shape in shapes]
    try:
        fitted = fit_budget(AdamssSpec(budget=budget), modules, PARAMETERS)
    except SpecProblem:
        return
    planned = [shape_of(one, fitted.spec) for one in modules]
    assert sum(shape.a + shape.b for shape in planned) == fitted.elements <= budget

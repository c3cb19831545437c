"""A budget is never exceeded, and names the least where it is too small."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from adamss_core.spec.adamss import AdamssSpec
from adamss_core.spec.budget import Form, budget_elements, fit_budget, published_elements
from adamss_core.spec.facts import LinearModule
from adamss_core.spec.problem import SpecProblem
from adamss_core.spec.shapes import shape_of

PARAMETERS = 22_700_000


def module(width: int, out: int, bias: bool = True) -> LinearModule:
    return LinearModule(name="a", kind="Linear", in_features=width, out_features=out, bias=bias)


MINILM = [module(384, 384)] * 12


@pytest.mark.parametrize(
    ("budget", "elements"),
    [
        (5_000, 5_000),
        ("0.05%", 11_350),
        ("lora:r=1", 9_216),
        ("lora:r=4", 36_864),
        ("100%", PARAMETERS),
        ("67% of lora:r=1", 6_174),
        ("50% of lora:r=4", 18_432),
    ],
)
def test_a_budget_is_a_number_a_share_or_a_lora(budget: int | str, elements: int) -> None:
    assert budget_elements(budget, MINILM, PARAMETERS) == elements
    assert AdamssSpec(budget=budget).budget == budget


@pytest.mark.parametrize(
    "budget", [0, -1, "5", "5 %", "lora:r=0", "lora", 1.5, "1e3%", "67% lora:r=1", "% of lora:r=1"]
)
def test_other_budgets_are_refused(budget: object) -> None:
    with pytest.raises(ValidationError):
        AdamssSpec.model_validate({"budget": budget})


@pytest.mark.parametrize(
    ("budget", "r", "share", "rank"),
    [
        ("lora:r=1", 384, 1.0, 1),  # all of the width
        (6_144, 128, 1.0, 1),
        (4_608, 192, 0.5, 1),  # a third of the width does not fit beside all rows, nor beside three quarters
        (3_072, 64, 0.5, 1),  # the least of a third of that LoRA, as it was measured
        (3_071, 159, 0.25, 1),  # names no layers, so that none can be left out
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
    least = published_elements(MINILM, Form(16, 0.125), 12)
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
    planned = [shape_of(one, fitted.spec) for one in fitted.modules]
    assert sum(shape.a + shape.b for shape in planned) == fitted.elements <= budget


LAYERS = [
    LinearModule(name=f"encoder.layer.{layer}.{part}", kind="Linear", in_features=384, out_features=384, bias=True)
    for layer in range(6)
    for part in ("query", "value")
]


@pytest.mark.parametrize(
    ("budget", "layers", "r"), [(3_072, None, 64), (3_071, [1, 2, 3, 4, 5], 115), (1_024, [4, 5], 64), (512, [5], 64)]
)
def test_the_first_layers_are_left_out_where_nothing_else_fits(budget: int, layers: list[int] | None, r: int) -> None:
    fitted = fit_budget(AdamssSpec(budget=budget), LAYERS, PARAMETERS)
    assert (fitted.spec.layers_to_transform, fitted.spec.r, fitted.spec.row_share) == (layers, r, 0.5)
    assert fitted.spec.target_modules is None
    assert len(fitted.modules) == 2 * len(layers or range(6))
    assert fitted.elements <= budget
    if layers:
        assert f"the last {len(layers)} of 6 layers" in fitted.reason
        assert "less was not measured" in fitted.reason


@pytest.mark.parametrize("named", [{"target_modules": ["query", "value"]}, {"layers_to_transform": [0, 1, 2, 3, 4, 5]}])
def test_targets_that_are_named_are_kept(named: dict[str, Any]) -> None:
    fitted = fit_budget(AdamssSpec(budget=3_071, **named), LAYERS, PARAMETERS)
    assert fitted.modules == LAYERS
    assert {name: getattr(fitted.spec, name) for name in named} == named


def test_the_least_is_that_of_the_last_layer() -> None:
    least = published_elements(LAYERS[-2:], Form(16, 0.125), 2)
    assert fit_budget(AdamssSpec(budget=least), LAYERS, PARAMETERS).elements == least
    with pytest.raises(SpecProblem, match=f"the smallest adapter of the last layer alone has {least:,}"):
        fit_budget(AdamssSpec(budget=least - 1), LAYERS, PARAMETERS)


def test_removed_subspaces_are_in_the_peak_alone() -> None:
    fitted = fit_budget(AdamssSpec(budget=3_072, use_asa=True, asa_pruned="removed"), LAYERS, PARAMETERS)
    assert (fitted.spec.asa_target_subspaces, fitted.spec.r, fitted.spec.row_share) == (6, 128, 1.0)
    assert (fitted.peak, fitted.elements) == (6_144, 3_072)
    assert "ASA keeps 6 of 12 subspaces and removes the others: at most 3,072 are published" in fitted.reason
    given = AdamssSpec(budget=3_072, use_asa=True, asa_pruned="removed", asa_target_subspaces=3)
    fitted = fit_budget(given, LAYERS, PARAMETERS)
    assert (fitted.spec.asa_target_subspaces, fitted.elements) == (3, 2_304)  # all of the width


def test_frozen_subspaces_are_in_the_budget() -> None:
    fitted = fit_budget(AdamssSpec(budget=6_144, use_asa=True), LAYERS, PARAMETERS)
    assert (fitted.spec.asa_target_subspaces, fitted.peak, fitted.elements) == (6, 6_144, 6_144)
    assert "freezes the others, which are published too" in fitted.reason

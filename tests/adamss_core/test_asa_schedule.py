"""The pruning schedule and the choice of subspaces: properties over all configurations."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import AdamssConfig, PeftModel
from torch import Tensor, nn

from adamss_core import asa, get_adamss_model
from tests.adamss_core.asa_training import layers_of
from tests.models import Mlp


@st.composite
def schedules(draw: st.DrawFn, latest_start: int = 40, longest_ramp: int = 60) -> AdamssConfig:
    first = draw(st.integers(0, latest_start))
    return AdamssConfig(
        use_asa=True,
        asa_target_subspaces=draw(st.integers(1, 80)),
        init_warmup=first,
        final_warmup=first + draw(st.integers(1, longest_ramp)),
        mask_interval=draw(st.integers(1, 70)),
        asa_schedule_exponent=draw(st.sampled_from([0.3, 1, 1.0, 2.5, 3.0, 8.0])),
    )


totals = st.integers(1, 100)


@given(schedules(), totals)
def test_exactly_the_target_at_the_end_of_the_ramp(config: AdamssConfig, total: int) -> None:
    target = min(config.asa_target_subspaces, total)
    assert asa.is_mask_step(config.final_warmup, config)
    assert asa.scheduled_subspaces(config.final_warmup, total, config) == target
    assert asa.scheduled_subspaces(config.final_warmup + 1000, total, config) == target


@given(schedules(), totals)
def test_all_are_active_until_the_ramp_begins(config: AdamssConfig, total: int) -> None:
    for step in range(config.init_warmup + 1):
        assert asa.scheduled_subspaces(step, total, config) == total
    assert not any(asa.is_mask_step(step, config) for step in range(config.init_warmup))


@given(schedules(), totals)
def test_monotone_and_between_target_and_total(config: AdamssConfig, total: int) -> None:
    target = min(config.asa_target_subspaces, total)
    counts = [asa.scheduled_subspaces(step, total, config) for step in range(config.final_warmup + 3)]
    assert counts == sorted(counts, reverse=True)
    assert all(target <= count <= total for count in counts)


@given(schedules(), totals)
def test_follows_the_formula(config: AdamssConfig, total: int) -> None:
    """Against exact fractions where the exponent allows it; the float may round down across an integer, never up."""
    exponent = config.asa_schedule_exponent
    if exponent not in (1, 3.0):
        exponent = config.asa_schedule_exponent = 3.0
    target = min(config.asa_target_subspaces, total)
    ramp = config.final_warmup - config.init_warmup
    for step in range(config.init_warmup, config.final_warmup + 1):
        exact = target + (total - target) * (1 - Fraction(step - config.init_warmup, ramp)) ** int(exponent)
        found = asa.scheduled_subspaces(step, total, config)
        assert found <= exact + Fraction(1, 10**9)
        assert found > exact - 1 - Fraction(1, 10**9)


@given(schedules())
def test_mask_steps_are_the_steps_at_which_is_mask_step(config: AdamssConfig) -> None:
    expected = [step for step in range(config.final_warmup + 100) if asa.is_mask_step(step, config)]
    assert asa.mask_steps(config) == expected
    inner = [step for step in expected if step != config.final_warmup]
    assert all(step % config.mask_interval == 0 for step in inner)


@cache
def _model() -> PeftModel:
    """Two layers of 6 subspaces of rank 1; the tests below bring their own gradients."""
    fields = {"r": 8, "num_subspaces": 6, "subspace_rank": 1, "target_modules": ["first", "second"]}
    return get_adamss_model(Mlp(width=16), AdamssConfig(init_weights=None, use_asa=True, **fields))


def _fresh(config: AdamssConfig) -> PeftModel:
    """The model with nothing pruned and this schedule."""
    model = _model()
    held = model.peft_config["default"]
    for name in ("asa_target_subspaces", "init_warmup", "final_warmup", "mask_interval", "asa_schedule_exponent"):
        setattr(held, name, getattr(config, name))
    for layer in layers_of(model).values():
        a, b = layer.packed("default")
        layer.install("default", layer.adamss_newB["default"], layer.layouts["default"], a.clone(), b.clone())
    return model


def _random_gradients(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.randn(parameter.shape, generator=generator)


def _active(model: PeftModel) -> Tensor:
    """(12,) bool."""
    states = [layer.asa_state("default") for layer in layers_of(model).values()]
    return torch.cat([state.active for state in states if state is not None])


@settings(max_examples=25, deadline=None)
@given(schedules(latest_start=3, longest_ramp=20), st.booleans(), st.integers(1, 3))
def test_pruning_follows_the_schedule(config: AdamssConfig, hand_over: bool, stride: int) -> None:
    """Through the model: never more than scheduled, never re-activated, and exactly the target at final_warmup."""
    model = _fresh(config)
    total = model.base_model.asa_summary()["total"]
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)
    before = torch.ones(total, dtype=torch.bool)
    # Some callers count from where they resumed, or skip steps: what counts is the end.
    steps = sorted({*range(0, config.final_warmup, stride), config.final_warmup})
    for step in steps:
        _random_gradients(model, step)
        model.base_model.update_and_allocate(step, optimizer if hand_over else None)
        active = _active(model)
        assert not bool((active & ~before).any())
        if asa.is_mask_step(step, config):
            assert int(active.sum()) == min(asa.scheduled_subspaces(step, total, config), int(before.sum()))
        else:
            assert torch.equal(active, before)
        before = active
    assert int(before.sum()) == min(config.asa_target_subspaces, total)


@pytest.mark.parametrize("target", [12, 13, 500])
def test_a_target_of_at_least_the_total_prunes_nothing(target: int) -> None:
    config = AdamssConfig(use_asa=True, asa_target_subspaces=target, init_warmup=0, final_warmup=5, mask_interval=1)
    model = _fresh(config)
    for step in range(10):
        _random_gradients(model, step)
        model.base_model.update_and_allocate(step)
    summary = model.base_model.asa_summary()
    assert summary["active"] == summary["total"] == 12
    assert all(entry["pruned_at"] is None for group in summary["modules"].values() for entry in group)
    assert [entry["reached"] for entry in summary["schedule"]] == [12] * 6


@pytest.mark.parametrize("target", [1, 4, 7, 11])
def test_ties_go_to_the_earlier_module_and_subspace(target: int) -> None:
    """Without any gradient all scores are zero."""
    config = AdamssConfig(use_asa=True, asa_target_subspaces=target, init_warmup=0, final_warmup=4, mask_interval=3)
    for _ in range(2):
        model = _fresh(config)
        model.zero_grad()
        for step in range(5):
            model.base_model.update_and_allocate(step)
        groups = model.base_model.asa_summary()["modules"].values()
        assert [entry["active"] for group in groups for entry in group] == [True] * target + [False] * (12 - target)


def test_the_target_is_still_owed_when_the_end_of_the_ramp_was_never_seen() -> None:
    config = AdamssConfig(use_asa=True, asa_target_subspaces=3, init_warmup=1, final_warmup=10, mask_interval=4)
    model = _fresh(config)
    for step in range(8):
        _random_gradients(model, step)
        model.base_model.update_and_allocate(step)
    assert model.base_model.asa_summary()["active"] > 3
    model.base_model.update_and_allocate(12)
    assert model.base_model.asa_summary()["active"] == 3

"""Averages and scores against stock PEFT's, the choice against brute force, and every way gradients come about."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor, nn

from adamss_core import get_adamss_model
from tests.adamss_core.asa_training import (
    SCHEDULE,
    Subspace,
    Training,
    active_set,
    asa_model,
    layers_of,
    start,
    subspaces,
    trainable,
)
from tests.models import Mlp, batch, config, tiny_bert

NEVER_PRUNING: dict[str, Any] = {"init_warmup": 0, "final_warmup": 1000, "mask_interval": 999}


def averages(model: PeftModel) -> dict[Subspace, list[tuple[Tensor, Tensor]]]:
    """Importance and uncertainty of A_k and B_k of every subspace; nothing may be pruned yet."""
    found: dict[Subspace, list[tuple[Tensor, Tensor]]] = {}
    for name, layer in layers_of(model).items():
        state, layout = layer.asa_state("default"), layer.layouts["default"]
        assert state is not None
        values = state.averages()
        assert values is not None
        importance_a, uncertainty_a, importance_b, uncertainty_b = values
        pairs = zip(layout.unpack(importance_a, importance_b), layout.unpack(uncertainty_a, uncertainty_b), strict=True)
        for k, ((ia, ib), (ua, ub)) in enumerate(pairs):
            found[name, k] = [(ia, ua), (ib, ub)]
    return found


def scores(model: PeftModel) -> dict[Subspace, float]:
    return {where: entry["importance"] for where, entry, _, _ in subspaces(model)}


def brute_force_scores(found: dict[Subspace, list[tuple[Tensor, Tensor]]]) -> dict[Subspace, float]:
    return {where: sum(float((i * u).mean()) for i, u in pairs) for where, pairs in found.items()}


def assert_finite(model: PeftModel) -> None:
    for pairs in averages(model).values():
        assert all(bool(torch.isfinite(value).all()) for pair in pairs for value in pair)


@pytest.mark.parametrize("betas", [(0.85, 0.85), (0.0, 0.9), (0.95, 0.0)])
@pytest.mark.parametrize("dynamic", [False, True])
def test_averages_and_scores_are_stock_pefts(betas: tuple[float, float], dynamic: bool) -> None:
    base = tiny_bert()
    fields = {**SCHEDULE, **NEVER_PRUNING, "init_weights": None, "use_dynamic_rank": dynamic, "subspace_rank": 3}
    fields |= {"asa_importance_beta": betas[0], "asa_uncertainty_beta": betas[1]}
    stock = get_peft_model(copy.deepcopy(base), config(**fields))
    ours = get_adamss_model(base, config(**fields))
    set_peft_model_state_dict(ours, get_peft_model_state_dict(stock))
    trainings = [Training(m, torch.optim.AdamW(trainable(m), lr=1e-2, weight_decay=0.1)) for m in (stock, ours)]
    for step in range(1, 6):
        for training in trainings:
            training.model(**batch(step)).loss.backward()
            training.optimizer.step()
            training.model.base_model.update_and_allocate(step)
            training.optimizer.zero_grad()
        for (name, k), pairs in averages(ours).items():
            other = stock.base_model.model.get_submodule(name)
            expected = [
                (other.exp_avg_ipt_A["default"][k], other.exp_avg_unc_A["default"][k]),
                (other.exp_avg_ipt_B["default"][k], other.exp_avg_unc_B["default"][k]),
            ]
            for pair, reference in zip(pairs, expected, strict=True):
                for found, wanted in zip(pair, reference, strict=True):
                    torch.testing.assert_close(found, wanted.detach(), rtol=2e-3, atol=1e-8)
            score = sum(float((i * u).mean()) for i, u in expected)
            assert scores(ours)[name, k] == pytest.approx(score, rel=5e-3, abs=1e-14)


@pytest.mark.parametrize("hand_over", [False, True], ids=["alone", "handed"])
def test_the_highest_scores_stay_at_every_mask_step(hand_over: bool) -> None:
    """Scores from the averages of the step before and the gradients at hand, one subspace at a time; sort, and cut."""
    training = start("sgd", hand_over=hand_over, init_warmup=0, asa_schedule_exponent=1.0, seed=2)
    model = training.model
    active = active_set(model)
    masked = 0
    for step in range(1, 10):
        model(**batch(step)).loss.backward()
        training.optimizer.step()
        expected = _expected_scores(model, active)
        model.base_model.update_and_allocate(step, optimizer=training.optimizer if hand_over else None)
        training.optimizer.zero_grad()
        kept = active_set(model)
        if kept != active:
            masked += 1
            ranked = sorted(active, key=lambda where: -expected[where])
            assert kept == set(ranked[: len(kept)])
            assert len({expected[where] for where in active}) == len(active)
        active = kept
    assert masked == 3
    assert len(active) == 5


def _expected_scores(model: PeftModel, active: set[Subspace]) -> dict[Subspace, float]:
    """The scores after one more update, computed subspace by subspace."""
    beta, result = 0.85, {}
    for name, layer in layers_of(model).items():
        state, layout = layer.asa_state("default"), layer.layouts["default"]
        assert state is not None
        exported = state.export(layout)
        a_grad, b_grad = _full_gradients(model, name)
        a_value, b_value = layer.packed("default")
        zero = [torch.zeros_like(a_value), torch.zeros_like(b_value)]
        parts = []
        for suffix, value, grad, empty in (("a", a_value, a_grad, zero[0]), ("b", b_value, b_grad, zero[1])):
            now = (value * grad).abs()
            old = exported.get(f"importance_{suffix}", empty)
            uncertainty = beta * exported.get(f"uncertainty_{suffix}", empty) + (1 - beta) * (now - old).abs()
            parts.append((beta * old + (1 - beta) * now) * uncertainty)
        for k, (a, b) in enumerate(layout.unpack(*parts)):
            if (name, k) in active:
                result[name, k] = float(a.mean() + b.mean())
    return result


def _full_gradients(model: PeftModel, name: str) -> tuple[Tensor, Tensor]:
    """Gradients in the packed shapes, zero for what is pruned."""
    layer = layers_of(model)[name]
    state = layer.asa_state("default")
    packed = layer.packed("default")
    full = []
    for value, parameter, live in zip(
        packed,
        (layer.adamss_A["default"], layer.adamss_B["default"]),
        (None, None) if state is None else (state.live_a, state.live_b),
        strict=True,
    ):
        gradient = torch.zeros_like(value)
        if parameter.grad is not None:
            if live is None or live.dtype == torch.bool:
                gradient = parameter.grad
            else:
                gradient[live] = parameter.grad
        full.append(gradient)
    return full[0], full[1]


def test_the_averages_restart_at_every_mask_step() -> None:
    training = start()
    training.run(until=3)
    states = [layer.asa_state("default") for layer in layers_of(training.model).values()]
    assert all(state is not None and state.averages() is None for state in states)
    training.step()
    assert any(state is not None and state.averages() is not None for state in states)


def test_pruned_subspaces_keep_the_score_they_were_pruned_with() -> None:
    training = start()
    training.run(until=3)
    pruned = {where: entry["importance"] for where, entry, _, _ in subspaces(training.model) if not entry["active"]}
    assert pruned
    assert all(score > 0 for score in pruned.values())
    assert max(pruned.values()) <= min(s for where, s in scores(training.model).items() if where not in pruned)
    training.run(until=12)
    assert pruned.items() <= scores(training.model).items()


@pytest.mark.parametrize("hand_over", [False, True], ids=["alone", "handed"])
def test_gradient_accumulation_equals_one_big_batch(hand_over: bool) -> None:
    """Importance is taken from the accumulated gradient, once per optimizer step."""
    whole, parts = start("sgd", hand_over=hand_over), start("sgd", hand_over=hand_over)
    for step in range(1, 12):
        data = batch(step, size=8)
        for training, pieces in ((whole, 1), (parts, 4)):
            for piece in range(pieces):
                rows = slice(piece * 8 // pieces, (piece + 1) * 8 // pieces)
                loss = training.model(**{key: value[rows] for key, value in data.items()}).loss
                (loss / pieces).backward()
            training.optimizer.step()
            training.model.base_model.update_and_allocate(step, training.optimizer if hand_over else None)
            training.optimizer.zero_grad()
        assert active_set(whole.model) == active_set(parts.model)
        for where, score in scores(whole.model).items():
            assert scores(parts.model)[where] == pytest.approx(score, rel=1e-2, abs=1e-12)
    assert len(active_set(parts.model)) == 5


def test_clipped_gradients_are_what_counts() -> None:
    """Importance sees the gradients as the optimizer does: scaled by s, the scores are scaled by s squared."""
    free, clipped = (asa_model(**NEVER_PRUNING) for _ in range(2))
    for model in (free, clipped):
        model(**batch()).loss.backward()
    norm = float(nn.utils.clip_grad_norm_(trainable(clipped), 1e-2))
    assert norm > 1e-2
    for model in (free, clipped):
        model.base_model.update_and_allocate(1)
    factor = (1e-2 / (norm + 1e-6)) ** 2
    for where, score in scores(free).items():
        assert scores(clipped)[where] == pytest.approx(score * factor, rel=1e-4, abs=1e-16)


@pytest.mark.parametrize("hand_over", [False, True], ids=["alone", "handed"])
def test_training_with_clipping_reaches_the_target(hand_over: bool) -> None:
    training = start(hand_over=hand_over)
    for step in range(1, 12):
        training.model(**batch(step)).loss.backward()
        nn.utils.clip_grad_norm_(trainable(training.model), 1e-3)
        training.optimizer.step()
        training.model.base_model.update_and_allocate(step, training.optimizer if hand_over else None)
        training.optimizer.zero_grad()
    assert len(active_set(training.model)) == 5


def test_bf16_autocast() -> None:
    """Parameters, gradients and averages stay fp32; the scores are those of full precision up to bf16's rounding."""
    full, half = (asa_model(**NEVER_PRUNING) for _ in range(2))
    for step in range(1, 4):
        for model, enabled in ((full, False), (half, True)):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
                loss = model(**batch(step)).loss
            loss.backward()
            model.base_model.update_and_allocate(step)
            model.zero_grad()
    assert_finite(half)
    assert all(value.dtype == torch.float32 for pairs in averages(half).values() for pair in pairs for value in pair)
    expected, found = scores(full), scores(half)
    assert found != expected
    assert sum(found.values()) == pytest.approx(sum(expected.values()), rel=0.2)


def test_bf16_autocast_reaches_the_target() -> None:
    training = start()
    for step in range(1, 12):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = training.model(**batch(step)).loss
        loss.backward()
        training.optimizer.step()
        training.model.base_model.update_and_allocate(step, training.optimizer)
        training.optimizer.zero_grad()
    assert len(active_set(training.model)) == 5


def scaled_step(training: Training, scaler: torch.amp.GradScaler, step: int, *, steepness: float = 1.0) -> bool:
    """One step under loss scaling; whether it was skipped because the scaled gradients overflowed."""
    scaler.scale(training.model(**batch(step)).loss * steepness).backward()
    scaler.unscale_(training.optimizer)
    overflowed = not all(bool(torch.isfinite(p.grad).all()) for p in trainable(training.model) if p.grad is not None)
    scaler.step(training.optimizer)
    scaler.update()
    training.model.base_model.update_and_allocate(step, training.optimizer)
    training.optimizer.zero_grad()
    return overflowed


def test_an_overflow_under_loss_scaling_does_not_count() -> None:
    """As if the step had not been: no NaN in the averages, and none of them decays towards it."""
    training = start(**NEVER_PRUNING)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    assert not scaled_step(training, scaler, 1)
    before = copy.deepcopy(averages(training.model))
    assert scaled_step(training, scaler, 2, steepness=1e38)
    after = averages(training.model)
    for where, pairs in before.items():
        for (i, u), (other_i, other_u) in zip(pairs, after[where], strict=True):
            assert torch.equal(i, other_i)
            assert torch.equal(u, other_u)
    assert not scaled_step(training, scaler, 3)
    assert_finite(training.model)
    assert scores(training.model) != brute_force_scores(before)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_one_bad_element_spoils_the_whole_step(value: float) -> None:
    """Also where the weight beside it is zero, and when the first step of a window is the bad one."""
    model = asa_model(init_weights="orthogonal", **NEVER_PRUNING)
    model(**batch()).loss.backward()
    grad = next(iter(layers_of(model).values())).adamss_B["default"].grad
    assert grad is not None
    grad[0] = value
    model.base_model.update_and_allocate(1)
    assert set(scores(model).values()) == {0.0}
    assert_finite(model)


def test_overflow_at_a_mask_step_still_prunes_by_the_averages_before_it() -> None:
    training = start()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    for step in (1, 2):
        assert not scaled_step(training, scaler, step)
    expected = sorted(scores(training.model).items(), key=lambda item: -item[1])
    assert scaled_step(training, scaler, 3, steepness=1e38)
    kept = active_set(training.model)
    assert len(kept) < 16
    assert kept == {where for where, _ in expected[: len(kept)]}
    for step in range(4, 12):
        scaled_step(training, scaler, step)
    assert len(active_set(training.model)) == 5


class HalfUsed(Mlp):
    """Its second layer takes no part, so it never has a gradient."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.first(x)
        return out


def test_parameters_without_gradient_are_pruned_first() -> None:
    fields = {**SCHEDULE, "target_modules": ["first", "second"], "task_type": None, "init_weights": None, "r": 8}
    model = get_adamss_model(HalfUsed(), config(**{**fields, "asa_target_subspaces": 3}))
    optimizer = torch.optim.AdamW(trainable(model), lr=1e-2, weight_decay=0.1)
    unused = layers_of(model)["second"]
    before = unused.packed("default")
    for step in range(1, 10):
        model(torch.randn(5, 32, generator=torch.Generator().manual_seed(step))).square().mean().backward()
        optimizer.step()
        assert unused.adamss_A["default"].grad is None
        model.base_model.update_and_allocate(step, optimizer=optimizer)
        optimizer.zero_grad()
    assert {name for name, _ in active_set(model)} == {"first"}
    assert len(active_set(model)) == 3
    for value, other in zip(before, unused.packed("default"), strict=True):
        assert torch.equal(value, other)


def test_adapters_that_are_not_active_or_have_no_asa_are_left_alone() -> None:
    model = asa_model()
    model.add_adapter("second", config(init_weights=None))
    model.add_adapter("third", config(init_weights=None, **{**SCHEDULE, "asa_target_subspaces": 2}))
    for name, pruned in (("second", []), ("third", ["third"]), ("default", ["default", "third"])):
        model.set_adapter(name)
        for step in range(1, 10):
            model(**batch(step)).loss.backward()
            model.base_model.update_and_allocate(step)
            model.zero_grad()
        summaries = {adapter: model.base_model.asa_summary(adapter) for adapter in ("default", "second", "third")}
        assert [adapter for adapter, s in sorted(summaries.items()) if s["active"] < s["total"]] == pruned
    assert model.base_model.asa_summary("third")["active"] == 2
    assert model.base_model.asa_summary("second")["target"] is None

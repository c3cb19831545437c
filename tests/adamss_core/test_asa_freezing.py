"""What is pruned stays bit-identical, whatever the optimizer does, and costs nothing more where that can be had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor

from adamss_core.errors import AsaStateError
from adamss_core.layer import AdamssLayer
from tests.adamss_core.asa_training import (
    OPTIMIZERS,
    Subspace,
    Training,
    active_set,
    asa_model,
    assert_same_values,
    frozen_values,
    layers_of,
    saved_values,
    start,
    subspaces,
    trainable,
)
from tests.models import batch

ONE_LAYER_LEFT: dict[str, Any] = {"asa_target_subspaces": 1, "mask_interval": 1}


def remaining(model: PeftModel) -> int:
    """Elements of the active A and B, counted one subspace at a time."""
    return sum(a.numel() + b.numel() for _, entry, a, b in subspaces(model) if entry["active"])


def classifier_elements(model: PeftModel) -> int:
    return sum(p.numel() for name, p in model.named_parameters() if p.requires_grad and "classifier" in name)


def state_elements(optimizer: torch.optim.Optimizer) -> dict[str, int]:
    """Elements of each kind of per-parameter state."""
    counts: dict[str, int] = {}
    for slots in optimizer.state.values():
        for name, value in slots.items():
            if isinstance(value, Tensor) and value.dim() > 0:
                counts[name] = counts.get(name, 0) + value.numel()
    return counts


def train_and_watch(training: Training, folder: Path, steps: int = 14) -> None:
    """Every step: what was frozen before is the same bits now, in the layers; in the end, in the files too."""
    seen: dict[Subspace, tuple[Tensor, Tensor]] = {}
    for _ in range(steps):
        training.step()
        assert_same_values(frozen_values(training.model), seen)
        for where, pair in frozen_values(training.model).items():
            seen.setdefault(where, pair)
    assert len(seen) == 16 - training.model.base_model.asa_summary()["target"]
    assert_same_values(saved_values(training.model, folder), seen)


@pytest.mark.parametrize("before", [False, True], ids=["after-step", "before-step"])
@pytest.mark.parametrize("hand_over", [False, True], ids=["alone", "handed"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_frozen_is_bit_identical(name: str, hand_over: bool, before: bool, tmp_path: Path) -> None:
    train_and_watch(start(name, hand_over=hand_over, before=before), tmp_path)


@pytest.mark.parametrize("hand_over", [False, True], ids=["alone", "handed"])
def test_the_active_go_on_learning(hand_over: bool) -> None:
    training = start(hand_over=hand_over)
    training.run(until=9)
    before = {where: (a.clone(), b.clone()) for where, entry, a, b in subspaces(training.model) if entry["active"]}
    assert len(before) == 5
    training.run(until=11)
    for where, _, a, b in subspaces(training.model):
        if where in before:
            assert not torch.equal(a, before[where][0])
            assert not torch.equal(b, before[where][1])


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("before", [False, True], ids=["after-step", "before-step"])
def test_same_training_with_and_without_the_optimizer(name: str, before: bool) -> None:
    """Freeing state is about cost alone: not one bit of the result depends on it."""
    alone, handed = (start(name, hand_over=hand_over, before=before) for hand_over in (False, True))
    losses = alone.run(until=14)
    # The fused kernel rounds differently in its vector body and its tail, and rows change places when others leave.
    exact = name != "adamw-fused"
    assert handed.run(until=14) == (losses if exact else pytest.approx(losses, rel=1e-5))
    assert active_set(alone.model) == active_set(handed.model)
    for (_, _, a, b), (_, _, other_a, other_b) in zip(subspaces(alone.model), subspaces(handed.model), strict=True):
        torch.testing.assert_close(a, other_a, rtol=0 if exact else 1e-4, atol=0 if exact else 1e-5)
        torch.testing.assert_close(b, other_b, rtol=0 if exact else 1e-4, atol=0 if exact else 1e-5)


@pytest.mark.parametrize("fields", [{}, ONE_LAYER_LEFT], ids=["target-5", "target-1"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_state_shrinks_to_what_is_trained(name: str, fields: dict[str, Any]) -> None:
    training = start(name, **fields)
    model = training.model
    everything = sum(p.numel() for p in trainable(model))
    training.run(until=1)
    assert set(state_elements(training.optimizer).values()) == {everything}
    training.run(until=12)
    left = remaining(model) + classifier_elements(model)
    assert left < everything
    assert set(state_elements(training.optimizer).values()) == {left}
    assert sum(p.numel() for p in trainable(model)) == left
    assert len(state_elements(training.optimizer)) == {"sgd": 1, "ada": 2}[name[:3]] + ("amsgrad" in name)


def test_the_state_that_remains_belongs_to_what_remains() -> None:
    """Subspaces 0 and then 1 of a layer are pruned: the rows behind them move to the front, twice."""
    fields: dict[str, Any] = {"init_warmup": 0, "final_warmup": 2, "mask_interval": 1, "asa_schedule_exponent": 1.0}
    model = asa_model(target_modules=r".*layer\.0\..*query", asa_target_subspaces=2, **fields)
    (layer,) = layers_of(model).values()
    parameters = {"a": layer.adamss_A["default"], "b": layer.adamss_B["default"]}
    optimizer = OPTIMIZERS["adamw"](list(parameters.values()))
    model(**batch()).loss.backward()
    optimizer.step()
    slots = {name: optimizer.state[p]["exp_avg"].clone() for name, p in parameters.items()}
    expected = layer.layouts["default"].unpack(slots["a"], slots["b"])[2:]
    for step in (1, 2):
        first = step - 1  # the lowest subspace still active is the one without a gradient
        ranks, lengths = layer.layouts["default"].lengths_a[first], layer.layouts["default"].lengths_b[first]
        for parameter, size in ((parameters["a"], ranks), (parameters["b"], lengths)):
            parameter.grad = torch.ones_like(parameter)
            parameter.grad[:size] = 0
        model.base_model.update_and_allocate(step, optimizer=optimizer)
        assert {k for _, k in active_set(model)} == set(range(step, 4))
    assert torch.equal(optimizer.state[parameters["a"]]["exp_avg"], torch.cat([a for a, _ in expected]))
    assert torch.equal(optimizer.state[parameters["b"]]["exp_avg"], torch.cat([b.reshape(-1) for _, b in expected]))


@pytest.mark.parametrize("hand_over", [False, True], ids=["alone", "handed"])
def test_reports_what_is_still_trained(hand_over: bool) -> None:
    training = start(hand_over=hand_over)
    model = training.model
    _, total = model.get_nb_trainable_parameters()
    counts = []
    for _ in range(12):
        training.step()
        expected = remaining(model) + classifier_elements(model)
        assert model.get_nb_trainable_parameters() == (expected, total)
        assert model.base_model.asa_summary()["trainable_parameters"] == remaining(model)
        counts.append(expected)
    assert counts[0] > counts[4] > counts[-1]


@pytest.mark.parametrize("hand_over", [False, True], ids=["alone", "handed"])
@pytest.mark.parametrize("before", [False, True], ids=["after-step", "before-step"])
@pytest.mark.parametrize("name", ["sgd", "adamw-foreach", "adamw-fused"])
def test_a_layer_with_everything_pruned(name: str, before: bool, hand_over: bool, tmp_path: Path) -> None:
    """With a target of one, three of the four layers have nothing left to train; their frozen effect remains."""
    training = start(name, hand_over=hand_over, before=before, **ONE_LAYER_LEFT)
    train_and_watch(training, tmp_path, steps=11)
    model = training.model
    emptied = [layer for layer in layers_of(model).values() if not layer.asa_state("default").active.any()]  # type: ignore[union-attr]
    assert len(emptied) == 3
    for layer in emptied:
        assert bool(layer.get_delta_weight("default").any())
    if hand_over:
        assert all(layer.adamss_A["default"] not in training.optimizer.state for layer in emptied)
    loss = model(**batch()).loss
    loss.backward()
    with model.disable_adapter():
        assert not torch.equal(model(**batch()).loss, loss)
    if hand_over:
        assert all(layer.adamss_A["default"].grad is None for layer in emptied)


def test_backward_does_not_visit_what_is_fully_pruned() -> None:
    """With only the last module left, nothing before it asks for a gradient."""
    model = asa_model(asa_target_subspaces=4, init_warmup=1, final_warmup=2, mask_interval=1)
    layers = layers_of(model)
    *others, last = layers
    layers[last].adamss_B["default"].grad = torch.ones_like(layers[last].adamss_B["default"])
    optimizer = torch.optim.AdamW(trainable(model))
    for step in (1, 2):
        model.base_model.update_and_allocate(step, optimizer=optimizer)
    assert {name for name, _ in active_set(model)} == {last}
    asked: dict[str, bool] = {}
    for name, layer in layers.items():
        layer.register_forward_hook(lambda _, __, out, name=name: asked.update({name: out.requires_grad}))
    model(**batch()).loss.backward()
    assert asked == {**dict.fromkeys(others, False), last: True}


@pytest.mark.parametrize("hand_over", [False, True], ids=["alone", "handed"])
def test_a_loss_kept_alive_across_mask_steps(hand_over: bool) -> None:
    """Its graph holds on to the parameters in their old shapes."""
    kept, dropped = start(hand_over=hand_over), start(hand_over=hand_over)
    losses = [kept.step() for _ in range(12)]
    assert [loss.item() for loss in losses] == dropped.run(until=12)
    assert len(active_set(kept.model)) == 5


def test_a_second_graph_made_before_a_mask_step_is_evaluated_after_it() -> None:
    """A logged loss is only read; its value must not change under it."""
    training = start()
    training.run(until=2)
    loss = training.model(**batch()).loss
    before = loss.item()
    training.run(until=9)
    assert loss.item() == before


OTHER_SHAPES = {
    "adafactor": lambda p: torch.optim.Adafactor(p, lr=1e-2),
    "adafactor-decay": lambda p: torch.optim.Adafactor(p, lr=1e-2, weight_decay=0.1),
    "lbfgs": lambda p: torch.optim.LBFGS(p, lr=1e-2, max_iter=1),
}


@pytest.mark.parametrize("name", ["adafactor", "adafactor-decay"])
def test_state_in_other_shapes_falls_back_to_masks(name: str, tmp_path: Path) -> None:
    """Adafactor's row and column averages cannot be cut; the shapes stay, and the frozen stay frozen."""
    model = asa_model()
    shapes = [p.shape for p in trainable(model)]
    train_and_watch(Training(model, OTHER_SHAPES[name](trainable(model))), tmp_path)
    assert [p.shape for p in trainable(model)] == shapes
    assert model.get_nb_trainable_parameters()[0] == remaining(model) + classifier_elements(model)


def test_lbfgs_keeps_one_vector_for_all_parameters() -> None:
    """Its state hangs on the first parameter only, so no other parameter may shrink either."""
    model = asa_model()
    optimizer = OTHER_SHAPES["lbfgs"](trainable(model))

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = model(**batch()).loss
        loss.backward()
        return loss

    seen: dict[Subspace, tuple[Tensor, Tensor]] = {}
    for step in range(1, 13):
        optimizer.step(closure)  # type: ignore[arg-type]
        model.base_model.update_and_allocate(step, optimizer=optimizer)
        assert_same_values(frozen_values(model), seen)
        seen |= frozen_values(model)
    assert len(active_set(model)) == 5


def test_masks_first_and_the_optimizer_later(tmp_path: Path) -> None:
    """Handed from some step on, the optimizer's state shrinks then, with the same result."""
    reference, late = start(hand_over=False), start(hand_over=False)
    assert late.run(until=4) == reference.run(until=4)
    late.hand_over = True
    assert late.run(until=12) == reference.run(until=12)
    assert_same_values(saved_values(late.model, tmp_path / "a"), saved_values(reference.model, tmp_path / "b"))
    # A layer that loses nothing more keeps its masks; the others have shrunk.
    shrunk = [layer.adamss_A["default"].shape[0] < 8 for layer in layers_of(late.model).values()]
    assert any(shrunk)


def test_the_optimizer_first_and_nothing_later_is_refused() -> None:
    """Parameters cannot grow back under an optimizer that is not at hand; nothing is changed by the attempt."""
    training = start()
    training.run(until=5)
    before = training.model.base_model.asa_summary()
    assert before["active"] < 16
    values = frozen_values(training.model)
    training.hand_over = False
    with pytest.raises(AsaStateError, match="optimizer="):
        training.run(until=9)
    after = training.model.base_model.asa_summary()
    assert [[s["active"] for s in group] for group in after["modules"].values()] == [
        [s["active"] for s in group] for group in before["modules"].values()
    ]
    assert_same_values(frozen_values(training.model), values)


def test_an_optimizer_of_something_else_changes_no_shape() -> None:
    model = asa_model()
    shapes = [p.shape for p in trainable(model)]
    own = torch.optim.AdamW(trainable(model), lr=1e-2)
    other = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(3))])
    for step in range(1, 12):
        model(**batch(step)).loss.backward()
        own.step()
        model.base_model.update_and_allocate(step, optimizer=other)
        own.zero_grad()
    assert [p.shape for p in trainable(model)] == shapes
    assert len(active_set(model)) == 5


def test_parameters_stay_the_same_objects() -> None:
    """Optimizers, schedulers and users hold them by identity."""
    training = start(**ONE_LAYER_LEFT)
    before = [id(p) for p in trainable(training.model)]
    training.run(until=10)
    assert [id(p) for p in trainable(training.model)] == before


def _asa_parameters(model: PeftModel) -> list[torch.nn.Parameter]:
    return [p for layer in layers_of(model).values() for p in (layer.adamss_A["default"], layer.adamss_B["default"])]


def _live_gradients(layer: AdamssLayer) -> list[Tensor]:
    """The gradients of A and B without the elements of pruned subspaces."""
    state = layer.asa_state("default")
    assert state is not None
    pairs = ((layer.adamss_A["default"], state.live_a), (layer.adamss_B["default"], state.live_b))
    gradients = [(p.grad, live) for p, live in pairs if p.grad is not None]
    return [g if live is None or state.compact else g[live.expand_as(g)] for g, live in gradients]


def test_gradient_clipping_sees_only_what_is_trained() -> None:
    """Called before the optimizer's step, a mask step leaves no gradient behind for what it froze."""
    for hand_over in (False, True):
        training = start(hand_over=hand_over, before=True, **ONE_LAYER_LEFT)
        training.run(until=2)
        model = training.model
        model(**batch()).loss.backward()
        model.base_model.update_and_allocate(3, optimizer=training.optimizer if hand_over else None)
        gradients = [p.grad for p in _asa_parameters(model) if p.grad is not None]
        live = [g for layer in layers_of(model).values() for g in _live_gradients(layer)]
        assert len(active_set(model)) < 16
        assert sum(int(g.count_nonzero()) for g in gradients) == sum(int(g.count_nonzero()) for g in live) > 0

"""Removed subspaces (`asa_pruned="removed"`): gone from the step that prunes them, in training and in every file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor, nn

from adamss_core import export_lora, get_adamss_model, load_adapter, merge_adapter, save_adapter
from adamss_core.errors import AdamssWarning, ConfigError
from adamss_core.training.adapter_size import adapter_size
from tests.adamss_core.asa_training import (
    OPTIMIZERS,
    Training,
    active_set,
    asa_model,
    assert_same_state,
    layers_of,
    start,
    subspaces,
    trainable,
)
from tests.adamss_core.support import mlp_config, outputs
from tests.adamss_core.test_asa_resume import END, WAYS, check_resume
from tests.marks import compat
from tests.models import Mlp, batch, tiny_bert

FORMS = pytest.mark.parametrize("hand_over", [False, True], ids=["masked", "cut"])
WEIGHTS = "adapter_model.safetensors"


def removing(name: str = "adamw", *, until: int = 10, **fields: Any) -> Training:
    """A training with removal, behind its ramp unless `until` says otherwise."""
    training = start(name, asa_pruned="removed", **fields)
    training.run(until=until)
    return training


@torch.no_grad()
def remove_by_hand(model: PeftModel) -> None:
    """Zeroes B of what a model that freezes has pruned: an independent way to the same outputs."""
    for layer in layers_of(model).values():
        state = layer.asa_state("default")
        assert state is not None
        if state.frozen_b is None:
            continue
        for k, (_, b) in enumerate(layer.layouts["default"].unpack(layer.adamss_A["default"], state.frozen_b)):
            if not state.active[k]:
                b.zero_()


@pytest.mark.parametrize("hand_over", [compat(False), True], ids=["masked", "cut"])
@pytest.mark.parametrize("name", ["adamw-foreach", *map(compat, ("sgd", "adamw-fused", "adamw-amsgrad"))])
def test_training_goes_on_as_if_the_pruned_had_never_had_an_effect(name: str, hand_over: bool) -> None:
    """The reference freezes, with masks, and has the frozen B zeroed by hand after each mask step."""
    training = start(name, hand_over=hand_over, asa_pruned="removed")
    reference = start(name, hand_over=False)
    for _ in range(END):
        loss, expected = training.step().item(), reference.step().item()
        assert loss == pytest.approx(expected, rel=1e-5)
        remove_by_hand(reference.model)
    assert active_set(training.model) == active_set(reference.model)
    assert len(active_set(training.model)) == 5
    for (where, entry, a, b), (_, _, other_a, other_b) in zip(
        subspaces(training.model), subspaces(reference.model), strict=True
    ):
        if entry["active"]:
            torch.testing.assert_close(a, other_a, rtol=1e-3, atol=1e-5)
            torch.testing.assert_close(b, other_b, rtol=1e-3, atol=1e-5)
        else:
            assert not b.any(), where
            assert a.shape[0] == (0 if hand_over else entry["rank"])


def test_nothing_is_left_of_the_removed() -> None:
    training = removing()
    model, optimizer = training.model, training.optimizer
    for name, layer in layers_of(model).items():
        described = model.base_model.asa_summary()["modules"][name]
        layout = layer.layouts["default"]
        assert layout.ranks == tuple(s["rank"] if s["active"] else 0 for s in described)
        assert layer.adamss_A["default"].shape[0] == layout.total_rank
        assert layer.adamss_B["default"].numel() == layer.adamss_cells["default"].numel() == sum(layout.lengths_b)
        assert all(s["rank"] > 0 for s in described)
    left = sum(a.numel() + b.numel() for _, _, a, b in subspaces(model))
    assert model.base_model.asa_summary()["trainable_parameters"] == left
    parameters = trainable(model)
    assert model.get_nb_trainable_parameters()[0] == sum(p.numel() for p in parameters)
    moments = [value for slots in optimizer.state.values() for value in slots.values() if value.dim() > 0]
    assert sum(value.numel() for value in moments) == 2 * sum(p.numel() for p in parameters)


def test_sizes_from_before_pruning_are_known_after_it() -> None:
    assert adapter_size(removing().model) == adapter_size(asa_model())


@pytest.mark.parametrize("hand_over", [compat(False), True], ids=["masked", "cut"])
@pytest.mark.parametrize(
    ("number", "init_weights"), [(1, None), (5, None), (32, None), (5, "orthogonal"), compat(32, "orthogonal")]
)
def test_stock_peft_gives_the_same_outputs(
    number: int, init_weights: str | None, hand_over: bool, tmp_path: Path
) -> None:
    """Warnings are errors here: stock PEFT misses no tensor."""
    target: dict[str, Any] = {"num_subspaces": number, "asa_target_subspaces": 2 * number - 1}
    ours = removing(hand_over=hand_over, init_weights=init_weights, **target).model.eval()
    save_adapter(ours, tmp_path)
    stock = PeftModel.from_pretrained(tiny_bert(), tmp_path)
    assert (outputs(stock) - outputs(ours)).abs().max() < 1e-5
    assert (outputs(ours) - outputs(tiny_bert())).abs().max() > 1e-3
    files = {
        name: json.loads((tmp_path / name).read_text()) for name in ("adapter_config.json", "adamss_manifest.json")
    }
    assert "asa_pruned" not in files["adapter_config.json"]
    assert files["adamss_manifest.json"]["asa_pruned"] == "removed"
    if hand_over:
        tensors = load_file(tmp_path / WEIGHTS)
        for (module, k), entry, _, _ in subspaces(ours):
            a, b = (tensors[f"base_model.model.{module}.adamss_{part}.{k}"] for part in "AB")
            assert (a.shape[0], b.shape[1]) == ((entry["rank"],) * 2 if entry["active"] else (0, 0))
            assert b.shape[0] == entry["rows"]


@FORMS
def test_lora_and_merged_model_have_only_what_is_left(hand_over: bool, tmp_path: Path) -> None:
    ours = removing(hand_over=hand_over).model.eval()
    manifest = export_lora(ours, tmp_path)
    groups = ours.base_model.asa_summary()["modules"]
    ranks = {name: sum(s["rank"] for s in group if s["active"]) for name, group in groups.items()}
    assert manifest["rank"] == max(ranks.values()) < 8
    assert manifest["dropped_modules"] == sorted(name for name, rank in ranks.items() if rank == 0)
    assert (outputs(PeftModel.from_pretrained(tiny_bert(), tmp_path)) - outputs(ours)).abs().max() < 1e-5
    deltas: dict[str, Tensor] = {}
    for (module, k), _, a, b in subspaces(ours):
        layer = layers_of(ours)[module]
        delta = deltas.setdefault(module, torch.zeros(layer.out_features, layer.in_features))
        delta[layer.layouts["default"].members(k)] = (b @ a @ layer.adamss_newB["default"])[:, :-1]
    merged, base = merge_adapter(ours), tiny_bert()
    for module, delta in deltas.items():
        weight = merged.get_submodule(module).get_parameter("weight")
        assert torch.allclose(weight, base.get_submodule(module).get_parameter("weight") + delta, atol=1e-6)


@pytest.mark.parametrize(
    ("way", "stop", "hand_over"),
    [
        ("files", 4, True),
        ("torch", 8, True),
        compat("files", 8, False),
        compat("state-dicts", 4, True),
        *(compat(way, stop, hand_over) for way in WAYS for stop in (2, 6, 9) for hand_over in (True, False)),
    ],
)
def test_resume_is_bit_identical(way: str, stop: int, hand_over: bool, tmp_path: Path) -> None:
    """Through a whole state dict and through ASA's state apart from A and B, into a model that freezes, as well."""
    check_resume("adamw-foreach", stop, way, tmp_path, hand_over=hand_over, asa_pruned="removed")


@pytest.mark.parametrize("hand_over", [compat(False), True], ids=["masked", "cut"])
def test_a_layer_with_nothing_left_is_its_base(hand_over: bool, tmp_path: Path) -> None:
    training = removing(hand_over=hand_over, asa_target_subspaces=1, mask_interval=1)
    emptied = [layer for layer in layers_of(training.model).values() if not layer.asa_state("default").active.any()]  # type: ignore[union-attr]
    assert len(emptied) == 3
    x = torch.randn(3, 64)
    for layer in emptied:
        assert torch.equal(layer(x), layer.get_base_layer()(x))
        assert not layer.get_delta_weight("default").any()
    training.run(until=12)
    save_adapter(training.model, tmp_path)
    loaded = load_adapter(tiny_bert(), tmp_path)
    assert_same_state(loaded, training.model)


def test_masks_first_and_the_optimizer_later() -> None:
    """Handed from some step on, what was masked is cut then, with the same result."""
    late, whole = removing(until=4, hand_over=False), removing(until=END)
    assert len(active_set(late.model)) < 16
    late.hand_over = True
    late.run(until=END)
    assert active_set(late.model) == active_set(whole.model)
    assert (outputs(late.model) - outputs(whole.model)).abs().max() < 1e-5
    ranks = [sum(layer.layouts["default"].ranks) for layer in layers_of(late.model).values()]
    assert min(ranks) < 8


def test_without_the_optimizer_later_there_is_no_need_of_it() -> None:
    """Unlike frozen values that have left the parameters, nothing has to be put back."""
    training, whole = removing(until=5), removing(until=END)
    training.hand_over = False
    training.run(until=END)
    assert active_set(training.model) == active_set(whole.model)
    assert (outputs(training.model) - outputs(whole.model)).abs().max() < 1e-5


def test_loaded_for_inference_what_was_masked_is_gone_too(tmp_path: Path) -> None:
    ours = removing(until=7, hand_over=False).model.eval()
    save_adapter(ours, tmp_path / "masked")
    loaded = load_adapter(tiny_bert(), tmp_path / "masked", is_trainable=False)
    assert active_set(loaded) == active_set(ours)
    assert (outputs(loaded) - outputs(ours)).abs().max() < 1e-5
    save_adapter(loaded, tmp_path / "cut")
    assert (tmp_path / "cut" / WEIGHTS).stat().st_size < (tmp_path / "masked" / WEIGHTS).stat().st_size
    again = load_adapter(tiny_bert(), tmp_path / "cut")
    assert torch.equal(outputs(again), outputs(loaded))
    assert again.base_model.asa_summary()["modules"] == loaded.base_model.asa_summary()["modules"]


def test_pefts_own_saving_and_loading_keep_removing(tmp_path: Path) -> None:
    """A Trainer's checkpoint has no manifest of ours: the tensors say what pruning does."""
    training, whole = removing(until=4), removing(until=END)
    training.model.save_pretrained(str(tmp_path))
    other = asa_model()
    other.load_adapter(tmp_path, "second", is_trainable=True)
    other.set_adapter("second")
    other.delete_adapter("default")
    resumed = load_adapter(tiny_bert(), tmp_path)
    for model, adapter in ((other, "second"), (resumed, "default")):
        states = [layer.asa_state(adapter) for layer in model.base_model.adapted_layers(adapter).values()]
        assert all(state.removes for state in states)
    optimizer = OPTIMIZERS["adamw"](trainable(resumed))
    optimizer.load_state_dict(training.optimizer.state_dict())
    Training(resumed, optimizer, done=4).run(until=END)
    assert_same_state(resumed, whole.model)


def test_what_stock_peft_saves_again_is_loaded(tmp_path: Path) -> None:
    ours = removing().model.eval()
    save_adapter(ours, tmp_path / "ours")
    PeftModel.from_pretrained(tiny_bert(), tmp_path / "ours").save_pretrained(str(tmp_path / "stock"))
    loaded = load_adapter(tiny_bert(), tmp_path / "stock", is_trainable=False)
    assert (outputs(loaded) - outputs(ours)).abs().max() < 1e-5
    assert export_lora(loaded, tmp_path / "lora")["rank"] < 8


@pytest.mark.parametrize("dtype", [torch.bfloat16, compat(torch.float16)])
def test_on_a_base_in_half_precision(dtype: torch.dtype, tmp_path: Path) -> None:
    ours = removing().model.eval()
    save_adapter(ours, tmp_path)
    base: nn.Module = tiny_bert()
    half = load_adapter(base.to(dtype), tmp_path).eval()
    for name, layer in layers_of(half).items():
        assert torch.equal(layer.get_delta_weight("default"), layers_of(ours)[name].get_delta_weight("default"))
    assert (outputs(half) - outputs(ours)).abs().max() < 0.05
    half.base_model.model.float()
    assert torch.isfinite(outputs(merge_adapter(half))).all()


def test_frozen_is_what_it_was(tmp_path: Path) -> None:
    model = start().model
    save_adapter(model, tmp_path)
    assert not [key for key in load_file(tmp_path / WEIGHTS) if "removed_rank" in key]
    assert json.loads((tmp_path / "adamss_manifest.json").read_text())["asa_pruned"] == "frozen"


def test_another_value_is_refused_and_the_base_left_alone() -> None:
    base = Mlp()
    with pytest.raises(ConfigError, match="asa_pruned='zero' is not allowed") as caught:
        get_adamss_model(base, mlp_config(), asa_pruned="zero")  # type: ignore[arg-type]
    assert caught.value.where == "asa_pruned"
    assert type(base.first) is nn.Linear


def test_without_pruning_the_setting_is_said_to_have_no_effect() -> None:
    with pytest.warns(AdamssWarning, match="asa_pruned has no effect while use_asa is false"):
        get_adamss_model(Mlp(), mlp_config(), asa_pruned="removed")


def test_gradients_left_after_a_mask_step_fit_what_is_left() -> None:
    """Called before the optimizer's step."""
    training = start(before=True, asa_pruned="removed")
    training.run(until=2)
    model = training.model
    model(**batch()).loss.backward()
    model.base_model.update_and_allocate(3, optimizer=training.optimizer)
    assert len(active_set(model)) < 16
    assert all(p.grad is not None and p.grad.shape == p.shape for p in trainable(model) if p.numel())
    training.optimizer.step()


def test_published_without_modules_that_have_nothing_left(tmp_path: Path) -> None:
    """Stock PEFT and ours adapt the others only; a checkpoint keeps all."""
    training = removing(asa_target_subspaces=1, mask_interval=1, layers_to_transform=[0, 1])
    ours = training.model.eval()
    save_adapter(ours, tmp_path / "all")
    save_adapter(ours, tmp_path / "published", leave_out_emptied=True)
    ((left, _),) = active_set(ours)
    emptied = sorted(set(layers_of(ours)) - {left})
    manifest = json.loads((tmp_path / "published" / "adamss_manifest.json").read_text())
    assert sorted(manifest["emptied_modules"]) == emptied
    assert not [
        key for key in load_file(tmp_path / "published" / WEIGHTS) if any(f".{name}." in key for name in emptied)
    ]
    sizes = [(tmp_path / name / WEIGHTS).stat().st_size for name in ("all", "published")]
    assert sizes[1] < 0.5 * sizes[0]
    stock = PeftModel.from_pretrained(tiny_bert(), tmp_path / "published")
    assert (outputs(stock) - outputs(ours)).abs().max() < 1e-5
    assert [name for name, _ in stock.base_model.model.named_modules() if name.endswith("adamss_A")] == [
        f"{left}.adamss_A"
    ]
    loaded = load_adapter(tiny_bert(), tmp_path / "published")
    assert list(layers_of(loaded)) == [left]
    assert (outputs(loaded) - outputs(ours)).abs().max() < 1e-5
    assert ours.peft_config["default"].layers_to_transform == [0, 1]  # the model's own is as it was


def test_nothing_is_left_out_where_something_is_left_everywhere(tmp_path: Path) -> None:
    ours = removing(asa_target_subspaces=12).model
    save_adapter(ours, tmp_path / "all")
    save_adapter(ours, tmp_path / "published", leave_out_emptied=True)
    for name in (WEIGHTS, "adapter_config.json", "adamss_manifest.json"):
        assert (tmp_path / "all" / name).read_bytes() == (tmp_path / "published" / name).read_bytes()

"""PEFT's usual calls do what PEFT's users expect."""

from __future__ import annotations

import contextlib
import copy
import io
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForSequenceClassification, PeftModel, get_peft_model, get_peft_model_state_dict

from adamss_core import get_adamss_model, load_adapter, save_adapter
from tests.adamss_core.support import (
    ASA,
    adapted_mlp,
    give_effect,
    gradients,
    layers_of,
    mlp_config,
    mlp_input,
    outputs,
    prune_half,
    trainable,
    two_adapters,
)
from tests.models import Mlp, config, tiny_bert

# --- several adapters -------------------------------------------------------------------------------------------------


def test_set_adapter_switches_outputs_and_training() -> None:
    model = two_adapters()
    assert torch.equal(outputs(model), outputs(adapted_mlp("one", seed=1)))
    assert trainable(model) == {f"base_model.model.{m}.adamss_{p}.one" for m in ("first", "second") for p in "AB"}
    model.set_adapter("two")
    assert model.active_adapters == ["two"]
    assert trainable(model) == {f"base_model.model.{m}.adamss_{p}.two" for m in ("first", "second") for p in "AB"}
    alone = give_effect(
        get_adamss_model(Mlp(), mlp_config(num_subspaces=5, subspace_rank=1, r=7), "two"), "two", seed=2
    )
    assert torch.allclose(outputs(model), outputs(alone), atol=1e-6)


def test_two_active_at_once_add_up() -> None:
    model = two_adapters()
    deltas = {
        name: sum(layer.get_delta_weight(adapter) for adapter in ("one", "two"))
        for name, layer in layers_of(model, "one").items()
    }
    biases = [layers_of(model, "one")["first"].get_delta_bias(adapter) for adapter in ("one", "two")]
    bias = torch.stack([value for value in biases if value is not None]).sum(0)
    model.base_model.set_adapter(["one", "two"])
    assert model.active_adapters == ["one", "two"]
    both = Mlp()
    with torch.no_grad():
        for name, delta in deltas.items():
            both.get_parameter(f"{name}.weight").add_(delta)
        both.get_parameter("first.bias").add_(bias)
    assert torch.allclose(outputs(model), outputs(both), atol=1e-5)
    assert set(gradients(model)) == trainable(model)
    assert len(trainable(model)) == 8


def test_adapters_on_different_modules() -> None:
    model = adapted_mlp("one", seed=1, target_modules=["first"])
    model.add_adapter("two", mlp_config(target_modules=["second"]))
    give_effect(model, "two", seed=2)
    assert list(layers_of(model, "one")) == ["first"]
    assert list(layers_of(model, "two")) == ["second"]
    assert torch.equal(outputs(model), outputs(adapted_mlp("one", seed=1, target_modules=["first"])))
    model.set_adapter("two")
    alone = give_effect(get_adamss_model(Mlp(), mlp_config(target_modules=["second"]), "two"), "two", seed=2)
    assert torch.allclose(outputs(model), outputs(alone), atol=1e-6)


def test_delete_adapter() -> None:
    model = two_adapters()
    expected = outputs(model)
    model.delete_adapter("two")
    assert list(model.peft_config) == ["one"]
    assert not any("two" in key for key in model.state_dict())
    assert torch.equal(outputs(model), expected)
    assert layers_of(model, "two") == {}
    model.add_adapter("two", mlp_config())  # the name is free again
    assert list(layers_of(model, "two")) == ["first", "second"]


def test_adapter_added_after_loading_starts_afresh(tmp_path: Path) -> None:
    save_adapter(adapted_mlp(seed=1, r=5, num_subspaces=2), tmp_path)
    model = load_adapter(Mlp(), tmp_path)
    model.add_adapter("other", mlp_config())
    fresh = get_adamss_model(Mlp(), mlp_config())
    for name, layer in layers_of(model, "other").items():
        for held in ("adamss_A", "adamss_B", "adamss_newB"):
            assert torch.equal(getattr(layer, held)["other"], getattr(layers_of(fresh)[name], held)["default"])


def test_disable_adapter() -> None:
    model = adapted_mlp()
    expected = outputs(model)
    with model.disable_adapter():
        assert torch.equal(outputs(model), outputs(Mlp()))
    assert torch.equal(outputs(model), expected)
    model.merge_adapter()
    with model.disable_adapter():  # as LoRA does: unmerged first
        assert torch.allclose(outputs(model), outputs(Mlp()), atol=1e-5)


def test_adamss_beside_stock_peft_in_one_process() -> None:
    ours = adapted_mlp()
    stock = get_peft_model(Mlp(), mlp_config())
    assert type(stock.base_model).__module__.startswith("peft.")
    assert type(ours.base_model).__module__.startswith("adamss_core.")


# --- merging ----------------------------------------------------------------------------------------------------------


def test_merge_and_unmerge() -> None:
    model = adapted_mlp()
    expected, before = outputs(model), {k: v.clone() for k, v in model.state_dict().items()}
    model.merge_adapter(safe_merge=True)
    assert layers_of(model)["first"].merged
    assert torch.allclose(outputs(model), expected, atol=1e-5)
    assert not torch.equal(model.state_dict()["base_model.model.first.base_layer.weight"], outputs(model))
    model.unmerge_adapter()
    assert not layers_of(model)["first"].merged
    after = model.state_dict()
    assert all(torch.allclose(after[key], value, atol=1e-6) for key, value in before.items())
    assert torch.allclose(outputs(model), expected, atol=1e-5)
    with pytest.warns(UserWarning, match="Already unmerged"):
        model.unmerge_adapter()


def test_merge_twice_counts_once() -> None:
    model = adapted_mlp()
    expected = outputs(model)
    model.merge_adapter()
    with pytest.warns(UserWarning, match="All adapters are already merged"):
        model.merge_adapter()
    assert torch.allclose(outputs(model), expected, atol=1e-5)


def test_merge_and_unload_of_two() -> None:
    model = two_adapters()
    model.base_model.set_adapter(["one", "two"])
    expected = outputs(model)
    merged = model.merge_and_unload(adapter_names=["one", "two"])
    assert type(merged) is Mlp
    assert torch.allclose(outputs(merged), expected, atol=1e-5)


def test_unload_gives_the_base_back() -> None:
    base = adapted_mlp().unload()
    assert type(base) is Mlp
    assert torch.equal(outputs(base), outputs(Mlp()))
    assert base.state_dict().keys() == Mlp().state_dict().keys()


def test_saving_while_merged_keeps_adapter_and_sketch() -> None:
    model = adapted_mlp()
    before = {k: v.clone() for k, v in get_peft_model_state_dict(model).items()}
    model.merge_adapter()
    after = get_peft_model_state_dict(model)
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert after.keys() == before.keys()


# --- saving and reports -----------------------------------------------------------------------------------------------


def test_save_pretrained_per_adapter(tmp_path: Path) -> None:
    model = two_adapters()
    model.save_pretrained(str(tmp_path))
    assert {"one", "two"} <= {path.name for path in tmp_path.iterdir()}
    fresh = get_adamss_model(Mlp(), mlp_config())
    for name in ("one", "two"):
        fresh.load_adapter(tmp_path / name, name)
        model.set_adapter(name)
        fresh.set_adapter(name)
        assert torch.allclose(outputs(fresh), outputs(model), atol=1e-6)


def test_auto_classes_find_what_we_save(tmp_path: Path) -> None:
    base = tiny_bert()
    base.save_pretrained(tmp_path / "base")
    base.name_or_path = str(tmp_path / "base")
    model = give_effect(get_adamss_model(base, config()))
    save_adapter(model, tmp_path / "adapter")
    loaded = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "adapter")
    assert torch.allclose(outputs(loaded), outputs(model), atol=1e-5)


def test_print_trainable_parameters() -> None:
    model = adapted_mlp(**ASA)
    total = sum(p.numel() for p in model.parameters())

    def printed() -> list[int]:
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            model.print_trainable_parameters()
        return [int(number.replace(",", "")) for number in re.findall(r": ([\d,]+) \|", text.getvalue() + "|")]

    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert printed() == [trained, total]
    prune_half(model, torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1))
    left, after = printed()
    assert left == model.base_model.asa_summary()["trainable_parameters"] < trained
    assert after == total


def test_status_reports() -> None:
    model = two_adapters()
    status = model.get_model_status()
    assert (status.adapter_model_type, status.available_adapters) == ("AdamssModel", ["one", "two"])
    assert (status.active_adapters, status.merged_adapters, status.enabled) == (["one"], [], True)
    assert [layer.name for layer in model.get_layer_status()] == ["model.first", "model.second"]
    assert "adamss" in repr(model)


@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("assign", [False, True])
def test_whole_state_dict_round_trip(pruned: bool, assign: bool) -> None:
    model = adapted_mlp(**ASA)
    if pruned:
        prune_half(model)
    other = get_adamss_model(Mlp(seed=5), mlp_config(**ASA))
    state = copy.deepcopy(model.state_dict())
    other.load_state_dict(state, strict=True, assign=assign)
    assert torch.equal(outputs(other), outputs(model))
    assert other.state_dict().keys() == model.state_dict().keys()
    assert other.base_model.asa_summary() == model.base_model.asa_summary()
    assert trainable(other) == trainable(model)


def test_state_dict_of_two_adapters() -> None:
    model = two_adapters()
    other = get_adamss_model(Mlp(seed=5), mlp_config(), "one")
    other.add_adapter("two", mlp_config(num_subspaces=5, subspace_rank=1, r=7))
    other.load_state_dict(copy.deepcopy(model.state_dict()), strict=True)
    for name in ("one", "two"):
        model.set_adapter(name)
        other.set_adapter(name)
        assert torch.equal(outputs(other), outputs(model))


# --- copies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_trains_alone(pruned: bool, duplicate: Callable[[PeftModel], PeftModel]) -> None:
    model = adapted_mlp(**ASA)
    if pruned:
        prune_half(model)
    expected = outputs(model)
    twin = duplicate(model)
    assert type(twin) is type(model)
    assert torch.equal(outputs(twin), expected)
    optimizer = torch.optim.SGD([p for p in twin.parameters() if p.requires_grad], lr=0.1)
    twin(mlp_input()).square().sum().backward()
    twin.base_model.update_and_allocate(2, optimizer)
    optimizer.step()
    assert not torch.equal(outputs(twin), expected)
    assert torch.equal(outputs(model), expected)
    assert all(p.grad is None for p in model.parameters())
    assert {id(layer) for layer in layers_of(twin).values()}.isdisjoint(map(id, layers_of(model).values()))
    assert all(layer in list(twin.modules()) for layer in layers_of(twin).values())

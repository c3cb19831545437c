"""Adapters travel between precisions, and are refused on another base."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from torch import Tensor, nn

from adamss_core import export_lora, get_adamss_model, load_adapter, save_adapter
from adamss_core.errors import BaseMismatchError, PlacementError
from tests.adamss_core.support import give_effect, layers_of, outputs, state_of
from tests.models import VOCABULARY, batch, config, tiny_bert

HALVES = [torch.bfloat16, torch.float16]


def rounded(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    return copy.deepcopy(model).to(dtype)


@torch.no_grad()
def hidden(model: nn.Module) -> Tensor:
    """All hidden states of a larger batch: enough numbers that rounding noise averages out."""
    ids = torch.randint(0, VOCABULARY, (32, 24), generator=torch.Generator().manual_seed(5))
    states = model(input_ids=ids, output_hidden_states=True).hidden_states
    return torch.stack(states).float()


def effect(model: PeftModel) -> Tensor:
    with model.disable_adapter():
        without = hidden(model)
    return hidden(model) - without


def relative_error(model: PeftModel, exact: Tensor) -> float:
    return float((effect(model) - exact).norm() / exact.norm())


def train(model: PeftModel, steps: int = 15) -> PeftModel:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(steps):
        model(**batch()).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


@torch.no_grad()
def scale_to(model: PeftModel, size: Tensor) -> None:
    """Makes the adapter's effect as large as `size`: the error of a half-precision base is relative to that."""
    for _ in range(4):  # the effect is not quite linear in B
        factor = size / effect(model).norm()
        for layer in layers_of(model).values():
            layer.adamss_B["default"].mul_(factor)


@pytest.mark.parametrize("dtype", HALVES)
def test_effect_survives_half_precision_as_well_as_loras(dtype: torch.dtype, tmp_path: Path) -> None:
    base = tiny_bert()
    trained_lora = train(
        get_peft_model(copy.deepcopy(base), LoraConfig(r=16, target_modules=["query", "value"], task_type="SEQ_CLS"))
    )
    trained_lora.save_pretrained(tmp_path / "trained_lora")
    ours = train(get_adamss_model(copy.deepcopy(base), config(r=64, num_subspaces=8)))
    scale_to(ours, effect(trained_lora).norm())
    save_adapter(ours, tmp_path / "ours")
    export_lora(ours, tmp_path / "lora")

    def error(exact: PeftModel, load: Callable[[nn.Module], PeftModel]) -> float:
        return relative_error(load(rounded(base, dtype)).eval(), effect(exact))

    mine = error(ours, lambda half: load_adapter(half, tmp_path / "ours"))
    assert mine <= 1.001 * error(ours, lambda half: PeftModel.from_pretrained(half, tmp_path / "lora"))
    # Another delta of the same size: its rounding noise is another draw, so "no larger" needs a margin.
    assert mine <= 1.1 * error(trained_lora, lambda half: PeftModel.from_pretrained(half, tmp_path / "trained_lora"))
    assert 0 < mine < 0.05


@pytest.mark.parametrize("dtype", HALVES)
def test_rows_and_basis_are_the_saved_ones(dtype: torch.dtype, tmp_path: Path) -> None:
    base = tiny_bert()
    ours = give_effect(get_adamss_model(copy.deepcopy(base), config()))
    save_adapter(ours, tmp_path)
    loaded = load_adapter(rounded(base, dtype), tmp_path)
    for name, layer in layers_of(loaded).items():
        saved = layers_of(ours)[name]
        assert torch.equal(layer.layouts["default"].rows, saved.layouts["default"].rows)
        assert torch.equal(layer.adamss_newB["default"], saved.adamss_newB["default"])
        assert layer.adamss_A["default"].dtype == torch.float32
        assert torch.equal(layer.adamss_B["default"], saved.adamss_B["default"])


@pytest.mark.parametrize("dtype", HALVES)
def test_half_to_full_precision_and_back_keeps_every_bit(dtype: torch.dtype, tmp_path: Path) -> None:
    base = tiny_bert()
    half = give_effect(get_adamss_model(rounded(base, dtype), config()))
    save_adapter(half, tmp_path / "half")
    full = load_adapter(copy.deepcopy(base), tmp_path / "half")
    save_adapter(full, tmp_path / "full")
    first, second = (load_file(tmp_path / folder / "adapter_model.safetensors") for folder in ("half", "full"))
    assert first.keys() == second.keys()
    ours = [key for key in first if ".adamss_" in key]
    assert all(torch.equal(first[key], second[key]) and first[key].dtype == second[key].dtype for key in ours)
    assert len(ours) == 4 * (4 * 2 + 3)  # per layer: four A and B, basis, rows, sketch


def test_another_base_is_refused_by_its_first_module(tmp_path: Path) -> None:
    base = tiny_bert()
    save_adapter(give_effect(get_adamss_model(copy.deepcopy(base), config())), tmp_path)
    other = copy.deepcopy(base)
    weight = other.get_parameter("bert.encoder.layer.1.attention.self.query.weight")
    with torch.no_grad():
        weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(9)) * 0.01 * weight.std())
    before = state_of(other)
    with pytest.raises(BaseMismatchError, match="allow_other_base=True") as caught:
        load_adapter(other, tmp_path)
    assert caught.value.where == "bert.encoder.layer.1.attention.self.query"
    assert "bert.encoder.layer.1.attention.self.query" in str(caught.value)
    assert state_of(other)["modules"] == before["modules"]
    with pytest.raises(BaseMismatchError) as caught:
        load_adapter(tiny_bert(seed=1), tmp_path)
    assert caught.value.where == "bert.encoder.layer.0.attention.self.query"


def test_another_base_on_demand(tmp_path: Path) -> None:
    ours = give_effect(get_adamss_model(tiny_bert(), config()))
    save_adapter(ours, tmp_path / "first")
    other = tiny_bert(seed=1)
    loaded = load_adapter(copy.deepcopy(other), tmp_path / "first", allow_other_base=True)
    for name, layer in layers_of(loaded).items():
        assert torch.equal(layer.get_delta_weight("default"), layers_of(ours)[name].get_delta_weight("default"))
    # What is saved from there on belongs to the base it was then used on.
    save_adapter(loaded, tmp_path / "second")
    assert torch.equal(outputs(load_adapter(copy.deepcopy(other), tmp_path / "second")), outputs(loaded))
    with pytest.raises(BaseMismatchError):
        load_adapter(tiny_bert(), tmp_path / "second")


@pytest.mark.parametrize("dtype", HALVES)
def test_stock_adapter_on_half_precision_is_refused_with_the_remedy(dtype: torch.dtype, tmp_path: Path) -> None:
    base = tiny_bert()
    stock = get_peft_model(copy.deepcopy(base), config(init_weights=None))
    stock.save_pretrained(tmp_path / "stock")
    with pytest.raises(PlacementError, match="Load it on the fp32 base model") as caught:
        load_adapter(rounded(base, dtype), tmp_path / "stock")
    assert caught.value.where == "bert.encoder.layer.0.attention.self.query"
    # The remedy works.
    save_adapter(load_adapter(copy.deepcopy(base), tmp_path / "stock"), tmp_path / "ours")
    loaded = load_adapter(rounded(base, dtype), tmp_path / "ours")
    assert torch.allclose(outputs(loaded), outputs(stock), atol=0.05)


def test_stock_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    get_peft_model(tiny_bert(), config(init_weights=None)).save_pretrained(tmp_path)
    with pytest.raises(PlacementError, match="its basis differs"):
        load_adapter(tiny_bert(seed=1), tmp_path)


@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
@pytest.mark.parametrize("low_memory", [False, True])
def test_pefts_own_saving_and_loading_is_as_good(dtype: torch.dtype, low_memory: bool, tmp_path: Path) -> None:
    base = tiny_bert()
    # No task type: PEFT's low-memory loading would keep a classifier in the file's precision, LoRA's too.
    first = give_effect(get_adamss_model(copy.deepcopy(base), config(task_type=None)), seed=1)
    second = give_effect(get_adamss_model(copy.deepcopy(base), config(task_type=None, num_subspaces=3, r=9)), seed=2)
    save_adapter(first, tmp_path / "first")
    second.save_pretrained(str(tmp_path / "second"))
    both = load_adapter(rounded(base, dtype), tmp_path / "first")
    both.load_adapter(tmp_path / "second", "second", low_cpu_mem_usage=low_memory)
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    assert torch.allclose(outputs(both), outputs(first), atol=tolerance)
    both.set_adapter("second")
    assert torch.allclose(outputs(both), outputs(second), atol=tolerance)
    for name, layer in layers_of(both, "second").items():
        assert torch.equal(layer.layouts["second"].rows, layers_of(second)[name].layouts["default"].rows)


def test_pefts_own_loading_refuses_another_base_too(tmp_path: Path) -> None:
    give_effect(get_adamss_model(tiny_bert(), config())).save_pretrained(str(tmp_path))
    other = get_adamss_model(tiny_bert(seed=1), config())
    with pytest.raises(BaseMismatchError):
        other.load_adapter(tmp_path, "second")

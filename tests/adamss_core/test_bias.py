"""Frozen biases (`bias="frozen"`): the adapter changes weights alone, and stock PEFT loads it all the same."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor, nn

from adamss_core import Calibration, export_lora, get_adamss_model, load_adapter, merge_adapter, save_adapter
from adamss_core.decomposition import decompose, truncated_svd
from adamss_core.errors import AdamssWarning, ConfigError, WeightError
from tests.adamss_core.support import ASA, give_effect, layers_of, mlp_config, outputs, prune_half
from tests.models import Mlp, batch, config, tiny_bert, tiny_llama


def frozen_bert(**fields: Any) -> PeftModel:
    """A BERT with an effect of its weights alone."""
    return give_effect(get_adamss_model(tiny_bert(), config(**fields), bias="frozen"), scale=30.0)


class Tall(nn.Module):
    """One linear layer with more rows than columns of [W | b]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(8, 32)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.first(x)
        return out


def rounded_bert(dtype: torch.dtype) -> nn.Module:
    model: nn.Module = tiny_bert()
    return model.to(dtype)


def tensors_of(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "adapter_model.safetensors")


@pytest.mark.parametrize("subspaces", [1, 5, 32])
def test_stock_peft_gives_the_same_outputs(subspaces: int, tmp_path: Path) -> None:
    ours = frozen_bert(num_subspaces=subspaces, r=20)
    save_adapter(ours, tmp_path)
    stock = PeftModel.from_pretrained(tiny_bert(), tmp_path)
    assert (outputs(ours) - outputs(tiny_bert())).abs().max() > 1e-3
    assert (outputs(stock) - outputs(ours)).abs().max() < 1e-5
    config_file = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    assert "bias" not in config_file
    assert json.loads((tmp_path / "adamss_manifest.json").read_text(encoding="utf-8"))["bias"] == "frozen"


def test_rows_are_those_of_weight_and_bias_and_the_basis_is_that_of_the_weight() -> None:
    model = tiny_bert()
    frozen = get_adamss_model(copy.deepcopy(model), config(), bias="frozen")
    trained = get_adamss_model(model, config())
    for name, layer in layers_of(frozen).items():
        other = layers_of(trained)[name]
        assert torch.equal(layer.adamss_rows["default"], other.adamss_rows["default"])
        basis = layer.adamss_newB["default"]
        assert basis.shape == other.adamss_newB["default"].shape
        assert torch.equal(basis[:, :-1], truncated_svd(layer.base_weight(), len(basis), 0)[1])
        assert not basis[:, -1].any()
        assert layer.has_frozen_bias("default")
        assert not other.has_frozen_bias("default")


def test_the_lora_has_no_biases_and_a_merged_bias_is_the_base_s(tmp_path: Path) -> None:
    ours = frozen_bert()
    manifest = export_lora(ours, tmp_path)
    assert manifest["lora_bias"] is False
    assert manifest["modules_without_bias"] == []
    assert not [key for key in tensors_of(tmp_path) if key.endswith("lora_B.bias")]
    stock = PeftModel.from_pretrained(tiny_bert(), tmp_path)
    assert stock.peft_config["default"].lora_bias is False
    assert (outputs(stock) - outputs(ours)).abs().max() < 1e-5
    expected, base = outputs(ours), dict(tiny_bert().named_parameters())
    merged = merge_adapter(ours)
    assert (outputs(merged) - expected).abs().max() < 1e-5
    for name, parameter in merged.named_parameters():
        if name.endswith("bias"):
            assert torch.equal(parameter, base[name]), name


def test_peft_may_convert_it_to_lora() -> None:
    assert all(layer.supports_lora_conversion() for layer in layers_of(frozen_bert()).values())
    trained = layers_of(get_adamss_model(tiny_bert(), config()))
    assert not any(layer.supports_lora_conversion() for layer in trained.values())


def test_training_leaves_the_bias_alone() -> None:
    model = get_adamss_model(tiny_bert(), config(init_weights=None), bias="frozen")
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.1)
    for step in range(3):
        model(**batch(step)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    for layer in layers_of(model).values():
        zeros = torch.zeros(1, layer.in_features)
        assert torch.equal(layer(zeros), layer.get_base_layer()(zeros))
        assert layer.get_delta_weight("default").any()


def test_stock_peft_loads_a_basis_with_a_direction_fewer(tmp_path: Path) -> None:
    """Stock PEFT makes a basis of in + 1 directions here, and W has one fewer."""
    fields = mlp_config(target_modules=["first"], r=9, num_subspaces=2)
    ours = give_effect(get_adamss_model(Tall(), fields, bias="frozen"))
    layer = layers_of(ours)["first"]
    assert layer.adamss_newB["default"].shape == (9, 9)
    assert layer.has_frozen_bias("default")
    save_adapter(ours, tmp_path)
    x = torch.randn(5, 8, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        stock = PeftModel.from_pretrained(Tall(), tmp_path)
        assert (stock(x) - ours(x)).abs().max() < 1e-5
        assert (ours(x) - Tall()(x)).abs().max() > 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_saved_and_loaded_it_is_the_same(dtype: torch.dtype, tmp_path: Path) -> None:
    ours = give_effect(get_adamss_model(rounded_bert(dtype), config(), bias="frozen"))
    save_adapter(ours, tmp_path / "first")
    loaded = load_adapter(rounded_bert(dtype), tmp_path / "first")
    assert torch.equal(outputs(loaded), outputs(ours))
    save_adapter(loaded, tmp_path / "second")
    for name in ("adapter_model.safetensors", "adamss_manifest.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_pruned_in_the_middle_of_training_it_stays_frozen(tmp_path: Path) -> None:
    ours = give_effect(get_adamss_model(Mlp(), mlp_config(**ASA), bias="frozen"))
    prune_half(ours, torch.optim.SGD([p for p in ours.parameters() if p.requires_grad], lr=0.1))
    save_adapter(ours, tmp_path / "ours")
    loaded = load_adapter(Mlp(), tmp_path / "ours")
    assert torch.equal(outputs(loaded), outputs(ours))
    assert layers_of(loaded)["first"].has_frozen_bias("default")
    assert export_lora(loaded, tmp_path / "lora")["lora_bias"] is False


def test_what_stock_peft_saves_again_is_loaded(tmp_path: Path) -> None:
    """Such a file has no rows: they are placed by a decomposition that must be of W alone too."""
    ours = frozen_bert()
    save_adapter(ours, tmp_path / "ours")
    PeftModel.from_pretrained(tiny_bert(), tmp_path / "ours").save_pretrained(str(tmp_path / "stock"))
    loaded = load_adapter(tiny_bert(), tmp_path / "stock", decomposition_cache=tmp_path / "cache")
    assert (outputs(loaded) - outputs(ours)).abs().max() < 1e-5
    assert all(layer.has_frozen_bias("default") for layer in layers_of(loaded).values())


def test_the_cache_keeps_both_apart(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(40, 25), torch.randn(40)
    kept = decompose("w", weight, bias, config(), tmp_path)
    frozen = decompose("w", weight, bias, config(), tmp_path, frozen_bias=True)
    again = decompose("w", weight, bias, config(), tmp_path, frozen_bias=True)
    assert not torch.equal(kept.basis, frozen.basis)
    assert torch.equal(frozen.basis, again.basis)
    assert len(list(tmp_path.iterdir())) == 2
    # Without a bias there is nothing to tell apart.
    decompose("w", weight, None, config(), tmp_path)
    decompose("w", weight, None, config(), tmp_path, frozen_bias=True)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_weight_of_zeros_is_refused_beside_any_bias() -> None:
    with pytest.raises(WeightError, match="all zero"):
        decompose("w", torch.zeros(8, 6), torch.ones(8), config(), frozen_bias=True)


def test_adapters_added_later_follow() -> None:
    model = get_adamss_model(Mlp(), mlp_config(), bias="frozen")
    model.add_adapter("other", mlp_config(num_subspaces=2))
    assert layers_of(model, "other")["first"].has_frozen_bias("other")


def test_another_value_is_refused_and_the_base_left_alone() -> None:
    base = Mlp()
    with pytest.raises(ConfigError, match="bias='none' is not allowed") as caught:
        get_adamss_model(base, mlp_config(), bias="none")  # type: ignore[arg-type]
    assert caught.value.where == "bias"
    assert type(base.first) is nn.Linear


def test_without_any_bias_the_setting_is_said_to_have_no_effect() -> None:
    with pytest.warns(AdamssWarning, match="bias has no effect: none of the adapted modules has a bias"):
        get_adamss_model(tiny_llama(), config(target_modules=["q_proj"], task_type="CAUSAL_LM"), bias="frozen")


@pytest.mark.parametrize("basis", ["inputs", "gradient"])
def test_a_basis_from_data_leaves_the_biases_alone(basis: Any, tmp_path: Path) -> None:
    ours = get_adamss_model(tiny_bert(), config(), bias="frozen")
    with Calibration(ours, basis) as calibration:
        loss = ours(**batch()).loss
        if basis == "gradient":
            loss.backward()
    calibration.apply()
    save_adapter(give_effect(ours, scale=30.0), tmp_path)
    stock = PeftModel.from_pretrained(tiny_bert(), tmp_path)
    assert (outputs(stock) - outputs(ours)).abs().max() < 1e-4
    assert all(layer.has_frozen_bias("default") for layer in layers_of(ours).values())
    assert export_lora(ours, tmp_path / "lora")["lora_bias"] is False

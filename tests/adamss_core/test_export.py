"""The exact LoRA export and the merged model, both against stock PEFT or the plain base."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from torch import nn
from transformers.pytorch_utils import Conv1D

from adamss_core import export_lora, get_adamss_model, merge_adapter, save_adapter
from adamss_core.errors import ExportError, MergeError
from tests.adamss_core.support import (
    ASA,
    adapted_mlp,
    give_effect,
    layers_of,
    mlp_config,
    outputs,
    prune_half,
)
from tests.models import Mlp, config, tiny_bert, tiny_gpt2, tiny_llama

# Stock PEFT says this of every layer without bias in a LoRA with biases; the manifest says it too.
NO_BIAS = pytest.mark.filterwarnings("ignore:`lora_bias=True` was passed but the targeted layer:UserWarning")


def gpt2_with_biases() -> nn.Module:
    """GPT-2's biases start at zero, and then a bias delta is zero too."""
    model = tiny_gpt2()
    for name, parameter in model.named_parameters():
        if name.endswith(".bias"):
            nn.init.normal_(parameter, std=0.1)
    return model


CASES: dict[str, tuple[Callable[[], nn.Module], dict[str, Any], bool]] = {
    "bert": (tiny_bert, {}, True),
    "bert, one layer": (tiny_bert, {"layers_to_transform": [1]}, True),
    "bert, regex": (tiny_bert, {"target_modules": r".*\.1\.(attention\.self\.query|intermediate\.dense)"}, True),
    "bert, dynamic ranks": (tiny_bert, {"use_dynamic_rank": True, "subspace_rank": 5, "svd_threshold": 0.35}, True),
    "gpt2, zero biases": (tiny_gpt2, {"target_modules": ["c_attn"], "task_type": "CAUSAL_LM"}, False),
    "llama": (tiny_llama, {"target_modules": ["q_proj", "down_proj"], "task_type": "CAUSAL_LM"}, False),
    "gpt2": (gpt2_with_biases, {"target_modules": ["c_attn", "c_proj"], "task_type": "CAUSAL_LM"}, True),
    "all-linear": (tiny_llama, {"target_modules": "all-linear", "task_type": "CAUSAL_LM"}, False),
    "mixed": (Mlp, {"target_modules": ["first", "second"], "task_type": None}, True),
    "no bias in the mixed": (Mlp, {"target_modules": ["second"], "task_type": None}, False),
}


@NO_BIAS
@pytest.mark.parametrize("case", CASES)
def test_stock_peft_gives_the_same_outputs(case: str, tmp_path: Path) -> None:
    make, fields, with_bias = CASES[case]
    ours = give_effect(get_adamss_model(make(), config(**fields)))
    manifest = export_lora(ours, tmp_path)
    stock = PeftModel.from_pretrained(make(), tmp_path)
    effect = float((outputs(stock) - outputs(make())).abs().max())
    assert effect > 3e-4
    assert (outputs(stock) - outputs(ours)).abs().max() < max(1e-5, 1e-4 * effect)

    assert json.loads((tmp_path / "lora_manifest.json").read_text()) == manifest
    adapted = {name: m for name, m in stock.base_model.model.named_modules() if isinstance(m, LoraLayer)}
    assert sorted(adapted) == manifest["modules"] == sorted(layers_of(ours))
    assert {m.scaling["default"] for m in adapted.values()} == {1.0} == {manifest["scaling"]}
    assert {m.r["default"] for m in adapted.values()} == {manifest["rank"]}
    assert manifest["lora_bias"] is with_bias is stock.peft_config["default"].lora_bias
    assert manifest["rank"] == max(layer.layouts["default"].total_rank for layer in layers_of(ours).values())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "lora_manifest.json",
    ]


def test_dynamic_ranks_are_padded_with_zeros(tmp_path: Path) -> None:
    make, fields, _ = CASES["bert, dynamic ranks"]
    ours = give_effect(get_adamss_model(make(), config(**fields)))
    ranks = {name: layer.layouts["default"].total_rank for name, layer in layers_of(ours).items()}
    assert len(set(ranks.values())) > 1  # or there is nothing to pad
    export_lora(ours, tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    for name, rank in ranks.items():
        assert not tensors[f"base_model.model.{name}.lora_A.weight"][rank:].any()
        assert not tensors[f"base_model.model.{name}.lora_B.weight"][:, rank:].any()


@NO_BIAS
@pytest.mark.parametrize("with_optimizer", [False, True])
def test_after_pruning(with_optimizer: bool, tmp_path: Path) -> None:
    """A subspace pruned before it learnt anything takes no rank; one that learnt something keeps its effect."""
    ours = get_adamss_model(Mlp(), mlp_config(**ASA))
    optimizer = torch.optim.SGD([p for p in ours.parameters() if p.requires_grad], lr=0.1)
    prune_half(ours, optimizer if with_optimizer else None)
    with torch.no_grad():
        for layer in layers_of(ours).values():
            layer.adamss_B["default"].copy_(torch.randn(layer.adamss_B["default"].shape))
    manifest = export_lora(ours, tmp_path)
    assert (outputs(PeftModel.from_pretrained(Mlp(), tmp_path)) - outputs(ours)).abs().max() < 1e-5
    subspaces = ours.base_model.asa_summary()["modules"].values()
    ranks = [sum(s["rank"] for s in group if s["active"]) for group in subspaces]
    used = [
        int(tensor.any(0).sum())
        for key, tensor in load_file(tmp_path / "adapter_model.safetensors").items()
        if key.endswith("lora_B.weight")
    ]
    assert sorted(used) == sorted(rank for rank in ranks if rank)
    assert manifest["rank"] == max(ranks)


def test_layers_without_effect_are_dropped(tmp_path: Path) -> None:
    ours = give_effect(get_adamss_model(tiny_bert(), config()))
    silent = "bert.encoder.layer.0.attention.self.value"
    with torch.no_grad():
        layers_of(ours)[silent].adamss_B["default"].zero_()
    manifest = export_lora(ours, tmp_path)
    assert manifest["dropped_modules"] == [silent]
    assert len(manifest["modules"]) == 3
    assert not any(silent in key for key in load_file(tmp_path / "adapter_model.safetensors"))
    stock = PeftModel.from_pretrained(tiny_bert(), tmp_path)
    adapted = [name for name, m in stock.base_model.model.named_modules() if isinstance(m, LoraLayer)]
    assert sorted(adapted) == manifest["modules"]  # "value" as a target would have matched the dropped one
    assert (outputs(stock) - outputs(ours)).abs().max() < 1e-5


class Nested(nn.Module):
    """A name at the top that is also the end of another: only a regex tells "first" from "deep.first"."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(32, 32)
        self.deep = Mlp()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.deep(self.first(x))
        return out


def test_targets_match_exactly_where_names_end_alike(tmp_path: Path) -> None:
    x = torch.randn(3, 32)
    ours = give_effect(get_adamss_model(Nested(), mlp_config(target_modules="first")))
    assert list(layers_of(ours)) == ["first"]
    export_lora(ours, tmp_path)
    stock = PeftModel.from_pretrained(Nested(), tmp_path)
    adapted = [name for name, m in stock.base_model.model.named_modules() if isinstance(m, LoraLayer)]
    assert adapted == ["first"]
    assert torch.allclose(stock(x), ours(x), atol=1e-5)


def test_biases_without_effect_are_left_out(tmp_path: Path) -> None:
    """Then any LoRA server can take it."""
    ours = adapted_mlp()
    for layer in layers_of(ours).values():
        if layer.get_base_layer().bias is not None:
            layer.adamss_newB["default"][:, -1] = 0.0
    manifest = export_lora(ours, tmp_path)
    assert manifest["lora_bias"] is False
    assert manifest["note"] == "This adapter is plain LoRA."
    assert (outputs(PeftModel.from_pretrained(Mlp(), tmp_path)) - outputs(ours)).abs().max() < 1e-5


def test_manifest_warns_of_biases(tmp_path: Path) -> None:
    manifest = export_lora(give_effect(get_adamss_model(tiny_bert(), config())), tmp_path / "all")
    assert "needs the merged model" in manifest["note"]
    assert manifest["modules_without_bias"] == []
    manifest = export_lora(adapted_mlp(), tmp_path / "mixed")
    assert manifest["modules_without_bias"] == ["second"]


def test_modules_to_save_come_along(tmp_path: Path) -> None:
    ours = give_effect(get_adamss_model(tiny_bert(), config()))
    with torch.no_grad():
        ours.get_submodule("base_model.model.classifier").modules_to_save["default"].weight.mul_(3)
    export_lora(ours, tmp_path)
    stock = PeftModel.from_pretrained(tiny_bert(), tmp_path)
    assert (outputs(stock) - outputs(ours)).abs().max() < 1e-5
    assert "classifier" in stock.peft_config["default"].modules_to_save


def test_one_of_several_adapters(tmp_path: Path) -> None:
    ours = adapted_mlp("one", seed=1)
    ours.add_adapter("two", mlp_config(target_modules=["second"]))
    give_effect(ours, "two", seed=2)
    assert export_lora(ours, tmp_path, "two")["modules"] == ["second"]
    ours.set_adapter("two")
    assert (outputs(PeftModel.from_pretrained(Mlp(), tmp_path)) - outputs(ours)).abs().max() < 1e-5


def test_no_effect_is_an_error(tmp_path: Path) -> None:
    ours = get_adamss_model(Mlp(), mlp_config())
    with pytest.raises(ExportError, match="Train it first") as caught:
        export_lora(ours, tmp_path / "out")
    assert caught.value.where == "default"
    assert not (tmp_path / "out").exists()


def test_file_is_a_small_part_of_the_adapters(tmp_path: Path) -> None:
    """The basis, which is what makes AdaMSS files large, stays at home."""
    ours = give_effect(get_adamss_model(tiny_bert(hidden=256), config(r=200, subspace_rank=1, task_type=None)))
    save_adapter(ours, tmp_path / "ours")
    export_lora(ours, tmp_path / "lora")
    sizes = {name: (tmp_path / name / "adapter_model.safetensors").stat().st_size for name in ("ours", "lora")}
    assert sizes["lora"] * 8 < sizes["ours"]


# --- merging ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_merged_model_is_the_plain_base_with_the_same_outputs(case: str) -> None:
    make, fields, _ = CASES[case]
    ours = give_effect(get_adamss_model(make(), config(**fields)))
    expected = outputs(ours)
    merged = merge_adapter(ours)
    assert type(merged) is type(make())
    assert {n: type(m) for n, m in merged.named_modules()} == {n: type(m) for n, m in make().named_modules()}
    assert merged.state_dict().keys() == make().state_dict().keys()
    assert not hasattr(merged, "peft_config")
    effect = float((outputs(make()) - expected).abs().max())
    assert effect > 3e-4
    # Of fp32's rounding: all-linear adapts a dozen layers, each of which adds some.
    assert (outputs(merged) - expected).abs().max() < max(1e-5, 1e-4 * effect)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_merge_rounds_once(dtype: torch.dtype) -> None:
    base: nn.Module = Mlp()
    ours = give_effect(get_adamss_model(copy.deepcopy(base).to(dtype), mlp_config()))
    deltas = {name: layer.get_delta_weight("default") for name, layer in layers_of(ours).items()}
    merged = merge_adapter(ours)
    for name, delta in deltas.items():
        exact = base.get_submodule(name).get_parameter("weight").to(dtype).float() + delta
        assert torch.equal(merged.get_submodule(name).get_parameter("weight"), exact.to(dtype))


def test_merge_of_a_damaged_adapter_is_refused() -> None:
    ours = adapted_mlp()
    with torch.no_grad():
        layers_of(ours)["second"].adamss_B["default"][0] = float("inf")
    with pytest.raises(MergeError, match="load an earlier checkpoint") as caught:
        merge_adapter(ours)
    assert caught.value.where == "second"


def test_merge_of_one_of_several_adapters() -> None:
    ours = adapted_mlp("one", seed=1)
    ours.add_adapter("two", mlp_config())
    give_effect(ours, "two", seed=2)
    ours.set_adapter("two")
    expected = outputs(ours)
    ours.set_adapter("one")
    assert (outputs(merge_adapter(ours, "two")) - expected).abs().max() < 1e-5


def test_conv1d_and_linear_together(tmp_path: Path) -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.conv = Conv1D(24, 16)
            self.linear = nn.Linear(24, 16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.linear(self.conv(x))
            return out

    x = torch.randn(3, 16)
    ours = give_effect(get_adamss_model(Both(), mlp_config(target_modules=["conv", "linear"])))
    export_lora(ours, tmp_path)
    with pytest.warns(UserWarning, match="fan_in_fan_out"):  # stock PEFT corrects it per layer, and says so
        stock = PeftModel.from_pretrained(Both(), tmp_path)
    assert torch.allclose(stock(x), ours(x), atol=1e-5)


def test_exported_config_is_a_plain_lora_config(tmp_path: Path) -> None:
    export_lora(adapted_mlp(), tmp_path)
    loaded = LoraConfig.from_pretrained(tmp_path)
    assert (loaded.peft_type.value, loaded.lora_alpha, loaded.lora_dropout) == ("LORA", loaded.r, 0.0)
    assert not loaded.use_dora
    assert not loaded.use_rslora

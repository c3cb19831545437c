"""A compiled model is saved, exported, merged and described under the names of the model that it wraps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.utils import compile_regions
from peft import PeftModel
from safetensors.torch import load_file
from torch import nn

from adamss_core import export_lora, get_adamss_model, load_adapter, merge_adapter, save_adapter
from adamss_core.compiled import original, uncompiled
from adamss_core.errors import AdamssWarning
from tests.adamss_core.support import ASA, give_effect, layers_of, outputs, prune_half
from tests.marks import compat
from tests.models import config, tiny_bert

WEIGHTS = "adapter_model.safetensors"


def whole(model: nn.Module) -> Any:
    return torch.compile(model, backend="eager")


def one_block(model: nn.Module) -> Any:
    return inside(model, "encoder.layer.1")


def one_linear(model: nn.Module) -> Any:
    return inside(model, "layer.0.attention.self.query")


def inside(model: nn.Module, ending: str) -> nn.Module:
    name = next(name for name, _ in model.named_modules() if name.endswith(ending))
    model.set_submodule(name, whole(model.get_submodule(name)))
    return model


def regions(model: nn.Module) -> Any:
    return compile_regions(model, backend="eager")


WAYS: dict[str, Callable[[nn.Module], Any]] = {
    "whole": whole,
    "one block": one_block,
    "one linear": one_linear,
    "regions": regions,
}
FEW = ["whole", "one block", compat("one linear"), compat("regions")]


def adapted() -> PeftModel:
    return give_effect(get_adamss_model(tiny_bert(), config(**ASA)))


@pytest.mark.parametrize("way", WAYS)
def test_files_of_a_compiled_model_are_those_of_the_plain_one(way: str, tmp_path: Path) -> None:
    plain = adapted()
    save_adapter(plain, tmp_path / "plain")
    export_lora(plain, tmp_path / "plain_lora")
    expected = outputs(plain)
    compiled = WAYS[way](plain)
    save_adapter(compiled, tmp_path / "adapter")
    export_lora(compiled, tmp_path / "lora")

    for ours, theirs in (("adapter", "plain"), ("lora", "plain_lora")):
        names = sorted(path.name for path in (tmp_path / theirs).iterdir())
        assert sorted(path.name for path in (tmp_path / ours).iterdir()) == names
        for name in names:
            assert (tmp_path / ours / name).read_bytes() == (tmp_path / theirs / name).read_bytes(), name
    assert "base_model.model.classifier.weight" in load_file(tmp_path / "lora" / WEIGHTS)
    assert torch.equal(outputs(load_adapter(tiny_bert(), tmp_path / "adapter")), expected)
    stock = PeftModel.from_pretrained(tiny_bert(), tmp_path / "lora")
    torch.testing.assert_close(outputs(stock), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("way", FEW)
def test_a_compiled_model_is_pruned_and_described_under_its_own_names(way: str) -> None:
    plain = adapted()
    names = list(layers_of(adapted()))
    compiled = WAYS[way](plain)
    prune_half(original(compiled))
    assert list(compiled.base_model.asa_summary()["modules"]) == names
    state = compiled.base_model.asa_state_dict()
    assert list(state["default"]) == names
    fresh = adapted()
    fresh.base_model.load_asa_state_dict(state)
    assert fresh.base_model.asa_summary()["active"] == ASA["asa_target_subspaces"]


@pytest.mark.parametrize("way", FEW)
def test_merging_a_compiled_model_gives_a_plain_one(way: str) -> None:
    plain = adapted()
    expected = outputs(plain)
    merged = merge_adapter(WAYS[way](plain))
    assert list(merged.state_dict()) == list(tiny_bert().state_dict())
    torch.testing.assert_close(outputs(merged), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("way", FEW)
def test_an_adapter_goes_onto_the_model_inside_a_compiled_base(way: str, tmp_path: Path) -> None:
    expected = adapted()
    save_adapter(expected, tmp_path)
    with pytest.warns(AdamssWarning, match=r"Call torch\.compile on the adapted"):
        model = get_adamss_model(WAYS[way](tiny_bert()), config(target_modules=r"bert\.encoder\..*query"))
    assert list(layers_of(model)) == [f"bert.encoder.layer.{i}.attention.self.query" for i in (0, 1)]
    with pytest.warns(AdamssWarning, match=r"Call torch\.compile on the adapted"):
        loaded = load_adapter(WAYS[way](tiny_bert()), tmp_path)
    assert torch.equal(outputs(loaded), outputs(expected))


def test_a_model_that_is_not_compiled_is_left_as_it_is() -> None:
    model = tiny_bert()
    before = list(model.named_modules())
    assert uncompiled(model) is model
    assert list(model.named_modules()) == before

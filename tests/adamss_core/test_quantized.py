"""bitsandbytes linears, on the CPU, where the installed bitsandbytes can do that."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import nn

from adamss_core import export_lora, get_adamss_model, load_adapter, merge_adapter, save_adapter
from adamss_core.errors import BaseMismatchError, PlacementError
from tests.adamss_core.support import ASA, give_effect, layers_of, mlp_config, mlp_input, prune_half
from tests.models import Mlp

bnb = pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")

# bitsandbytes casts to fp16 in its 8-bit product, and says so.
pytestmark = pytest.mark.filterwarnings("ignore:MatMul8bitLt. inputs will be cast:UserWarning")


def to_4bit(linear: nn.Linear) -> nn.Module:
    made = bnb.nn.Linear4bit(
        linear.in_features, linear.out_features, bias=linear.bias is not None, compute_dtype=torch.float32
    )
    made.load_state_dict(linear.state_dict())
    return made.to("cpu")


def to_8bit(linear: nn.Linear) -> nn.Module:
    made = bnb.nn.Linear8bitLt(
        linear.in_features, linear.out_features, bias=linear.bias is not None, has_fp16_weights=False
    )
    made.load_state_dict(linear.state_dict())
    return made.to("cpu")


def _reason(convert: Callable[[nn.Linear], nn.Module]) -> str:
    """Why this bitsandbytes cannot run such a layer on the CPU; empty where it can."""
    try:
        convert(nn.Linear(64, 64))(torch.randn(2, 64))
    except Exception as error:  # whatever it is, it is bitsandbytes' own
        return f"bitsandbytes {bnb.__version__} on CPU: {error!r}"
    return ""


KINDS = [
    pytest.param(convert, id=name, marks=pytest.mark.skipif(bool(reason := _reason(convert)), reason=reason))
    for name, convert in (("4bit", to_4bit), ("8bit", to_8bit))
]


def quantised(convert: Callable[[nn.Linear], nn.Module], seed: int = 0) -> Mlp:
    """An Mlp with both linears quantised."""
    model = Mlp(width=64, seed=seed)
    for name in ("first", "second"):
        model.set_submodule(name, convert(getattr(model, name)))
    return model


def out(model: nn.Module) -> torch.Tensor:
    x = torch.cat([mlp_input(), mlp_input()], dim=1)
    with torch.no_grad():
        result: torch.Tensor = model(x).float()
    return result


@pytest.mark.parametrize("convert", KINDS)
def test_svd_of_the_dequantised_weight(convert: Callable[[nn.Linear], nn.Module]) -> None:
    plain = Mlp(width=64)
    model = get_adamss_model(quantised(convert), mlp_config())
    for name, layer in layers_of(model).items():
        extended = layer.base_extended()
        weight = plain.get_submodule(name).get_parameter("weight").detach()
        assert extended.shape == (64, 65 if name == "first" else 64)
        assert extended.dtype == torch.float32
        assert float((extended[:, :64] - weight).norm() / weight.norm()) < 0.15
        assert layer.adamss_A["default"].dtype == torch.float32
        assert layer.adamss_newB["default"].shape[1] == extended.shape[1]
    assert torch.allclose(out(model), out(quantised(convert)), atol=1e-5)


@pytest.mark.parametrize("convert", KINDS)
def test_trains(convert: Callable[[nn.Linear], nn.Module]) -> None:
    model = get_adamss_model(quantised(convert), mlp_config())
    x = torch.randn(16, 64)
    target = torch.randn(16, 64)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(20):
        loss = (model(x) - target).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] * 0.95
    assert torch.isfinite(torch.tensor(losses)).all()


@pytest.mark.parametrize("convert", KINDS)
def test_adapters_move_between_quantised_and_full_precision(
    convert: Callable[[nn.Linear], nn.Module], tmp_path: Path
) -> None:
    full = give_effect(get_adamss_model(Mlp(width=64), mlp_config()))
    save_adapter(full, tmp_path / "full")
    loaded = load_adapter(quantised(convert), tmp_path / "full")
    deltas = {name: layer.get_delta_weight("default") for name, layer in layers_of(full).items()}
    for name, layer in layers_of(loaded).items():
        assert torch.equal(layer.get_delta_weight("default"), deltas[name])
    save_adapter(loaded, tmp_path / "again")
    assert torch.equal(out(load_adapter(Mlp(width=64), tmp_path / "again")), out(full))
    with pytest.raises(BaseMismatchError):
        load_adapter(quantised(convert, seed=1), tmp_path / "full")


@pytest.mark.parametrize("convert", KINDS)
def test_stock_adapter_is_refused(convert: Callable[[nn.Linear], nn.Module], tmp_path: Path) -> None:
    from peft import get_peft_model

    get_peft_model(Mlp(width=64), mlp_config(init_weights=None)).save_pretrained(tmp_path)
    with pytest.raises(PlacementError, match="this base is quantised"):
        load_adapter(quantised(convert), tmp_path)


@pytest.mark.parametrize("convert", KINDS)
def test_lora_export_of_an_adapter_on_a_quantised_base(
    convert: Callable[[nn.Linear], nn.Module], tmp_path: Path
) -> None:
    ours = give_effect(get_adamss_model(quantised(convert), mlp_config(target_modules=["second"])))
    export_lora(ours, tmp_path)
    full = Mlp(width=64)
    stock = PeftModel.from_pretrained(copy.deepcopy(full), tmp_path)
    delta: Any = stock.get_submodule("base_model.model.second").get_delta_weight("default")
    assert torch.allclose(delta, layers_of(ours)["second"].get_delta_weight("default"), atol=1e-5)


@pytest.mark.parametrize("convert", KINDS)
def test_merge_requantises(convert: Callable[[nn.Linear], nn.Module]) -> None:
    """The merged layer stays quantised, so what it holds is the sum rounded to its few bits."""
    ours = give_effect(get_adamss_model(quantised(convert), mlp_config()), scale=0.3)
    wanted = {
        name: layer.base_extended()[:, :64] + layer.get_delta_weight("default")
        for name, layer in layers_of(ours).items()
    }
    expected, unadapted = out(ours), out(quantised(convert))
    merged = merge_adapter(ours)
    for name, sum_ in wanted.items():
        again = layers_of(get_adamss_model(copy.deepcopy(merged), mlp_config(target_modules=[name])))[name]
        assert float((again.base_extended()[:, :64] - sum_).norm() / sum_.norm()) < 0.15
        assert type(merged.get_submodule(name)).__module__.startswith("bitsandbytes")
    assert (out(merged) - expected).norm() < 0.5 * (unadapted - expected).norm()


@pytest.mark.parametrize("convert", KINDS)
def test_a_frozen_bias_stays_the_base_s(convert: Callable[[nn.Linear], nn.Module], tmp_path: Path) -> None:
    ours = give_effect(get_adamss_model(quantised(convert), mlp_config(target_modules=["first"]), bias="frozen"))
    assert layers_of(ours)["first"].has_frozen_bias("default")
    save_adapter(ours, tmp_path / "ours")
    full = load_adapter(Mlp(width=64), tmp_path / "ours", allow_other_base=True)
    assert export_lora(full, tmp_path / "lora")["lora_bias"] is False
    assert torch.equal(merge_adapter(full).get_parameter("first.bias"), Mlp(width=64).first.bias)


@pytest.mark.parametrize("convert", KINDS)
def test_what_is_removed_on_a_quantised_base_is_gone_on_another(
    convert: Callable[[nn.Linear], nn.Module], tmp_path: Path
) -> None:
    ours = give_effect(get_adamss_model(quantised(convert), mlp_config(**ASA), asa_pruned="removed"))
    prune_half(ours, torch.optim.SGD([p for p in ours.parameters() if p.requires_grad], lr=0.1))
    save_adapter(ours, tmp_path)
    full = load_adapter(Mlp(width=64), tmp_path)
    for name, layer in layers_of(full).items():
        assert layer.layouts["default"].ranks == layers_of(ours)[name].layouts["default"].ranks
        assert torch.equal(layer.get_delta_weight("default"), layers_of(ours)[name].get_delta_weight("default"))
    assert 0 in layers_of(full)["first"].layouts["default"].ranks + layers_of(full)["second"].layouts["default"].ranks

"""Calls as PEFT documents them, beside stock PEFT in one process."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.adamss.model import AdamssModel as StockModel
from torch import nn

from adamss_core import AdamssAsaCallback, export_lora, get_adamss_model, load_adapter, save_adapter
from adamss_core.errors import AdamssWarning, AdapterStateError
from adamss_core.model import AdamssModel
from tests.adamss_core.support import ASA, give_effect, layers_of, mlp_config, mlp_input, outputs, prune_half
from tests.models import Mlp

# --- dtype of the adapter ---------------------------------------------------------------------------------------------


def half_mlp() -> Mlp:
    return Mlp().to(torch.bfloat16)


def adapter_dtypes(model: PeftModel) -> set[torch.dtype]:
    return {parameter.dtype for name, parameter in model.named_parameters() if "adamss_" in name}


@pytest.mark.parametrize("autocast", [True, False])
def test_autocast_adapter_dtype_as_in_stock(autocast: bool, tmp_path: Path) -> None:
    stock = get_peft_model(half_mlp(), mlp_config(), autocast_adapter_dtype=autocast)
    ours = get_adamss_model(half_mlp(), mlp_config(), autocast_adapter_dtype=autocast)
    for model in (stock, ours):
        model.add_adapter("other", mlp_config(), autocast_adapter_dtype=autocast)
    assert adapter_dtypes(ours) == adapter_dtypes(stock) == {torch.float32 if autocast else torch.bfloat16}

    ours.save_pretrained(str(tmp_path))
    ours.load_adapter(str(tmp_path / "other"), "third", autocast_adapter_dtype=autocast)
    assert adapter_dtypes(ours) == adapter_dtypes(stock)
    # Values put into it later keep the dtype, as with torch's own loading.
    set_peft_model_state_dict(ours, get_peft_model_state_dict(ours))
    assert adapter_dtypes(ours) == adapter_dtypes(stock)


def test_an_adapter_in_half_precision_trains_prunes_merges_and_is_saved(tmp_path: Path) -> None:
    model = get_adamss_model(
        half_mlp(), mlp_config(**ASA, target_modules=["first"], num_subspaces=6), autocast_adapter_dtype=False
    )
    give_effect(model)
    x = mlp_input().to(torch.bfloat16)
    model(x).float().square().mean().backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert {gradient.dtype for gradient in gradients} == {torch.bfloat16}
    prune_half(model)
    with torch.no_grad():
        expected = model(x).float()
    assert {layer.get_delta_weight("default").dtype for layer in layers_of(model).values()} == {torch.float32}

    save_adapter(model, tmp_path / "adapter")
    export_lora(model, tmp_path / "lora")
    with torch.no_grad():
        loaded = load_adapter(half_mlp(), tmp_path / "adapter")(x).float()
        lora = PeftModel.from_pretrained(half_mlp(), str(tmp_path / "lora"))(x).float()
        merged = model.merge_and_unload()(x).float()
    size = expected.abs().max()
    for other in (loaded, lora, merged):
        assert (other - expected).abs().max() <= 0.05 * size  # roundings of bf16


# --- made without values ----------------------------------------------------------------------------------------------


def test_an_adapter_without_values_takes_a_state_dict() -> None:
    full = AdamssModel(Mlp(), mlp_config(init_weights=None), "default")
    empty = AdamssModel(Mlp(), mlp_config(), "default", low_cpu_mem_usage=True)
    assert "meta" in {parameter.device.type for parameter in empty.parameters()}
    empty.load_state_dict(full.state_dict(), assign=True)
    assert torch.equal(empty(mlp_input()), full(mlp_input()))


def test_an_adapter_without_values_is_refused_where_it_is_used() -> None:
    """Stock PEFT computes with uninitialised memory."""
    model = AdamssModel(Mlp(), mlp_config(), "default", low_cpu_mem_usage=True)
    with pytest.raises(AdapterStateError, match=r"'default' has no values yet.*set_peft_model_state_dict"):
        model(mlp_input())
    with pytest.raises(AdapterStateError, match="no values yet"):
        model.merge_and_unload()


# --- ASA --------------------------------------------------------------------------------------------------------------


def test_update_and_allocate_by_keyword() -> None:
    for tuner in (
        StockModel(Mlp(), mlp_config(**ASA), "default"),
        get_adamss_model(Mlp(), mlp_config(**ASA)).base_model,
    ):
        tuner.model(mlp_input()).square().mean().backward()
        tuner.update_and_allocate(global_step=2)


class Step:
    """Hold what the Trainer hands to its callbacks, for one optimizer step."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.callback = model, AdamssAsaCallback()

    def begin(self) -> None:
        self._call(self.callback.on_train_begin, 0)

    def after(self, finished: int) -> None:
        self._call(self.callback.on_optimizer_step, finished - 1)  # the Trainer counts after the callback

    def _call(self, hook: Any, step: int) -> None:
        hook(None, SimpleNamespace(global_step=step), None, model=self.model, optimizer=None)


def test_the_callback_prunes_a_model_of_stock_peft_too() -> None:
    """With the number of finished steps, so that the ramp ends at `final_warmup`."""
    left: dict[str, list[str]] = {}
    for way in ("callback", "by hand"):
        model = get_peft_model(Mlp(), mlp_config(**ASA))
        step = Step(model)
        step.begin()
        torch.nn.init.normal_(model.base_model.model.second.adamss_B["default"][0], generator=torch.manual_seed(0))
        for finished in range(1, ASA["final_warmup"] + 1):
            model.zero_grad()
            model(mlp_input()).square().mean().backward()
            step.after(finished) if way == "callback" else model.base_model.update_and_allocate(finished)
        left[way] = [name for name, value in model.named_parameters() if ".adamss_" in name and value.requires_grad]
    assert left["callback"] == left["by hand"]
    assert 0 < len(left["callback"]) <= 2 * ASA["asa_target_subspaces"]  # A and B of each; there are 12 of them


def test_the_callback_says_that_it_does_nothing_for_another_model() -> None:
    step = Step(Mlp())
    with pytest.warns(AdamssWarning, match="does nothing: this Mlp has no AdaMSS adapter"):
        step.begin()
    step.after(1)
    assert torch.equal(outputs(step.model), outputs(Mlp()))

"""What README and cards say of adapters beside PEFT's page, held against stock PEFT in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AdamssConfig, PeftModel, get_peft_model
from torch import Tensor, nn

from adamss_core import export_lora, get_adamss_model, load_adapter, save_adapter
from tests.adamss_core.support import give_effect
from tests.models import Mlp, batch, tiny_gpt2

FIELDS: dict[str, Any] = {"r": 8, "num_subspaces": 3, "subspace_rank": 2, "target_modules": ["first"]}


def factors(model: PeftModel, name: str) -> list[Tensor]:
    """Return adamss_A or adamss_B of each subspace, which stock PEFT keeps apart and our files do too."""
    layer: Any = model.base_model.model.first
    value = getattr(layer, f"adamss_{name}")["default"]
    if not isinstance(value, nn.ParameterList):
        return [pair["AB".index(name)] for pair in layer.layouts["default"].unpack(*layer.packed("default"))]
    return [parameter.detach() for parameter in value]


@pytest.mark.parametrize("make", [get_peft_model, get_adamss_model])
@pytest.mark.parametrize("init_weights", ["orthogonal", None, False])
def test_a_starts_with_orthonormal_rows_and_b_at_zero_or_as_noise(make: Any, init_weights: Any) -> None:
    """PEFT's page has A at zero and B orthogonal; its code does as ours."""
    torch.manual_seed(0)
    model = make(Mlp(), AdamssConfig(**FIELDS, init_weights=init_weights))
    for a in factors(model, "A"):
        torch.testing.assert_close(a @ a.T, torch.eye(len(a)), atol=1e-5, rtol=0)
    spread = torch.cat([b.flatten() for b in factors(model, "B")]).std()
    assert 0.007 < spread < 0.013 if init_weights != "orthogonal" else spread == 0


def test_an_adapter_on_conv1d_loads_in_ours_and_its_lora_in_stock(tmp_path: Path) -> None:
    config = AdamssConfig(**FIELDS | {"target_modules": ["c_attn"]}, task_type="CAUSAL_LM")
    with pytest.raises(Exception, match=r"Conv1D.* is not supported"):
        get_peft_model(tiny_gpt2(), config)
    model = get_adamss_model(tiny_gpt2(), config)
    give_effect(model)
    save_adapter(model, tmp_path / "adapter")
    export_lora(model, tmp_path / "lora")
    with pytest.raises(Exception, match=r"Conv1D.* is not supported"):
        PeftModel.from_pretrained(tiny_gpt2(), str(tmp_path / "adapter"))

    expected = logits(model)
    torch.testing.assert_close(logits(load_adapter(tiny_gpt2(), tmp_path / "adapter")), expected, atol=1e-5, rtol=1e-4)
    lora = PeftModel.from_pretrained(tiny_gpt2(), str(tmp_path / "lora"))
    torch.testing.assert_close(logits(lora), expected, atol=1e-5, rtol=1e-4)


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        found: Tensor = model.eval()(batch()["input_ids"]).logits
        return found

"""Same method as stock PEFT: clusters, basis, outputs, losses, and files in both directions."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from peft import PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from torch import nn

from adamss_core import get_adamss_model, load_adapter, save_adapter
from tests.models import batch, config, tiny_bert

CONFIGS = [{}, {"num_subspaces": 7, "subspace_rank": 1}, {"use_dynamic_rank": True, "subspace_rank": 3}, {"r": 500}]


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        out: torch.Tensor = model(input_ids=batch()["input_ids"]).logits
    return out


def train(model: nn.Module, steps: int = 50) -> list[float]:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.1)
    losses = []
    for _ in range(steps):
        loss = model(**batch()).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("fields", CONFIGS)
@pytest.mark.filterwarnings("ignore:r is 500")
def test_same_basis_and_clusters(fields: dict[str, int]) -> None:
    base = tiny_bert()
    stock = get_peft_model(copy.deepcopy(base), config(**fields))
    ours = get_adamss_model(base, config(**fields))
    layers = ours.base_model.adapted_layers("default")
    for name, layer in layers.items():
        other = stock.base_model.model.get_submodule(name)
        assert torch.equal(other.adamss_newB["default"], layer.adamss_newB["default"])
        assert torch.equal(other.scatter_index["default"], torch.argsort(layer.layouts["default"].rows, stable=True))
        assert [a.shape for a in other.adamss_A["default"]] == [
            a.shape for a, _ in layer.layouts["default"].unpack(*layer.packed("default"))
        ]
    assert ours.get_nb_trainable_parameters() == stock.get_nb_trainable_parameters()


def test_same_losses_from_the_same_start() -> None:
    base = tiny_bert()
    stock = get_peft_model(copy.deepcopy(base), config())
    ours = get_adamss_model(base, config())
    set_peft_model_state_dict(ours, get_peft_model_state_dict(stock))
    first, second = train(stock), train(ours)
    assert first[-1] < first[0]
    assert second == pytest.approx(first, abs=1e-4)


def test_starts_from_the_pretrained_model() -> None:
    base = tiny_bert()
    expected = logits(base)
    assert torch.allclose(logits(get_adamss_model(base, config())), expected, atol=1e-6)


def test_stock_loads_ours(tmp_path: Path) -> None:
    base = tiny_bert()
    ours = get_adamss_model(copy.deepcopy(base), config())
    train(ours, 10)
    save_adapter(ours, tmp_path)
    stock = PeftModel.from_pretrained(copy.deepcopy(base), tmp_path)
    assert torch.allclose(logits(stock), logits(ours), atol=1e-5)
    assert not torch.allclose(logits(stock), logits(base), atol=1e-3)


def test_we_load_stock(tmp_path: Path) -> None:
    base = tiny_bert()
    stock = get_peft_model(copy.deepcopy(base), config())
    train(stock, 10)
    stock.save_pretrained(tmp_path)
    ours = load_adapter(copy.deepcopy(base), tmp_path)
    assert torch.allclose(logits(ours), logits(stock), atol=1e-5)

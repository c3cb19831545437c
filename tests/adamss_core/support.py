"""What several test files need: effects without training, outputs, and the state of a base model."""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn

from adamss_core import get_adamss_model
from adamss_core.layer import AdamssLayer
from tests.models import Mlp, batch, config


def layers_of(model: PeftModel, adapter: str = "default") -> dict[str, AdamssLayer]:
    layers: dict[str, AdamssLayer] = model.base_model.adapted_layers(adapter)
    return layers


def give_effect(model: PeftModel, adapter: str = "default", *, seed: int = 0, scale: float = 3.0) -> PeftModel:
    """Fills A and B with noise, as if trained; much faster than training."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in layers_of(model, adapter).values():
            a, b = layer.adamss_A[adapter], layer.adamss_B[adapter]
            a.add_(torch.randn(a.shape, generator=generator).to(a) * 0.05)
            b.copy_(torch.randn(b.shape, generator=generator).to(b) * scale)
    return model


def mlp_config(**fields: Any) -> Any:
    """A config for `Mlp`."""
    return config(**{"target_modules": ["first", "second"], "task_type": None, "r": 12, "num_subspaces": 3, **fields})


def adapted_mlp(adapter: str = "default", *, seed: int = 0, **fields: Any) -> PeftModel:
    """An Mlp whose adapter has an effect."""
    return give_effect(get_adamss_model(Mlp(), mlp_config(**fields), adapter), adapter, seed=seed)


def mlp_input() -> Tensor:
    return torch.randn(5, 32, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def outputs(model: nn.Module) -> Tensor:
    """The model's outputs on a fixed input, in fp32."""
    plain = model.get_base_model() if isinstance(model, PeftModel) else model
    out = model(mlp_input()) if isinstance(plain, Mlp) else model(input_ids=batch()["input_ids"]).logits
    return out.float()


def prune_half(model: PeftModel, optimizer: torch.optim.Optimizer | None = None) -> int:
    """Drives ASA to its target with random gradients; the model's config must have `use_asa`. Returns the target."""
    tuner = model.base_model
    asa = tuner.peft_config["default"]
    generator = torch.Generator().manual_seed(1)
    for step in range(asa.init_warmup, asa.final_warmup + 1):
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter)
        tuner.update_and_allocate(step, optimizer)
        model.zero_grad()
    summary = tuner.asa_summary()
    assert summary["active"] == asa.asa_target_subspaces < summary["total"]
    return int(asa.asa_target_subspaces)


ASA: dict[str, Any] = {
    "use_asa": True,
    "asa_target_subspaces": 3,
    "init_warmup": 1,
    "final_warmup": 4,
    "mask_interval": 1,
}


def state_of(base: nn.Module) -> dict[str, Any]:
    """Everything a failed call must leave alone: values, trainability, module types and attributes."""
    return {
        "values": {name: value.clone() for name, value in base.state_dict().items()},
        "trainable": {name: parameter.requires_grad for name, parameter in base.named_parameters()},
        "modules": {name: type(module) for name, module in base.named_modules()},
        "training": {name: module.training for name, module in base.named_modules()},
        "attributes": {name: sorted(vars(module)) for name, module in base.named_modules()},
    }


def assert_untouched(base: nn.Module, before: dict[str, Any]) -> None:
    after = state_of(base)
    for name, value in before.pop("values").items():
        assert torch.equal(after["values"][name], value), name
    assert list(after.pop("values")) == list(base.state_dict())
    assert after == before


def two_adapters() -> PeftModel:
    model = adapted_mlp("one", seed=1)
    model.add_adapter("two", mlp_config(num_subspaces=5, subspace_rank=1, r=7))
    return give_effect(model, "two", seed=2)


def trainable(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def gradients(model: nn.Module, x: Tensor | None = None) -> dict[str, Tensor]:
    model.zero_grad()
    model(mlp_input() if x is None else x).square().sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

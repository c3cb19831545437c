"""Variants of one linear layer: frozen, under LoRA, under stock PEFT's AdaMSS, and under ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from peft import AdamssConfig, LoraConfig, get_peft_model
from torch import Tensor, nn

from adamss_core import get_adamss_model
from benchmarks.timing import Step

VARIANTS = ("base", "lora", "peft", "ours")
R = 100  # rank of the frozen basis


@dataclass(frozen=True)
class Shape:
    """One point of the comparison."""

    hidden: int
    subspaces: int
    rank: int  # of a subspace

    @property
    def total_rank(self) -> int:
        """Compute LoRA's rank for as many directions."""
        return self.subspaces * self.rank


class _Model(nn.Module):
    """Model around the layer: PEFT adapts modules inside a model."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out


def adamss_config(shape: Shape, **fields: Any) -> AdamssConfig:
    return AdamssConfig(
        **{
            "r": R,
            "num_subspaces": shape.subspaces,
            "subspace_rank": shape.rank,
            "target_modules": ["layer"],
            **fields,
        }
    )


def lora_config(rank: int, **fields: Any) -> LoraConfig:
    return LoraConfig(**{"r": rank, "lora_alpha": rank, "target_modules": ["layer"], **fields})


def frozen_linear(hidden: int) -> nn.Linear:
    generator = torch.Generator().manual_seed(hidden)
    linear = nn.Linear(hidden, hidden)
    with torch.no_grad():
        linear.weight.normal_(std=hidden**-0.5, generator=generator)
        linear.bias.normal_(std=0.1, generator=generator)
    return linear.requires_grad_(False)


def adapted_layers(shape: Shape) -> dict[str, nn.Module]:
    """Build the adapted layers by variant, all around one and the same frozen nn.Linear.

    B is not zero, as in the middle of a training.
    """
    linear = frozen_linear(shape.hidden)
    peft_models = {
        "lora": get_peft_model(_Model(linear), lora_config(shape.total_rank, init_lora_weights=False)),
        "peft": get_peft_model(_Model(linear), adamss_config(shape, init_weights=None)),
        "ours": get_adamss_model(_Model(linear), adamss_config(shape, init_weights=None)),
    }
    return {"base": linear, **{name: model.base_model.model.layer for name, model in peft_models.items()}}


def layer_step(layer: nn.Module, tokens: int, hidden: int) -> Step:
    """Run forward and backward of a layer inside a model: the input needs its gradient too."""
    generator = torch.Generator().manual_seed(tokens)
    x = torch.randn(tokens, hidden, generator=generator).requires_grad_()
    gradient = torch.randn(tokens, hidden, generator=generator)
    trained: list[Tensor] = [x, *(p for p in layer.parameters() if p.requires_grad)]

    def clear() -> None:
        for tensor in trained:
            tensor.grad = None

    return Step(run=lambda: layer(x).backward(gradient), prepare=clear)

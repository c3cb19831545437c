"""What the ASA tests share: a model with ASA, a training step, and views of what must not change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from peft import PeftModel
from torch import Tensor

from adamss_core import get_adamss_model, save_adapter
from adamss_core.config import AsaPruned
from adamss_core.layer import AdamssLayer
from tests.models import batch, config, tiny_bert

MakeOptimizer = Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]
Subspace = tuple[str, int]  # module, index

SCHEDULE: dict[str, Any] = {
    "use_asa": True,
    "asa_target_subspaces": 5,
    "init_warmup": 2,
    "final_warmup": 9,
    "mask_interval": 3,
}

OPTIMIZERS: dict[str, MakeOptimizer] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1, foreach=False),
    "sgd-foreach": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1, foreach=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.1, foreach=False),
    "adamw-foreach": lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.1, foreach=True),
    "adamw-fused": lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.1, fused=True),
    "adamw-amsgrad": lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.1, amsgrad=True),
}


def asa_model(seed: int = 0, asa_pruned: AsaPruned = "frozen", **fields: Any) -> PeftModel:
    """A tiny BERT, 4 adapted layers of 4 subspaces, B random so that A has gradients from the first step."""
    settings = config(**{"init_weights": None, **SCHEDULE, **fields})
    return get_adamss_model(tiny_bert(seed), settings, asa_pruned=asa_pruned)


def trainable(model: PeftModel) -> list[torch.nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


def layers_of(model: PeftModel) -> dict[str, AdamssLayer]:
    layers: dict[str, AdamssLayer] = model.base_model.adapted_layers("default")
    return layers


@dataclass
class Training:
    """A hand-written loop: what a user's own script does.

    Attributes:
        hand_over: give the optimizer to `update_and_allocate`.
        before: call `update_and_allocate` before the optimizer's step instead of after.
    """

    model: PeftModel
    optimizer: torch.optim.Optimizer
    hand_over: bool = True
    before: bool = False
    done: int = 0

    def step(self) -> Tensor:
        """One optimizer step on the batch of its number; gives the loss, whose graph is still alive."""
        self.done += 1
        loss: Tensor = self.model(**batch(self.done)).loss
        loss.backward()
        if self.before:
            self._allocate()
        self.optimizer.step()
        if not self.before:
            self._allocate()
        self.optimizer.zero_grad()
        return loss

    def run(self, until: int) -> list[float]:
        return [self.step().item() for _ in range(self.done, until)]

    def _allocate(self) -> None:
        self.model.base_model.update_and_allocate(self.done, optimizer=self.optimizer if self.hand_over else None)


def start(
    name: str = "adamw", *, hand_over: bool = True, before: bool = False, seed: int = 0, **fields: Any
) -> Training:
    torch.manual_seed(seed)
    model = asa_model(seed, **fields)
    return Training(model, OPTIMIZERS[name](trainable(model)), hand_over=hand_over, before=before)


def subspaces(model: PeftModel) -> Iterator[tuple[Subspace, dict[str, Any], Tensor, Tensor]]:
    """Every subspace with its entry in the summary and its A_k and B_k, read through `layer.packed`."""
    described = model.base_model.asa_summary()["modules"]
    for name, layer in layers_of(model).items():
        for k, (a, b) in enumerate(layer.layouts["default"].unpack(*layer.packed("default"))):
            yield (name, k), described[name][k], a, b


def active_set(model: PeftModel) -> set[Subspace]:
    return {where for where, entry, _, _ in subspaces(model) if entry["active"]}


def frozen_values(model: PeftModel) -> dict[Subspace, tuple[Tensor, Tensor]]:
    return {where: (a.clone(), b.clone()) for where, entry, a, b in subspaces(model) if not entry["active"]}


def saved_values(model: PeftModel, folder: Path) -> dict[Subspace, tuple[Tensor, Tensor]]:
    """A_k and B_k of every subspace as `save_adapter` writes them."""
    save_adapter(model, folder)
    tensors = safetensors.torch.load_file(folder / "adapter_model.safetensors")
    return {
        (name, k): (
            tensors[f"base_model.model.{name}.adamss_A.{k}"],
            tensors[f"base_model.model.{name}.adamss_B.{k}"],
        )
        for (name, k), _, _, _ in subspaces(model)
    }


def assert_same_values(
    found: dict[Subspace, tuple[Tensor, Tensor]], expected: dict[Subspace, tuple[Tensor, Tensor]]
) -> None:
    """Bit by bit, for every subspace in `expected`."""
    for where, pair in expected.items():
        for mine, other in zip(found[where], pair, strict=True):
            assert torch.equal(mine.view(torch.int32), other.view(torch.int32)), where


def assert_same_state(first: PeftModel, second: PeftModel) -> None:
    """Parameters, masks, scores and averages, bit by bit, through everything the model would save."""
    ours, theirs = first.state_dict(), second.state_dict()
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        assert torch.equal(value, theirs[key]), key
    assert first.base_model.asa_summary() == second.base_model.asa_summary()

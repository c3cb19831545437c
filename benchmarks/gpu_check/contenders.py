"""LoRA, stock PEFT's AdaMSS and ours around one and the same frozen random model."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from peft import get_peft_model
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification, LlamaConfig, LlamaForCausalLM

from adamss_core import get_adamss_model
from benchmarks.gpu_check.sizes import Base, Precision
from benchmarks.variants import Shape, adamss_config, lora_config

OURS, WITHOUT_ASA, STOCK, LORA = "ours", "ours without ASA", "PEFT AdaMSS", "LoRA r=1"
MASK_INTERVAL = 5


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def synchronize() -> None:
    """Wait for the device, so that a host clock measures its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def config_of(base: Base) -> Any:
    """transformers' config of a random base."""
    sizes: dict[str, Any] = {
        "hidden_size": base.hidden,
        "num_hidden_layers": base.layers,
        "num_attention_heads": base.heads,
        "intermediate_size": base.intermediate,
        "vocab_size": base.vocabulary,
        "max_position_embeddings": base.length,
    }
    if base.kind == "encoder":
        return BertConfig(**sizes)
    return LlamaConfig(**sizes, num_key_value_heads=max(1, base.heads // 4), tie_word_embeddings=True, use_cache=False)


def build(base: Base, precision: Precision) -> nn.Module:
    """The random base on the device, in training mode."""
    torch.manual_seed(0)
    kind: Any = BertForSequenceClassification if base.kind == "encoder" else LlamaForCausalLM
    with torch.device(device()):
        model: nn.Module = kind(config_of(base))
    return model.to(torch.bfloat16 if precision == "bf16 weights" else torch.float32).train()


def inputs_of(base: Base) -> dict[str, Tensor]:
    """One batch on the device; every token of a decoder's counts."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, base.vocabulary, (base.batch, base.length), generator=generator).to(device())
    labels = torch.randint(0, 2, (base.batch,), generator=generator).to(device()) if base.kind == "encoder" else ids
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


def sharing(model: nn.Module) -> nn.Module:
    """Another model object on the same tensors: contenders need not hold the frozen weights once each."""
    tensors: Iterator[Tensor] = chain(model.parameters(), model.buffers())
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


@dataclass
class Contender:
    """An adapted model and its optimizer; a step is forward, backward, AdamW, ASA.

    Attributes:
        allocate: (step, optimizer) -> None: ASA after the optimizer's step; None without.
        init_seconds: time to put the adapter in, decompositions included.
    """

    name: str
    model: nn.Module
    inputs: dict[str, Tensor]
    precision: Precision
    allocate: Callable[[int, torch.optim.Optimizer], None] | None
    init_seconds: float
    steps: int = 0

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.AdamW([p for p in self.model.parameters() if p.requires_grad], lr=1e-3)

    def step(self) -> None:
        with torch.autocast(device().type, torch.bfloat16, enabled=self.precision == "bf16"):
            loss = self.model(**self.inputs).loss
        loss.backward()
        self.optimizer.step()
        self.steps += 1
        if self.allocate is not None:
            self.allocate(self.steps, self.optimizer)
        self.optimizer.zero_grad()
        synchronize()

    def peak_bytes(self) -> int | None:
        """Model, optimizer and the most that one step needs beside them; None without a GPU, which alone counts it."""
        if not torch.cuda.is_available():
            return None
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        self.step()
        return self._held_bytes() + torch.cuda.max_memory_allocated() - before

    def device_work(self) -> tuple[int, float] | None:
        """Kernels and copies of one step, and the milliseconds the GPU works on them; None where nothing counts them.

        A step that takes much longer than its work waits for Python to launch kernels.
        """
        if not torch.cuda.is_available():
            return None
        try:
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
                self.step()
            events = [event for event in profile.events() or [] if str(event.device_type).endswith("CUDA")]
        except RuntimeError:  # machines whose driver lets nobody count
            return None
        return (len(events), sum(event.self_device_time_total for event in events) / 1e3) if events else None

    def _held_bytes(self) -> int:
        """Storages of the model, its frozen weights included, and of the optimizer's state; each counted once."""
        slots = (value for state in self.optimizer.state.values() for value in state.values())
        tensors = chain(self.model.parameters(), self.model.buffers(), slots)
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors if t.is_cuda}
        return sum(storages.values())


def recipes(base: Base, subspaces: int, r: int, *, ramp: int | None) -> dict[str, Callable[[nn.Module], nn.Module]]:
    """Contender -> what puts its adapter on a base.

    Args:
        ramp: steps over which ASA prunes half of the subspaces; None for no ASA.
    """
    fields: dict[str, Any] = {"target_modules": base.targets, "task_type": base.task_type}
    asa: dict[str, Any] = {}
    if ramp is not None:
        asa = {
            "use_asa": True,
            "asa_target_subspaces": base.layers * subspaces,
            "init_warmup": 0,
            "final_warmup": ramp,
            "mask_interval": MASK_INTERVAL,
        }
    shape = Shape(base.hidden, subspaces, 1)
    found: dict[str, Callable[[nn.Module], nn.Module]] = {
        OURS: lambda model: get_adamss_model(model, adamss_config(shape, r=r, **fields, **asa)),
        WITHOUT_ASA: lambda model: get_adamss_model(model, adamss_config(shape, r=r, **fields)),
        LORA: lambda model: get_peft_model(model, lora_config(1, **fields)),
        STOCK: lambda model: get_peft_model(model, adamss_config(shape, r=r, **fields, **asa)),
        f"LoRA r={subspaces}": lambda model: get_peft_model(model, lora_config(subspaces, **fields)),
    }
    if ramp is None:
        found[OURS] = found.pop(WITHOUT_ASA)
    return found


def adapted(
    name: str,
    recipe: Callable[[nn.Module], nn.Module],
    model: nn.Module,
    inputs: dict[str, Tensor],
    precision: Precision,
) -> Contender:
    """A contender around `model`, whose tensors it shares."""
    own = sharing(model)
    synchronize()
    begun = time.perf_counter()
    made: Any = recipe(own)
    synchronize()
    seconds = time.perf_counter() - begun
    return Contender(name, made, inputs, precision, _allocation(name, made), seconds)


def _allocation(name: str, model: Any) -> Callable[[int, torch.optim.Optimizer], None] | None:
    """Our ASA takes the optimizer, stock PEFT's does not."""
    if name not in (OURS, STOCK) or not model.peft_config["default"].use_asa:
        return None
    if name == OURS:
        return lambda step, optimizer: model.base_model.update_and_allocate(step, optimizer=optimizer)
    return lambda step, _: model.base_model.update_and_allocate(step)

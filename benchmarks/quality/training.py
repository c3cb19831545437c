"""Train a contender and measure it; every contender has the same batches, epochs and head rate."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.quality.bases import fresh
from benchmarks.quality.contenders import Contender, Preparation
from benchmarks.quality.data import Rows, Task, batches, load

WARMUP = 0.06
HEAD_RATE = 5e-3


@dataclass(frozen=True)
class Rates:
    """Peak learning rates.

    Attributes:
        a: of A, as a multiple of the adapter's.
    """

    adapter: float
    head: float = HEAD_RATE
    a: float = 1.0


@dataclass(frozen=True)
class Measured:
    """One run.

    Attributes:
        outputs: (n,) a number for each measured row: the predicted one, or the margin of the right class.
        peak, end: trained elements of the adapter at the start and at the end.
    """

    score: float
    outputs: Tensor
    peak: int
    end: int
    seconds: float


def measure(
    contender: Contender, task: Task, rates: Rates, seed: int, part: str, folder: Path, share: float, device: str
) -> Measured:
    """Train on the training rows, and measure on a part."""
    place = torch.device(device)
    rows = load(task, folder, share)
    steps = task.epochs * -(-len(rows["train"]) // task.batch)
    begun = time.perf_counter()
    model = fresh(task.base, folder, task.goal.outputs, seed)
    given = Preparation(model, task, rows["train"], steps, seed, place)
    made: Any = contender.make(given).to(place)
    peak = trained(made)
    if peak + head_size(made):
        train(made, given, rates)
    outputs = predict(made, task, rows[part], place)
    seconds = time.perf_counter() - begun
    return Measured(task.goal.score(outputs, rows[part].targets), outputs, peak, trained(made), seconds)


def train(model: Any, given: Preparation, rates: Rates) -> None:
    """Train with AdamW, linear warm-up and decay, and ASA where the model uses it."""
    steps, epochs, goal = given.steps, given.task.epochs, given.task.goal
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            of_adapter = rates.adapter * (rates.a if "_A." in name else 1)
            groups.setdefault(rates.head if "classifier" in name else of_adapter, []).append(parameter)
    optimizer = torch.optim.AdamW([{"params": some, "lr": rate} for rate, some in groups.items()], weight_decay=0.0)
    parameters = [parameter for some in groups.values() for parameter in some]
    warmup = max(1, round(WARMUP * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))
    )
    allocate = getattr(getattr(model, "base_model", None), "update_and_allocate", None)
    torch.manual_seed(given.seed)
    model.train()
    step = 0
    for epoch in range(epochs):
        for inputs, targets, _ in batches(given.rows, given.seed * epochs + epoch, given.device):
            with half(given.device):
                outputs = given.base.read(model, inputs)
            goal.loss(outputs, targets).backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            step += 1
            if allocate is not None:
                allocate(step, optimizer=optimizer) if is_ours(model) else allocate(step)
            optimizer.zero_grad(set_to_none=True)


def half(device: torch.device) -> torch.autocast:
    """Use bf16 on a processor that has it, where it halves the time; fp32 on a GPU, where launches take the time."""
    capable = device.type == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    return torch.autocast(device.type, torch.bfloat16, enabled=capable)


def is_ours(model: Any) -> bool:
    return type(model.base_model).__module__.startswith("adamss_core")


@torch.inference_mode()
def predict(model: Any, task: Task, rows: Rows, device: torch.device) -> Tensor:
    """Return what the goal judges each row by, (n,) on the CPU."""
    model.eval()
    found, order = [], list[int]()
    for inputs, targets, places in batches(rows, None, device):
        with half(device):
            outputs = task.base.read(model, inputs)
        order += places
        found.append(task.goal.value(outputs.float(), targets).cpu())
    return torch.cat(found)[torch.tensor(order).argsort()]


def trained(model: Any) -> int:
    """Count trained elements without the head's; frozen subspaces and rows of ours do not count."""
    counter = getattr(model, "get_nb_trainable_parameters", None)
    total = counter()[0] if counter else sum(p.numel() for p in model.parameters() if p.requires_grad)
    return int(total) - head_size(model)


def head_size(model: nn.Module) -> int:
    return sum(p.numel() for name, p in model.named_parameters() if p.requires_grad and "classifier" in name)

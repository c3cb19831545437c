"""Train a contender and measure it; every contender has the same batches, epochs and head rate."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification

from benchmarks.quality.contenders import Contender, Loss, Preparation
from benchmarks.quality.data import BATCH, Rows, Task, batches, load

EPOCHS, WARMUP = 2, 0.06
HEAD_RATE = 5e-3


@dataclass(frozen=True)
class Measured:
    """One run.

    Attributes:
        outputs: (n,) a number for each measured row: the predicted one, or the margin of the second class.
        peak, end: trained elements of the adapter at the start and at the end.
    """

    score: float
    outputs: Tensor
    peak: int
    end: int
    seconds: float


def measure(
    contender: Contender, task: Task, rate: float, seed: int, part: str, encoder: Path, share: float, device: str
) -> Measured:
    """Train on the training rows, and measure on a part."""
    place = torch.device(device)
    rows = load(task, encoder, share)
    loss = squared if task.is_number else cross
    steps = EPOCHS * -(-len(rows["train"]) // BATCH)
    begun = time.perf_counter()
    given = Preparation(fresh(encoder, task.is_number, seed), task, rows["train"], steps, loss, seed, place)
    model: Any = contender.make(given).to(place)
    peak = trained(model)
    train(model, rows["train"], loss, steps, rate, seed, place)
    outputs = predict(model, rows[part], place)
    seconds = time.perf_counter() - begun
    return Measured(score(task, outputs, rows[part].targets), outputs, peak, trained(model), seconds)


@lru_cache(2)
def _base(encoder: Path, outputs: int) -> nn.Module:
    model: nn.Module = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=outputs)
    return model.float()


def fresh(encoder: Path, is_number: bool, seed: int) -> nn.Module:
    """Return the encoder with a fresh head, drawn by the seed."""
    model = copy.deepcopy(_base(encoder, 1 if is_number else 2))
    generator = torch.Generator().manual_seed(seed)
    head: Any = model.classifier
    head.weight.data.copy_(0.02 * torch.randn(head.weight.shape, generator=generator))
    head.bias.data.zero_()
    return model


def cross(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs.float(), targets.long())


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.mse_loss(outputs.float()[:, 0], targets)


def train(model: Any, rows: Rows, loss: Loss, steps: int, rate: float, seed: int, device: torch.device) -> None:
    """Train with AdamW, linear warm-up and decay, and ASA where the model uses it."""
    head = [p for n, p in model.named_parameters() if p.requires_grad and "classifier" in n]
    body = [p for n, p in model.named_parameters() if p.requires_grad and "classifier" not in n]
    groups = [{"params": head, "lr": HEAD_RATE}, {"params": body, "lr": rate}]
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]], weight_decay=0.0)
    warmup = max(1, round(WARMUP * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))
    )
    allocate = getattr(getattr(model, "base_model", None), "update_and_allocate", None)
    torch.manual_seed(seed)
    model.train()
    step = 0
    for epoch in range(EPOCHS):
        for inputs, targets, _ in batches(rows, seed * EPOCHS + epoch, device):
            with half(device):
                outputs = model(**inputs).logits
            loss(outputs, targets).backward()
            nn.utils.clip_grad_norm_(head + body, 1.0)
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
def predict(model: Any, rows: Rows, device: torch.device) -> Tensor:
    """Return a number for each row, (n,) on the CPU."""
    model.eval()
    found = torch.zeros(len(rows))
    for inputs, _, places in batches(rows, None, device):
        with half(device):
            outputs = model(**inputs).logits
        outputs = outputs.float()
        found[places] = (outputs[:, 0] if outputs.shape[1] == 1 else outputs[:, 1] - outputs[:, 0]).cpu()
    return found


def score(task: Task, outputs: Tensor, targets: Tensor) -> float:
    if task.is_number:
        return 100 * float(torch.corrcoef(torch.stack([outputs, targets]).double())[0, 1].nan_to_num())
    return 100 * float(((outputs > 0) == (targets > 0)).float().mean())


def trained(model: Any) -> int:
    """Count trained elements without the head's; frozen subspaces and rows of ours do not count."""
    counter = getattr(model, "get_nb_trainable_parameters", None)
    total = counter()[0] if counter else sum(p.numel() for p in model.parameters() if p.requires_grad)
    return int(total) - sum(p.numel() for n, p in model.named_parameters() if p.requires_grad and "classifier" in n)

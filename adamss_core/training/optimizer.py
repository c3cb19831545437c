"""AdamW's parameter groups and the learning-rate schedule."""

from __future__ import annotations

import math
from typing import Any

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LRScheduler
from transformers import get_scheduler

from adamss_core.spec import TrainingSpec

SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


def make_optimizer(model: nn.Module, training: TrainingSpec) -> AdamW:
    """Make AdamW with groups in this order: A and B, the head's weights, the head's biases and norms (no decay)."""
    adapter, weights, others = [], [], []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if ".adamss_" in name or ".lora_" in name:
            adapter.append(parameter)
        elif parameter.dim() < 2:
            others.append(parameter)
        else:
            weights.append(parameter)
    head_rate = training.head_learning_rate or training.learning_rate
    groups: list[dict[str, Any]] = [
        {"params": adapter, "lr": training.learning_rate, "weight_decay": training.weight_decay},
        {"params": weights, "lr": head_rate, "weight_decay": training.weight_decay},
        {"params": others, "lr": head_rate, "weight_decay": 0.0},
    ]
    return AdamW([group for group in groups if group["params"]])


def make_schedule(optimizer: AdamW, training: TrainingSpec, total_steps: int) -> LRScheduler:
    """Make the schedule: rates rise from zero over the warm-up, then follow the job's curve to the last step.

    A job of one step has no warm-up, as its only rate would be zero.
    """
    schedule: LRScheduler = get_scheduler(
        SCHEDULES[training.lr_scheduler],
        optimizer,
        num_warmup_steps=min(math.ceil(training.warmup_ratio * total_steps), total_steps - 1),
        num_training_steps=total_steps,
    )
    return schedule

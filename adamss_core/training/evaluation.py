"""Predictions over the whole evaluation set, and what they are worth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from adamss_core.training.batches import IGNORED, Collate, Encoded
from adamss_core.training.request import Values
from adamss_core.training.tasks import Task


@dataclass(frozen=True)
class Evaluation:
    """Values of all rows, and the loss of each.

    Attributes:
        values: eval_loss and the task's metrics with the prefix eval_.
        losses: (n,) mean over each row's terms, fp32 on the CPU.
    """

    values: Values
    losses: Tensor


def evaluate(
    model: nn.Module,
    task: Task,
    data: Encoded,
    classes: list[str],
    collate: Collate,
    batch_size: int,
    accelerator: Accelerator,
) -> Evaluation:
    """Every process predicts its share; all of them see the result for all rows."""
    found = predict(model, task, data, collate, batch_size, accelerator)
    losses = found["losses"]
    values: Values = {"loss": float(losses.double().sum() / data.units.sum()), **task.metrics(found, classes)}
    return Evaluation({f"eval_{name}": value for name, value in values.items()}, losses / data.units.clamp(min=1))


@torch.inference_mode()
def predict(
    model: nn.Module, task: Task, data: Encoded, collate: Collate, batch_size: int, accelerator: Accelerator
) -> dict[str, Tensor]:
    """The task's predictions and "losses" (sums of each row's terms), each (n, ...) on the CPU in the rows' order."""
    was_training = model.training
    model.eval()
    order = torch.argsort(data.lengths, descending=True, stable=True).tolist()
    mine = order[accelerator.process_index :: accelerator.num_processes]
    found: dict[str, list[Tensor]] = {}
    for start in range(0, len(mine), batch_size):
        rows = mine[start : start + batch_size]
        inputs, targets = collate(data, rows)
        with accelerator.autocast():
            outputs = model(**inputs)
        part = task.predictions(outputs, targets) | {"losses": task.losses(outputs, targets)}
        part["row"] = torch.tensor(rows, device=targets.device)
        for name, value in part.items():
            found.setdefault(name, []).append(value)
    model.train(was_training)
    whole = {name: _gathered(accelerator, _joined(parts)) for name, parts in found.items()}
    places = torch.argsort(whole.pop("row"))
    return {name: value[places] for name, value in whole.items()}


def _joined(parts: list[Tensor]) -> Tensor:
    """Along the rows; a second dimension is filled up to the widest."""
    if parts[0].dim() < 2:
        return torch.cat(parts)
    width = max(part.shape[1] for part in parts)
    return torch.cat([_filled(part, width) for part in parts])


def _filled(part: Tensor, width: int) -> Tensor:
    missing = part.new_full((part.shape[0], width - part.shape[1], *part.shape[2:]), IGNORED)
    return torch.cat([part, missing], dim=1)


def _gathered(accelerator: Accelerator, value: Tensor) -> Tensor:
    """Rows of all processes, whose shares may differ by one row."""
    if accelerator.num_processes == 1:
        return value.cpu()
    sizes = accelerator.gather(torch.tensor([len(value)], device=value.device)).tolist()
    for dimension in range(min(2, value.dim())):
        value = accelerator.pad_across_processes(value, dim=dimension, pad_index=IGNORED)
    parts = accelerator.gather(value).split(int(value.shape[0]))
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)]).cpu()

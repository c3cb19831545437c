"""Predictions over the whole evaluation set, and what they are worth."""

from __future__ import annotations

from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from adamss_core.training.batches import IGNORED, Collate, Encoded
from adamss_core.training.errors import is_out_of_memory
from adamss_core.training.request import Values
from adamss_core.training.tasks import Task


def evaluate(
    model: nn.Module,
    task: Task,
    data: Encoded,
    classes: list[str],
    collate: Collate,
    batch_size: int,
    accelerator: Accelerator,
    alive: Callable[[], object] = lambda: None,
) -> Values:
    """eval_loss and the task's metrics with the prefix eval_, of all rows; every process predicts its share."""
    found = predict(model, task, data, collate, batch_size, accelerator, alive)
    loss = float(found["losses"].double().sum() / data.loss_terms.sum())
    return {f"eval_{name}": value for name, value in {"loss": loss, **task.metrics(found, classes)}.items()}


@torch.inference_mode()
def predict(
    model: nn.Module,
    task: Task,
    data: Encoded,
    collate: Collate,
    batch_size: int,
    accelerator: Accelerator,
    alive: Callable[[], object] = lambda: None,
) -> dict[str, Tensor]:
    """The task's predictions and "losses" (sums of each row's terms), each (n, ...) on the CPU in the rows' order.

    Args:
        batch_size: rows at a time; halved where memory runs out, as held-out rows may be longer than those trained on.
        alive: called before each batch: minutes of silence would be taken for a process that hangs.
    """
    was_training = model.training
    model.eval()
    order = torch.argsort(data.lengths, descending=True, stable=True).tolist()
    mine = order[accelerator.process_index :: accelerator.num_processes]
    found: dict[str, list[Tensor]] = {}
    done = 0
    while done < len(mine):
        alive()
        rows = mine[done : done + batch_size]
        try:
            part = _predicted(model, task, data, collate, rows, accelerator)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or len(rows) == 1:
                raise
            batch_size = -(-len(rows) // 2)
            continue
        done += len(rows)
        for name, value in part.items():
            found.setdefault(name, []).append(value)
    model.train(was_training)
    whole = {name: _gathered(accelerator, _joined(parts)) for name, parts in found.items()}
    places = torch.argsort(whole.pop("row"))
    return {name: value[places] for name, value in whole.items()}


def _predicted(
    model: nn.Module, task: Task, data: Encoded, collate: Collate, rows: list[int], accelerator: Accelerator
) -> dict[str, Tensor]:
    inputs, targets = collate(data, rows)
    with accelerator.autocast():
        outputs = model(**inputs)
    part = task.predictions(outputs, targets) | {"losses": task.losses(outputs, targets)}
    return part | {"row": torch.tensor(rows, device=targets.device)}


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

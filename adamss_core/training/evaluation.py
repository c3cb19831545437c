"""Predict the whole evaluation set, compute the metrics, and keep what the published model predicted."""

from __future__ import annotations

from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from adamss_core.training.batches import IGNORED, Collate, Encoded
from adamss_core.training.errors import is_out_of_memory
from adamss_core.training.ranks import Ranks
from adamss_core.training.ranks.shares import shares_in_turn
from adamss_core.training.request import Values
from adamss_core.training.tasks import Task
from adamss_core.training.tasks.base import Predictions

KEPT_BYTES = 2**26


def values_of(predictions: Predictions, task: Task, data: Encoded, classes: list[str]) -> Values:
    """Return eval_loss and the task's metrics (prefix eval_) of what `predict` returned."""
    loss = float(predictions["losses"].double().sum() / data.loss_terms.sum())
    return {f"eval_{name}": value for name, value in {"loss": loss, **task.metrics(predictions, classes)}.items()}


@torch.no_grad()  # not inference_mode: what the model caches meanwhile, training uses
def predict(
    model: nn.Module,
    task: Task,
    data: Encoded,
    collate: Collate,
    batch_size: int,
    accelerator: Accelerator,
    alive: Callable[[], object] = lambda: None,
    ranks: Ranks | None = None,
) -> Predictions:
    """Return the task's predictions and "losses" (sums of each row's terms), each (n, ...) on the CPU in row order.

    Every process predicts its share, and gets the whole.

    Args:
        batch_size: rows at a time; halved where memory runs out, as held-out rows may be longer than training rows.
        alive: called before each batch, as a silent process would be taken for a hanging one.
        ranks: the processes that share the rows; None for a single one.
    """
    ranks = ranks or Ranks()
    was_training = model.training
    model.eval()
    order = torch.argsort(data.lengths, descending=True, stable=True).tolist()
    dealt = shares_in_turn(order, ranks.size)
    mine = dealt[ranks.rank]
    # Where a forward pass takes all processes, all make as many: what a row is predicted for twice is dropped.
    own = len(mine)
    if ranks.in_step:
        mine += order[-1:] * (len(dealt[0]) - own)
    parts: dict[str, list[Tensor]] = {}
    done = 0
    while done < len(mine):
        alive()
        rows = mine[done : done + batch_size]
        try:
            batch = _predicted(model, task, data, collate, rows, accelerator)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or len(rows) == 1 or ranks.in_step:
                raise
            batch_size = -(-len(rows) // 2)
            continue
        done += len(rows)
        for name, value in batch.items():
            parts.setdefault(name, []).append(value)
    model.train(was_training)
    found = {name: _joined(values)[:own] for name, values in parts.items()} if own else {}
    shares = [share for share in ranks.gather(found) if share]
    whole = {name: _joined([share[name] for share in shares]) for name in shares[0]}
    order_of_rows = torch.argsort(whole.pop("row"))
    return {name: value[order_of_rows] for name, value in whole.items()}


def _predicted(
    model: nn.Module, task: Task, data: Encoded, collate: Collate, rows: list[int], accelerator: Accelerator
) -> dict[str, Tensor]:
    inputs, targets = collate(data, rows)
    with accelerator.autocast():
        outputs = model(**inputs)
    part = task.predictions(outputs, targets) | {"losses": task.losses(outputs, targets)}
    return part | {"row": torch.tensor(rows, device=targets.device)}


def _joined(parts: list[Tensor]) -> Tensor:
    """Concatenate along the rows; a second dimension is padded to the widest."""
    if parts[0].dim() < 2:
        return torch.cat(parts)
    width = max(part.shape[1] for part in parts)
    return torch.cat([_padded(part, width) for part in parts])


def _padded(part: Tensor, width: int) -> Tensor:
    missing = part.new_full((part.shape[0], width - part.shape[1], *part.shape[2:]), IGNORED)
    return torch.cat([part, missing], dim=1)


class KeptPredictions:
    """Predictions of the best and of the last evaluation, so that the published model need not predict them again."""

    def __init__(self) -> None:
        self._of_step: dict[int, Predictions] = {}

    def keep(self, step: int, predictions: Predictions, best_step: int | None) -> None:
        """Keep the predictions of a step, unless they take much memory, and drop those that are no longer needed."""
        self._of_step = {number: kept for number, kept in self._of_step.items() if number == best_step}
        if sum(value.nbytes for value in predictions.values()) <= KEPT_BYTES:
            self._of_step[step] = predictions

    def of(self, step: int) -> Predictions | None:
        """Return the predictions of the model as it was at a step; None where they were not kept."""
        return self._of_step.get(step)

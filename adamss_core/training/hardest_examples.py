"""Find the held-out rows with the highest loss: wrong labels and odd rows are among them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from adamss_core.spec.cells import Cells
from adamss_core.training.data import Rows
from adamss_core.training.evaluator import Evaluator, Part
from adamss_core.training.illustration import illustrate

KEPT = 100
BATCH = 8  # rows predicted at a time, at most
SHOWN = 400  # characters of a text


def hardest_examples(evaluator: Evaluator, part: Part, losses: Tensor) -> list[dict[str, Any]]:
    """Return the rows with the highest mean loss, the highest first.

    Args:
        losses: (n,) sum of each row's loss terms.

    Returns:
        For each row: its number in its file and the file ("train", "eval" or "test"), its input, the expected output,
        the model's prediction (None where it would have to generate text), and the loss (None where it is not a
        number).
    """
    if not evaluator.ranks.passes:
        return []
    lost = f"The {'held-out' if part.data != 'test' else 'test'} rows with the highest loss are not listed"
    together = evaluator.ranks.per_pass
    return illustrate(evaluator.reporter, lost, lambda: _found(evaluator, part, losses), [], processes=together)


def _found(evaluator: Evaluator, part: Part, losses: Tensor) -> list[dict[str, Any]]:
    losses = (losses / part.examples.loss_terms.clamp(min=1)).nan_to_num(nan=math.inf, posinf=math.inf)
    places = losses.topk(min(KEPT, len(losses))).indices.tolist()
    rows = part.rows.take(places)
    shown = [_shown(evaluator, cells) for cells in rows.cells()]
    said = _said(evaluator, rows)
    return [
        {
            "row": rows.numbers[i],
            "data": part.data,
            **shown[i],
            "predicted": answer,
            "loss": loss if math.isfinite(loss := float(losses[places[i]])) else None,
        }
        for i, answer in enumerate(said)
    ]


def _shown(evaluator: Evaluator, cells: Cells) -> dict[str, Any]:
    """Split a row into input and expected answer, each cut to a length that fits a table."""
    inputs, expected = evaluator.task.record.split_answer(cells)
    return {"input": _short(inputs), "expected": _short(expected)}


@torch.inference_mode()
def _said(evaluator: Evaluator, rows: Rows) -> list[Any]:
    """Return the model's answers, (n,), cut as above; None where answering takes too long."""
    task, field, size = evaluator.task, evaluator.task.record.answer_field, min(BATCH, evaluator.batch_size)
    if field is None:
        return [None] * len(rows)
    inputs = task.inputs(rows)
    answers: list[Mapping[str, Any]] = []
    with evaluator.accelerator.autocast():  # as the losses were computed
        for start in range(0, len(inputs), size):
            answers += task.predict(evaluator.model, evaluator.processor, inputs[start : start + size], evaluator.limit)
    return [_short(answer[field]) for answer in answers]


def _short(value: Any) -> Any:
    """Shorten a value for a table: long texts and lists are cut and marked."""
    if isinstance(value, (bool, int, float)) or value is None:
        return value
    if isinstance(value, (list, tuple)):
        shown = [_short(entry) for entry in value[: SHOWN // 4]]
        return shown if len(shown) == len(value) else [*shown, "…"]
    if isinstance(value, dict):
        return {str(name): _short(entry) for name, entry in value.items()}
    text = str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"

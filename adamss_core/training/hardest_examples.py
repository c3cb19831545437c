"""Find the held-out rows with the highest loss: wrong labels and odd rows are among them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from adamss_core.spec.cells import Cells
from adamss_core.training.data import Rows
from adamss_core.training.evaluation import predict
from adamss_core.training.illustration import illustrate
from adamss_core.training.setup import Setup

KEPT = 100
BATCH = 8  # rows predicted at a time, at most
SHOWN = 400  # characters of a text


def hardest_examples(setup: Setup, model: nn.Module, batch_size: int) -> list[dict[str, Any]]:
    """Return the rows with the highest mean loss, the highest first; every process must call this.

    Returns:
        For each row: its number in its file and the file ("eval" or "train"), its input, the expected output, the
        model's prediction (None where it would have to generate text), and the loss (None where it is not a number).
    """
    found: list[dict[str, Any]] = illustrate(
        setup.reporter,
        "The held-out rows with the highest loss are not listed",
        lambda: _found(setup, model, batch_size),
        [],
        processes=setup.accelerator.num_processes,
    )
    model.to("cpu")
    return found


def _found(setup: Setup, model: nn.Module, batch_size: int) -> list[dict[str, Any]]:
    found = predict(
        model.to(setup.accelerator.device),
        setup.task,
        setup.evaluation,
        setup.collate,
        batch_size,
        setup.accelerator,
        setup.reporter.stop_requested,
    )
    losses = (found["losses"] / setup.evaluation.loss_terms.clamp(min=1)).nan_to_num(nan=math.inf, posinf=math.inf)
    places = losses.topk(min(KEPT, len(losses))).indices.tolist()
    rows = setup.data.evaluation.take(places)
    shown = [_shown(setup, cells) for cells in rows.cells()]
    said = _said(setup, model, rows, min(BATCH, batch_size)) if setup.accelerator.is_main_process else []
    return [
        {
            "row": rows.numbers[i],
            "data": setup.data.held_out["from"],
            **shown[i],
            "predicted": answer,
            "loss": loss if math.isfinite(loss := float(losses[places[i]])) else None,
        }
        for i, answer in enumerate(said)
    ]


def _shown(setup: Setup, cells: Cells) -> dict[str, Any]:
    """Split a row into input and expected answer, each cut to a length that fits a table."""
    inputs, expected = setup.task.record.split_answer(cells)
    return {"input": _short(inputs), "expected": _short(expected)}


@torch.inference_mode()
def _said(setup: Setup, model: nn.Module, rows: Rows, batch_size: int) -> list[Any]:
    """Return the model's answers, (n,), cut as above; None where answering takes too long."""
    field = setup.task.record.answer_field
    if field is None:
        return [None] * len(rows)
    inputs = setup.task.inputs(rows)
    answers: list[Mapping[str, Any]] = []
    for start in range(0, len(inputs), batch_size):
        answers += setup.task.predict(model, setup.processor, inputs[start : start + batch_size], setup.limit)
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

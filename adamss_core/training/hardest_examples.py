"""Find the held-out rows with the highest loss: wrong labels and odd rows are among them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from adamss_core.training.data import Rows
from adamss_core.training.errors import is_out_of_memory
from adamss_core.training.evaluation import predict
from adamss_core.training.setup import Setup

KEPT = 100
BATCH = 8  # rows predicted at a time, at most
SHOWN = 400  # characters of a text
EXPECTED = ("label", "tags", "completion")


def hardest_examples(setup: Setup, model: nn.Module, batch_size: int) -> list[dict[str, Any]]:
    """Return the rows with the highest mean loss, the highest first; every process must call this.

    Returns:
        For each row: its number in its file and the file ("eval" or "train"), its input, the expected output, the
        model's prediction (None where it would have to generate text), and the loss (None where it is not a number).
    """
    device = setup.accelerator.device
    try:
        found = predict(
            model.to(device),
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
        said = _said(setup, model, rows, min(BATCH, batch_size)) if setup.accelerator.is_main_process else []
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        model.to("cpu")  # a failing list must not cost the trained model
        setup.reporter.event("warning", "The held-out rows with the highest loss are not listed: memory ran out.", {})
        return []
    model.to("cpu")
    return [
        {
            "row": rows.numbers[i],
            "data": setup.data.held_out["from"],
            **_shown(rows, i),
            "predicted": answer,
            "loss": loss if math.isfinite(loss := float(losses[places[i]])) else None,
        }
        for i, answer in enumerate(said)
    ]


def _shown(rows: Rows, place: int) -> dict[str, Any]:
    """Input and what was expected: the label, the tags, the completion, or the last message."""
    cells = {name: values[place] for name, values in rows.columns.items()}
    expected = next((cells.pop(name) for name in EXPECTED if name in cells), None)
    if "messages" in cells:
        *before, last = cells["messages"]
        cells["messages"], expected = before, last["content"]
    return {"input": _short(cells), "expected": _short(expected)}


@torch.inference_mode()
def _said(setup: Setup, model: nn.Module, rows: Rows, batch_size: int) -> list[Any]:
    """(n,) the answers in short."""
    if setup.request.spec.task == "text-generation":
        return [None] * len(rows)
    asked = [
        {name: _asked(rows, name, values[i]) for name, values in rows.columns.items() if name not in EXPECTED}
        for i in range(len(rows))
    ]
    answers: list[Mapping[str, Any]] = []
    for start in range(0, len(asked), batch_size):
        answers += setup.task.predict(model, setup.processor, asked[start : start + batch_size], setup.limit)
    return [
        _short(next(answer[name] for name in ("label", "labels", "value", "tags") if name in answer))
        for answer in answers
    ]


def _asked(rows: Rows, name: str, value: Any) -> Any:
    return rows.images / value if name == "image" and rows.images is not None else value


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

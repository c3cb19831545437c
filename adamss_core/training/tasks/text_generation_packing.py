"""Batches of token sequences: padded one to a row, or several short ones in a row without attention between them.

Packed rows carry position ids that start again with every example. transformers recognises such rows where it is given
no attention mask and no cache, and makes attention block-diagonal; other models are recognised by comparing logits.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adamss_core.training.batches import IGNORED, Encoded, Ids, Inputs

CHECKED_TOKENS = 24  # of each of two examples
# Of the largest logit: another attention or other positions change logits by far more. Quantised products round each
# row of a batch in their own way.
TOLERANCE, TOLERANCE_QUANTISED = 1e-3, 3e-2


class PaddedExamples:
    """Put one example into each row, padded on the right."""

    def __init__(self, pad: int, device: torch.device) -> None:
        self._pad, self._device = pad, device

    def __call__(self, data: Encoded, rows: list[int]) -> tuple[Inputs, Tensor]:
        """Return inputs and targets, each (rows, longest)."""
        sequences = [data.features[row]["input_ids"] for row in rows]
        width = max(len(ids) for ids in sequences)
        inputs: Inputs = {
            "input_ids": filled(sequences, width, self._pad),
            "attention_mask": filled([np.ones_like(ids) for ids in sequences], width, 0),
        }
        targets = filled([data.targets[row] for row in rows], width, IGNORED)
        return on_device(inputs, self._device), targets.to(self._device)


class PackedExamples:
    """Put as many examples into each row as `width` tokens hold."""

    def __init__(self, pad: int, width: int, device: torch.device) -> None:
        self._pad, self._width, self._device = pad, width, device

    def __call__(self, data: Encoded, rows: list[int]) -> tuple[Inputs, Tensor]:
        """Return inputs and targets, each (packed rows, widest)."""
        bins = packed([int(data.lengths[row]) for row in rows], self._width)
        ids = [np.concatenate([data.features[rows[i]]["input_ids"] for i in members]) for members in bins]
        width = max(len(row) for row in ids)
        positions = [np.concatenate([np.arange(int(data.lengths[rows[i]])) for i in members]) for members in bins]
        # The padding of a row is one more example, whose tokens have no loss term.
        positions = [np.concatenate([row, np.arange(width - len(row))]) for row in positions]
        targets = [np.concatenate([data.targets[rows[i]] for i in members]) for members in bins]
        inputs: Inputs = {
            "input_ids": filled(ids, width, self._pad),
            "position_ids": torch.from_numpy(np.stack(positions).astype(np.int64)),
        }
        return on_device(inputs, self._device), filled(targets, width, IGNORED).to(self._device)


def packed(lengths: Sequence[int], width: int) -> list[list[int]]:
    """Return the indices of the lengths in each row: the longest first, each into the first row with room.

    A length beyond `width` has a row of its own.
    """
    bins: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        length = lengths[index]
        row = next((number for number, left in enumerate(room) if left >= length), None)
        if row is None:
            bins.append([index])
            room.append(width - length)
        else:
            bins[row].append(index)
            room[row] -= length
    return bins


def filled(sequences: Sequence[Ids], width: int, value: int) -> Tensor:
    """Pad sequences with a value; (rows, width) int64."""
    padded = torch.full((len(sequences), width), value)
    for row, ids in enumerate(sequences):
        padded[row, : len(ids)] = torch.from_numpy(ids.astype(np.int64))
    return padded


def on_device(inputs: Inputs, device: torch.device) -> Inputs:
    """Move inputs to a device, and turn off the cache, which training does not need and which hides packed rows."""
    return {name: value.to(device) for name, value in inputs.items()} | {"use_cache": False}


@torch.no_grad()
def why_not_packed(model: Any, data: Encoded, pad: int) -> str | None:
    """Return why a model cannot take packed rows; None where two examples give the same logits packed and alone."""
    if "position_ids" not in inspect.signature(model.get_base_model().forward).parameters:
        return "it takes no position ids"
    order = torch.argsort(data.lengths, stable=True).tolist()
    pair = [data.features[order[-1]]["input_ids"][:CHECKED_TOKENS], data.features[order[0]]["input_ids"]]
    pair[1] = pair[1][:CHECKED_TOKENS]
    both = Encoded([{"input_ids": ids} for ids in pair], pair, torch.tensor([len(ids) for ids in pair]), torch.ones(2))
    was_training = model.training
    model.eval()
    try:
        inputs, _ = PackedExamples(pad, 2 * CHECKED_TOKENS, model.device)(both, [0, 1])
        together = model(**inputs).logits[0].float()
        alone = []
        for row in (0, 1):
            inputs, _ = PaddedExamples(pad, model.device)(both, [row])
            alone.append(model(**inputs).logits[0].float())
    finally:
        model.train(was_training)
    expected = torch.cat(alone)
    gap = float((together[: len(expected)] - expected).abs().max() / expected.abs().max().clamp(min=1e-6))
    allowed = TOLERANCE_QUANTISED if getattr(model.get_base_model(), "is_quantized", False) else TOLERANCE
    return None if gap <= allowed else f"its answers would depend on the row's other examples (by {gap:.1%})"

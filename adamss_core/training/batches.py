"""From texts to token ids, and from an epoch's number to its batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase

from adamss_core.training.data import Rows

CHUNK = 1_000  # texts tokenised at a time
MEGABATCH = 50  # at most so many steps are sorted by length together


@dataclass(frozen=True)
class Encoded:
    """Tokenised rows.

    Attributes:
        features: (n,) dicts of unpadded id lists: input_ids, attention_mask, perhaps token_type_ids.
        labels: (n,) int64 class ids.
        lengths: (n,) int64 tokens.
        truncated: how many rows were longer than allowed.
    """

    features: list[dict[str, list[int]]]
    labels: Tensor
    lengths: Tensor
    truncated: int

    def __len__(self) -> int:
        return len(self.features)


def encode(rows: Rows, ids: dict[str, int], tokenizer: PreTrainedTokenizerBase, max_length: int) -> Encoded:
    features: list[dict[str, list[int]]] = []
    truncated = 0
    for start in range(0, len(rows), CHUNK):
        texts = rows.texts[start : start + CHUNK]
        pairs = None if rows.pairs is None else rows.pairs[start : start + CHUNK]
        batch = tokenizer(texts, pairs, truncation=True, max_length=max_length)
        features += [{name: batch[name][i] for name in batch} for i in range(len(texts))]
        # Only fast tokenizers say what they cut off; for the others a full row counts.
        fast: Any = batch.encodings
        truncated += (
            sum(bool(item.overflowing) for item in fast)
            if fast
            else sum(len(item) == max_length for item in batch["input_ids"])
        )
    lengths = torch.tensor([len(feature["input_ids"]) for feature in features])
    return Encoded(features, torch.tensor([ids[label] for label in rows.labels]), lengths, truncated)


def epoch_steps(lengths: Tensor, per_step: int, seed: int, epoch: int) -> list[list[int]]:
    """The rows of each optimizer step of one epoch: a function of its arguments, so a position is enough to go on.

    Rows are shuffled, sorted by length within stretches of many steps, cut into steps, and the steps are shuffled.
    The step with the longest row comes first, so that a lack of memory shows at once.

    Args:
        lengths: (n,) tokens of each row.
        per_step: rows of one optimizer step, over all processes.
    """
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    order = torch.randperm(len(lengths), generator=generator)
    stretch = per_step * max(1, min(len(lengths) // (per_step * 4), MEGABATCH))
    by_length = torch.cat(
        [part[torch.argsort(lengths[part], descending=True, stable=True)] for part in order.split(stretch)]
    )
    steps = [part.tolist() for part in by_length.split(per_step)]
    shuffled = [steps[i] for i in torch.randperm(len(steps), generator=generator).tolist()]
    longest = max(range(len(shuffled)), key=lambda i: max(int(lengths[row]) for row in shuffled[i]))
    shuffled[0], shuffled[longest] = shuffled[longest], shuffled[0]
    return shuffled


class Collate:
    """Pads rows to the longest among them."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, device: torch.device) -> None:
        self._pad = DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8 if device.type == "cuda" else None)
        self._device = device

    def __call__(self, data: Encoded, rows: list[int]) -> tuple[dict[str, Tensor], Tensor]:
        """Inputs, each (rows, longest), and labels (rows,), on the device."""
        padded = self._pad([data.features[row] for row in rows])
        inputs = {name: value.to(self._device) for name, value in padded.items()}
        return inputs, data.labels[rows].to(self._device)

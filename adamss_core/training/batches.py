"""Encoded examples, the rows of each step, tokenising and padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, chain
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

CHUNK = 1_000  # texts tokenised at a time
MEGABATCH = 50  # steps that are sorted by length together, at most
IGNORED = -100  # target without a loss term

Ids = NDArray[np.int32]
Note = tuple[str, str]
Inputs = dict[str, Any]  # tensors (rows, ...), and other arguments of the model's forward


@dataclass(frozen=True)
class Encoded:
    """Encoded examples, ready for collating.

    Attributes:
        features: (n,) inputs; for texts unpadded ids by name, for images a path.
        targets: (n, ...), or (n,) arrays of different lengths, for the loss.
        lengths: (n,) int64 tokens; 1 for an image.
        loss_terms: (n,) int64 number of loss terms of each example: 1, or its trained tokens.
        over_length: positions of the examples that were longer than the limit and were cut.
        notes: kind and subject of a remark -> positions of the examples that it is about; see `Task.remarks`.
    """

    features: Sequence[Any]
    targets: Any
    lengths: Tensor
    loss_terms: Tensor
    over_length: list[int] = field(default_factory=list)
    notes: dict[Note, list[int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.features)

    def take(self, indices: list[int]) -> Encoded:
        """Return the examples at these positions, without remarks: none of them counts as over-long any more."""
        targets = self.targets[indices] if isinstance(self.targets, Tensor) else [self.targets[i] for i in indices]
        return replace(
            self,
            features=[self.features[i] for i in indices],
            targets=targets,
            lengths=self.lengths[indices],
            loss_terms=self.loss_terms[indices],
            over_length=[],
            notes={},
        )


def joined(pieces: Sequence[Encoded]) -> Encoded:
    """Concatenate the pieces."""
    if len(pieces) == 1:
        return pieces[0]
    starts = list(accumulate((len(piece) for piece in pieces[:-1]), initial=0))
    targets = [piece.targets for piece in pieces]
    notes: dict[Note, list[int]] = {}
    for start, piece in zip(starts, pieces, strict=True):
        for note, positions in piece.notes.items():
            notes.setdefault(note, []).extend(start + position for position in positions)
    return Encoded(
        list(chain.from_iterable(piece.features for piece in pieces)),
        torch.cat(targets) if isinstance(targets[0], Tensor) else list(chain.from_iterable(targets)),
        torch.cat([piece.lengths for piece in pieces]),
        torch.cat([piece.loss_terms for piece in pieces]),
        [start + position for start, piece in zip(starts, pieces, strict=True) for position in piece.over_length],
        notes,
    )


class Collate(Protocol):
    def __call__(self, data: Encoded, rows: list[int]) -> tuple[Inputs, Tensor]:
        """Return inputs and targets on the device, (rows, ...) each; packing gives fewer rows than were passed."""
        ...


@dataclass(frozen=True)
class Tokenised:
    """Unpadded token ids of texts.

    Attributes:
        features: (n,) name -> ids, without the attention mask, which padding adds.
        over_length: positions of the texts that were cut.
        words: (n,) position of each token's word, or -1; only for texts given as words.
    """

    features: list[dict[str, Ids]]
    over_length: list[int]
    words: list[list[int]]

    @property
    def lengths(self) -> Tensor:
        return torch.tensor([len(feature["input_ids"]) for feature in self.features])


def tokenise(
    texts: Sequence[Any], pairs: Sequence[str] | None, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> Tokenised:
    """Tokenise texts, pairs of texts, or texts given as lists of words."""
    tokenised = Tokenised([], [], [])
    as_words = len(texts) > 0 and isinstance(texts[0], list)
    for start in range(0, len(texts), CHUNK):
        part = list(texts[start : start + CHUNK])
        second = None if pairs is None else list(pairs[start : start + CHUNK])
        batch = tokenizer(part, second, truncation=True, max_length=max_length, is_split_into_words=as_words)
        names = [name for name in batch if name != "attention_mask"]
        tokenised.features.extend(
            {name: np.array(batch[name][i], np.int32) for name in names} for i in range(len(part))
        )
        # Only fast tokenizers report what they cut off; for others a text of full length counts as cut.
        fast: Any = batch.encodings
        cut = [bool(item.overflowing) for item in fast] if fast else [len(i) == max_length for i in batch["input_ids"]]
        tokenised.over_length.extend(start + i for i, was_cut in enumerate(cut) if was_cut)
        if as_words:
            tokenised.words.extend([-1 if w is None else w for w in batch.word_ids(i)] for i in range(len(part)))
    return tokenised


class Padding:
    """Pads rows of ids to the longest row."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, device: torch.device) -> None:
        self._tokenizer, self._device = tokenizer, device
        self._multiple = 8 if device.type == "cuda" else None

    def inputs(self, features: Sequence[dict[str, Ids]]) -> Inputs:
        """Return padded inputs with the attention mask, (rows, longest) each, on the device."""
        plain = [{name: ids.tolist() for name, ids in feature.items()} for feature in features]
        padded = self._tokenizer.pad(plain, padding=True, pad_to_multiple_of=self._multiple, return_tensors="pt")
        return {name: value.to(self._device) for name, value in padded.items()}

    def targets(self, targets: Sequence[Ids], width: int) -> Tensor:
        """Return targets (rows, width) int64, padded with IGNORED on the side on which the inputs are padded."""
        padded = torch.full((len(targets), width), IGNORED)
        left = self._tokenizer.padding_side == "left"
        for row, values in enumerate(targets):
            filled = slice(width - len(values), width) if left else slice(0, len(values))
            padded[row, filled] = torch.from_numpy(values.astype(np.int64))
        return padded.to(self._device)


def epoch_steps(lengths: Tensor, per_step: int, seed: int, epoch: int) -> list[list[int]]:
    """Return the rows of each step of one epoch: a function of the arguments, so that a position suffices to resume.

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


class StepRows:
    """Callable that gives the rows of each step of a run, and keeps the orders of two epochs for reading ahead.

    Args:
        lengths: (n,) tokens of each row.
        per_step: rows of one optimizer step, over all processes.
    """

    def __init__(self, lengths: Tensor, per_step: int, seed: int, total_steps: int) -> None:
        self._lengths, self._per_step, self._seed, self._total_steps = lengths, per_step, seed, total_steps
        self._steps_per_epoch = -(-len(lengths) // per_step)
        self._epochs: dict[int, list[list[int]]] = {}  # number -> the rows of each of its steps

    def __call__(self, step: int) -> list[int]:
        """Return the rows of the step that follows `step` others; none after the last one."""
        if step >= self._total_steps:
            return []
        epoch, position = divmod(step, self._steps_per_epoch)
        if epoch not in self._epochs:
            before = {number: steps for number, steps in self._epochs.items() if number == epoch - 1}
            self._epochs = before | {epoch: epoch_steps(self._lengths, self._per_step, self._seed, epoch)}
        return self._epochs[epoch][position]

"""Goals: what is learned of a row, its loss, and the number by which a row's answer is judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Goal:
    """A kind of target.

    Attributes:
        outputs: of the head; 0 where the model writes a word.
        loss: of outputs (n, outputs) and targets (n,), the mean.
        value: of the same, (n,): the predicted number, else a margin that is above zero for class 1, or for the true
            one of many classes.
        signs: from targets to what the margins' signs should be.
    """

    measure: str
    outputs: int
    loss: Callable[[Tensor, Tensor], Tensor]
    value: Callable[[Tensor, Tensor], Tensor]
    signs: Callable[[Any], Any] = lambda targets: targets > 0

    @property
    def is_number(self) -> bool:
        return self.outputs == 1

    def score(self, values: Tensor, targets: Tensor) -> float:
        """Return percent of right answers, or 100 times Pearson's correlation."""
        if self.is_number:
            return 100 * float(torch.corrcoef(torch.stack([values, targets]).double())[0, 1].nan_to_num())
        return 100 * float(((values > 0) == self.signs(targets)).float().mean())


def _cross(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs.float(), targets.long())


def _squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.mse_loss(outputs.float()[:, 0], targets)


def _of_two(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs[:, 1] - outputs[:, 0]


def _first(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs[:, 0]


def _true_over_best_other(outputs: Tensor, targets: Tensor) -> Tensor:
    place = targets.long()[:, None]
    return (outputs.gather(1, place) - outputs.scatter(1, place, -torch.inf).amax(1, keepdim=True))[:, 0]


CLASSES = Goal("accuracy %", 2, _cross, _of_two)
NUMBERS = Goal("100 Pearson", 1, _squared, _first)
MANY_CLASSES = Goal("accuracy %", 10, _cross, _true_over_best_other, lambda targets: targets >= 0)


def word(negative: int, positive: int) -> Goal:
    """Answer with one of two tokens, learned against the whole vocabulary."""
    ids = torch.tensor([negative, positive])

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs.float(), ids.to(outputs.device)[targets.long()])

    def value(outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs[:, positive] - outputs[:, negative]

    return Goal("accuracy %", 0, loss, value)

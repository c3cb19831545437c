"""`Ranks`: what a run asks of its processes, in the form of a single one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from torch import Tensor

T = TypeVar("T")


class Ranks:
    """The processes of one run: here a single one, whose every call returns at once.

    Attributes:
        rank: of this process, from 0.
        size: number of processes.
        in_step: whether a forward pass takes all processes, as each holds a part of the base.
    """

    rank = 0
    size = 1
    in_step = False

    @property
    def is_first(self) -> bool:
        """Return whether this process reports, checkpoints and publishes."""
        return self.rank == 0

    @property
    def passes(self) -> bool:
        """Return whether this process makes the forward passes whose outcome the first alone needs."""
        return self.is_first or self.in_step

    @property
    def per_pass(self) -> int:
        """Return the number of processes that a forward pass takes."""
        return self.size if self.in_step else 1

    def any(self, flags: Sequence[bool]) -> list[bool]:
        """Return for each flag whether it is set in any process. Processes wait for each other, devices do not."""
        return list(flags)

    def from_first(self, value: T) -> T:
        """Return the first process's value, which must be JSON."""
        return value

    def gather(self, tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
        """Return the tensors of every process by rank, on the CPU; names and shapes may differ."""
        return [{name: tensor.cpu() for name, tensor in tensors.items()}]

    def add(self, tensor: Tensor) -> None:
        """Put the sum over all processes into a contiguous tensor of the device."""

    def align(self, tensors: Iterable[Tensor]) -> None:
        """Give tensors of the device the values that they have in the first process."""

    def wait(self) -> None:
        """Wait until every process is here."""

    @contextmanager
    def first_before_others(self) -> Iterator[None]:
        """Let the first process pass the block before the others, which then find its files."""
        yield

    def part(self) -> None:
        """Leave the others: nothing is left that processes do together."""

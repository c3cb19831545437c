"""What is counted between two logged steps."""

from __future__ import annotations

import resource
import sys
from typing import Any

import torch
from torch import Tensor


class Window:
    """Sums since the last log; the loss stays on its device until it is asked for.

    Attributes:
        loss: sum over all terms of the loss, () fp64.
        units, rows, tokens, steps: counts; padding is no token.
        seconds: time spent in training steps.
    """

    def __init__(self, device: torch.device) -> None:
        # fp64 where the device has it, so that a sum carried through a checkpoint is the same sum.
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.loss = torch.zeros((), dtype=dtype, device=device)
        self.units = self.rows = self.tokens = self.steps = 0
        self.seconds = 0.0

    def add(self, loss: Tensor, units: int, rows: int, tokens: int, seconds: float) -> None:
        """loss: mean over the step's terms."""
        self.loss += loss.detach().to(self.loss.dtype) * units
        self.units += units
        self.rows += rows
        self.tokens += tokens
        self.steps += 1
        self.seconds += seconds

    def values(self) -> dict[str, float | int | None]:
        seconds = max(self.seconds, 1e-9)
        return {
            "loss": float(self.loss) / max(1, self.units),
            "samples_per_second": self.rows / seconds,
            "tokens_per_second": self.tokens / seconds,
        }

    def restart(self) -> None:
        self.loss.zero_()
        self.units = self.rows = self.tokens = self.steps = 0
        self.seconds = 0.0

    def export(self) -> dict[str, Any]:
        return {
            "loss": float(self.loss),
            "units": self.units,
            "rows": self.rows,
            "tokens": self.tokens,
            "steps": self.steps,
            "seconds": self.seconds,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.loss.fill_(state["loss"])
        self.units, self.rows = state["units"], state["rows"]
        self.tokens, self.steps = state["tokens"], state["steps"]
        self.seconds = state["seconds"]


def memory_bytes(device: torch.device) -> int:
    """The most memory that was in use so far: the device's, or this process's on the CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

"""Sums of metrics between two logged steps."""

from __future__ import annotations

import resource
import sys
from typing import Any

import torch
from torch import Tensor


class MetricAccumulator:
    """Sums since the last logged step; the loss stays on its device until it is read.

    Attributes:
        loss: sum over all loss terms, () fp64.
        loss_terms, rows, tokens, steps: counts; padding does not count as tokens.
        seconds: time spent in training steps.
    """

    def __init__(self, device: torch.device) -> None:
        # fp64 where the device has it, so that a sum carried through a checkpoint is the same sum.
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.loss = torch.zeros((), dtype=dtype, device=device)
        self.loss_terms = self.rows = self.tokens = self.steps = 0
        self.seconds = 0.0

    def add(self, loss: Tensor, loss_terms: int, rows: int, tokens: int, seconds: float) -> None:
        """Add a step.

        Args:
            loss: mean over the step's loss terms, ().
        """
        self.loss += loss.detach().to(self.loss.dtype) * loss_terms
        self.loss_terms += loss_terms
        self.rows += rows
        self.tokens += tokens
        self.steps += 1
        self.seconds += seconds

    def values(self) -> dict[str, float | int | None]:
        """Return the mean loss and the throughput; reading the loss waits for the device."""
        seconds = max(self.seconds, 1e-9)
        return {
            "loss": float(self.loss) / max(1, self.loss_terms),
            "samples_per_second": self.rows / seconds,
            "tokens_per_second": self.tokens / seconds,
        }

    def restart(self) -> None:
        """Set all sums to zero."""
        self.loss.zero_()
        self.loss_terms = self.rows = self.tokens = self.steps = 0
        self.seconds = 0.0

    def export(self) -> dict[str, Any]:
        """Return the sums as JSON values; the names are those of the checkpoint format."""
        return {
            "loss": float(self.loss),
            "units": self.loss_terms,
            "rows": self.rows,
            "tokens": self.tokens,
            "steps": self.steps,
            "seconds": self.seconds,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `export` gave."""
        self.loss.fill_(state["loss"])
        self.loss_terms, self.rows = state["units"], state["rows"]
        self.tokens, self.steps = state["tokens"], state["steps"]
        self.seconds = state["seconds"]


def peak_memory_bytes(device: torch.device) -> int:
    """Return the peak memory so far: the device's, or this process's on the CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

"""Keep to a part of a GPU that other processes share."""

from __future__ import annotations

import torch


def limit_memory(share: float) -> None:
    """Let this process allocate no more than a part of its GPU's memory, as other processes count on the rest.

    Beyond that memory runs out as if the device were no larger, and batches are halved.

    Args:
        share: of the device's memory, from 0 to 1.
    """
    if torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(share)

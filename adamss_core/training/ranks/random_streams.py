"""Each rank's own stream of random numbers for dropout; rank 0's is that of a run in one process."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from adamss_core.training.ranks.ranks import Ranks


def start_stream(ranks: Ranks, seed: int, step: int) -> None:
    """Start the torch stream of a rank that has none from a checkpoint; rank 0's stays.

    Args:
        step: finished steps: a run that is resumed with more ranks must not draw again what it drew at its start.
    """
    if ranks.is_first:
        return
    digest = hashlib.sha256(f"{seed}:{ranks.rank}:{step}".encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:7]))


def own_stream() -> dict[str, Tensor]:
    """Return the state of this process's torch generators."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def other_streams(ranks: Ranks) -> dict[str, Tensor]:
    """Return the states of all ranks but the first, by names of the checkpoint format; every rank must call this."""
    if ranks.size == 1:
        return {}
    states = ranks.gather(own_stream())
    return {f"rank{rank}.{name}": state for rank, own in enumerate(states) if rank for name, state in own.items()}


def restore_stream(ranks: Ranks, saved: dict[str, Tensor], seed: int, step: int) -> None:
    """Continue the rank's stream from a checkpoint's tensors, or start one where the run had fewer ranks."""
    if ranks.is_first:
        return
    if (state := saved.get(f"rank{ranks.rank}.cpu")) is None:
        start_stream(ranks, seed, step)
        return
    torch.set_rng_state(state)
    if torch.cuda.is_available() and (state := saved.get(f"rank{ranks.rank}.cuda")) is not None:
        torch.cuda.set_rng_state(state)

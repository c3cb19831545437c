"""Add up the gradients that the ranks computed on their rows of one step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from adamss_core.training.ranks.ranks import Ranks


def add_gradients(ranks: Ranks, parameters: Sequence[nn.Parameter], loss: Tensor | None) -> Tensor | None:
    """Give all ranks the sums of their gradients and losses; every rank must call this.

    One message between hosts says which parameters have a gradient anywhere, and whether a rank failed; one between
    devices carries loss and gradients. A parameter without a gradient on any rank keeps none, as in a single process.

    Args:
        loss: this rank's share of the step's loss, () fp32; None where its memory ran out.

    Returns:
        The step's loss; None where memory ran out on any rank.
    """
    if ranks.size == 1:
        return loss
    failed, *present = ranks.any([loss is None, *(parameter.grad is not None for parameter in parameters)])
    if failed or loss is None:
        return None
    reached = [parameter for parameter, there in zip(parameters, present, strict=True) if there]
    pieces = [torch.zeros_like(one) if one.grad is None else one.grad for one in reached]
    flat = torch.cat([loss.detach().reshape(1).float(), *(piece.reshape(-1).float() for piece in pieces)])
    ranks.add(flat)
    total, *sums = flat.split([1, *(piece.numel() for piece in pieces)])
    for parameter, piece in zip(reached, sums, strict=True):
        parameter.grad = piece.view_as(parameter).to(parameter.dtype)
    return total.reshape(())

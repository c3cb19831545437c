"""Adaptive Subspace Allocation (ASA): importance averages, the pruning schedule, and the choice of subspaces.

Importance and uncertainty follow AdaLoRA (Zhang et al., ICLR 2023) as AdaMSS uses them:
  importance  <- EMA(|theta * grad|, importance_beta)
  uncertainty <- EMA(| |theta * grad| - importance |, uncertainty_beta), with the importance before its own update
  score of a subspace = mean(importance * uncertainty) over A_k, plus the same over B_k
"""

from __future__ import annotations

from collections import defaultdict

import torch
from peft import AdamssConfig
from torch import Tensor
from torch import distributed as dist
from torch.nn.utils import get_total_norm

from adamss_core.asa_state import AsaState
from adamss_core.errors import AsaStateError
from adamss_core.layer import AdamssLayer
from adamss_core.removal import remove_pruned


def is_mask_step(step: int, config: AdamssConfig) -> bool:
    """Return whether ASA prunes after `step`: every `mask_interval` steps of the ramp, and always at its end."""
    if not config.init_warmup <= step <= config.final_warmup:
        return False
    return step % config.mask_interval == 0 or step == config.final_warmup


def mask_steps(config: AdamssConfig) -> list[int]:
    """Return all mask steps of a schedule, ascending."""
    first = -(-config.init_warmup // config.mask_interval) * config.mask_interval
    steps = list(range(first, config.final_warmup + 1, config.mask_interval))
    return steps if steps and steps[-1] == config.final_warmup else [*steps, config.final_warmup]


def scheduled_subspaces(step: int, total: int, config: AdamssConfig) -> int:
    """Return how many subspaces may be active after `step`:

    target + (total - target) * (1 - (step - init) / (final - init)) ** exponent, rounded down.
    """
    target = min(config.asa_target_subspaces, total)
    if step <= config.init_warmup:
        return total
    if step >= config.final_warmup:
        return target
    left = 1 - (step - config.init_warmup) / (config.final_warmup - config.init_warmup)
    return int(target + (total - target) * left**config.asa_schedule_exponent)


def count_active(layers: list[AdamssLayer], adapter: str) -> int:
    """Return the number of active subspaces over all layers."""
    return sum(int(_state(layer, adapter).active.sum()) for layer in layers)


@torch.no_grad()
def update_importance(layers: list[AdamssLayer], adapter: str, config: AdamssConfig) -> None:
    """Add the current gradients to the averages; parameters without a gradient keep theirs.

    Gradients that are not finite are ignored (an overflow under loss scaling, whose step the optimizer skips too).
    Does not synchronise with the device.
    """
    by_device: dict[torch.device, list[tuple[Tensor, Tensor, Tensor, Tensor]]] = defaultdict(list)
    for layer in layers:
        a, b = layer.adamss_A[adapter], layer.adamss_B[adapter]
        importance_a, uncertainty_a, importance_b, uncertainty_b = _state(layer, adapter).ensure_averages(a, b)
        for value, importance, uncertainty in ((a, importance_a, uncertainty_a), (b, importance_b, uncertainty_b)):
            if value.grad is not None:
                by_device[value.device].append((value, value.grad, importance, uncertainty))
    for entries in by_device.values():
        values, gradients, importances, uncertainties = (list(column) for column in zip(*entries, strict=True))
        counts = torch.isfinite(get_total_norm(gradients)).to(torch.float32)
        current = [product.float() for product in torch._foreach_mul(values, gradients)]
        torch._foreach_abs_(current)
        for product in current:
            product.nan_to_num_(0.0, 0.0, 0.0)  # a zero weight alone would not keep NaN out
        change = torch._foreach_sub(current, importances)
        spread = torch._foreach_abs(change)
        torch._foreach_sub_(spread, uncertainties)
        torch._foreach_mul_(spread, counts * (1 - config.asa_uncertainty_beta))
        torch._foreach_add_(uncertainties, spread)
        torch._foreach_mul_(change, counts * (1 - config.asa_importance_beta))
        torch._foreach_add_(importances, change)


@torch.no_grad()
def prune(
    layers: list[AdamssLayer],
    adapter: str,
    keep: int,
    step: int,
    optimizer: torch.optim.Optimizer | None,
    *,
    is_wrapped: bool = False,
) -> None:
    """Keep the `keep` highest-scoring active subspaces over all layers, freeze the rest, and restart the averages.

    Ties are decided for the earlier module and subspace. Adapters that remove pruned subspaces lose the rest instead.

    Args:
        is_wrapped: whether a data-parallel wrapper holds the parameters in buffers of their first shape, so that none
            may shrink.
    """
    store_scores(layers, adapter)
    states = [_state(layer, adapter) for layer in layers]
    active = torch.cat([state.active for state in states])
    scores = torch.cat([state.score for state in states])
    candidates = torch.where(active)[0]
    order = torch.argsort(scores[candidates], descending=True, stable=True)
    pruned = torch.zeros_like(active)
    pruned[candidates[order[keep:]]] = True
    lost_by_layer = pruned.split([state.active.numel() for state in states])
    shrinkable = _shrinkable(None if is_wrapped else optimizer)
    for layer, lost in zip(layers, lost_by_layer, strict=True):
        if bool(lost.any()):
            _check_shapes(layer, adapter, shrinkable)
    for layer, state, lost in zip(layers, states, lost_by_layer, strict=True):
        state.restart_averages(step)
        if bool(lost.any()):
            state.pruned_at[lost] = step
            freeze(layer, adapter, optimizer if _may_shrink(layer, adapter, shrinkable) else None)


def store_scores(layers: list[AdamssLayer], adapter: str) -> None:
    """Update the scores of the active subspaces; the only function here that waits for the device, once."""
    states = [_state(layer, adapter) for layer in layers]
    pieces = [state.packed_scores() for state in states]
    flat = [piece.float().to(pieces_device(pieces)) for pair in pieces if pair is not None for piece in pair]
    if not flat:
        return
    values = list(torch.cat(flat).cpu().split([piece.numel() for piece in flat]))
    for layer, state, pair in zip(layers, states, pieces, strict=True):
        if pair is not None:
            fresh = state.subspace_scores(layer.layouts[adapter], values.pop(0), values.pop(0)).float()
            state.score = torch.where(state.active, fresh, state.score)
    _agree(states, flat[0].device)


def pieces_device(pieces: list[tuple[Tensor, Tensor] | None]) -> torch.device:
    """Return the device on which scores from several devices are gathered before the one transfer."""
    return next(pair[0].device for pair in pieces if pair is not None)


def _agree(states: list[AsaState], device: torch.device) -> None:
    """Give all ranks rank 0's scores.

    DDP's gradients agree already, but a user's own reduction may round differently on each rank.
    """
    if not is_distributed():
        return
    scores = torch.cat([state.score for state in states])
    if dist.get_backend() == "nccl":
        scores = scores.to(device)
    dist.broadcast(scores, src=0)
    for state, mine in zip(states, scores.cpu().split([s.score.numel() for s in states]), strict=True):
        state.score = mine.clone()


def freeze(layer: AdamssLayer, adapter: str, optimizer: torch.optim.Optimizer | None) -> None:
    """Freeze or remove the subspaces that `pruned_at` marks as pruned.

    Args:
        optimizer: pruned rows are removed from the parameters and from this optimizer's state; with None the shapes
            stay, and a mask is applied instead.
    """
    if optimizer is None:
        layer.freeze_pruned(adapter, compact=False)
        return
    state = _state(layer, adapter)
    parameters = (layer.adamss_A[adapter], layer.adamss_B[adapter])
    old_shapes = [p.shape for p in parameters]
    # Positions of the rows that the parameters contain so far; None for all.
    rows_before = (state.live_a, state.live_b) if state.compact else (None, None)
    if state.removes:
        rows_after: tuple[Tensor | None, Tensor | None] = remove_pruned(layer, adapter)
    else:
        layer.freeze_pruned(adapter, compact=True)
        rows_after = (state.live_a, state.live_b)
    for parameter, shape, before, after in zip(parameters, old_shapes, rows_before, rows_after, strict=True):
        assert after is not None
        remaining = after if before is None else torch.searchsorted(before, after)
        slots = optimizer.state.get(parameter, {})
        for name, value in slots.items():
            if isinstance(value, Tensor) and value.shape == shape:
                slots[name] = value.index_select(0, remaining)
        if parameter.numel() == 0:
            optimizer.state.pop(parameter, None)


def _shrinkable(optimizer: torch.optim.Optimizer | None) -> frozenset[int]:
    """Return the ids of the parameters that may lose rows: those of an optimizer whose state has their shapes.

    One slot of another shape rules the optimizer out: Adafactor factors its averages, LBFGS keeps all parameters in one
    vector.
    """
    if optimizer is None:
        return frozenset()
    for parameter, slots in optimizer.state.items():
        for value in slots.values():
            if isinstance(value, Tensor) and value.numel() > 1 and value.shape != parameter.shape:
                return frozenset()
    return frozenset(id(parameter) for group in optimizer.param_groups for parameter in group["params"])


def _may_shrink(layer: AdamssLayer, adapter: str, shrinkable: frozenset[int]) -> bool:
    return {id(layer.adamss_A[adapter]), id(layer.adamss_B[adapter])} <= shrinkable


def _check_shapes(layer: AdamssLayer, adapter: str, shrinkable: frozenset[int]) -> None:
    """Require the optimizer for parameters that have shrunk before: removed rows cannot be put back.

    Raises:
        AsaStateError: rows were removed before, and the optimizer for removing more is missing.
    """
    if _state(layer, adapter).compact and not _may_shrink(layer, adapter, shrinkable):
        raise AsaStateError(
            f"'{layer.module_name}' was pruned with its optimizer at hand, so its parameters have shrunk, and they "
            "cannot shrink further without it.",
            hint="Call update_and_allocate(step, optimizer=...) with the optimizer that trains this model, in a "
            "single process.",
            where=layer.module_name,
        )


def _state(layer: AdamssLayer, adapter: str) -> AsaState:
    state = layer.asa_state(adapter)
    assert state is not None
    return state


def is_distributed() -> bool:
    """Return whether this process is one of several."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1

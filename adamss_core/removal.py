"""Remove pruned subspaces from a layer (`asa_pruned="removed"`): rank 0 in the layout, and no A_k and B_k."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from adamss_core.asa_state import AVERAGES, AsaState
from adamss_core.layer import AdamssLayer, replace_data
from adamss_core.layout import SubspaceLayout


def remove_pruned(layer: AdamssLayer, adapter: str) -> tuple[Tensor, Tensor]:
    """Take pruned subspaces out of layout, A and B for good, with their effect, and discard the averages.

    The parameters stay the same objects; gradients are cut to fit.

    Returns:
        The positions in the former packed A and B of what stays.
    """
    state, layout = layer.asa_state(adapter), layer.layouts[adapter]
    assert state is not None
    assert state.removed_rank is not None
    packed_a, packed_b = layer.packed(adapter)
    rows_a = _cut(layer.adamss_A[adapter], packed_a, layout.spread(state.active, layout.lengths_a))
    rows_b = _cut(layer.adamss_B[adapter], packed_b, layout.spread(state.active, layout.lengths_b))
    state.removed_rank += torch.tensor(layout.ranks) * ~state.active
    _discard(state)
    layer.layouts[adapter] = layout.without(~state.active)
    layer.adamss_cells[adapter] = layer.layouts[adapter].cells().to(packed_a.device)
    return rows_a, rows_b


def removes_pruned(layers: Mapping[str, AdamssLayer], adapter: str) -> bool:
    """Return whether subspaces that ASA prunes are removed from the adapter, rather than frozen at their values."""
    states = [layer.asa_state(adapter) for layer in layers.values()]
    return any(state is not None and state.removes for state in states)


def finish_removal(layers: Mapping[str, AdamssLayer], adapter: str) -> None:
    """Remove what training could only mask; nothing where pruned subspaces are frozen."""
    if removes_pruned(layers, adapter):
        for layer in layers.values():
            remove_pruned(layer, adapter)


def emptied(layer: AdamssLayer, adapter: str) -> bool:
    """Return whether every subspace was removed, so that the layer is its base."""
    state = layer.asa_state(adapter)
    return state is not None and state.removes and layer.layouts[adapter].total_rank == 0


def first_layout(layer: AdamssLayer, adapter: str) -> SubspaceLayout:
    """Return the layout from before subspaces were removed."""
    layout, state = layer.layouts[adapter], layer.asa_state(adapter)
    if state is None or state.removed_rank is None:
        return layout
    ranks = zip(layout.ranks, state.removed_rank.tolist(), strict=True)
    return replace(layout, ranks=tuple(rank or removed for rank, removed in ranks))


def _cut(parameter: nn.Parameter, packed: Tensor, stays: Tensor) -> Tensor:
    """Reduce a parameter and its gradient to the rows that stay, and return their positions in the packed tensor."""
    positions = torch.where(stays)[0].to(packed.device)
    gradient = parameter.grad
    replace_data(parameter, packed.index_select(0, positions))
    if positions.numel() == 0:  # an emptied parameter gets no gradient: optimizers pass it by
        gradient = None
    parameter.grad = None if gradient is None else gradient.index_select(0, positions)
    return positions


def _discard(state: AsaState) -> None:
    """Drop whatever has the former shapes."""
    for name in (*AVERAGES, "frozen_a", "frozen_b", "live_a", "live_b"):
        setattr(state, name, None)

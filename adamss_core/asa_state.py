"""ASA's state of one layer of one adapter: masks, averages, and the values of pruned subspaces."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from adamss_core.delta import assemble
from adamss_core.errors import AsaStateError
from adamss_core.layout import SubspaceLayout

NEVER = -1  # in `masked_at`
ACTIVE = NEVER  # in `pruned_at`
AVERAGES = ("importance_a", "uncertainty_a", "importance_b", "uncertainty_b")


class AsaState(nn.Module):
    """Masks, averages and frozen values of the K subspaces of one layer.

    A pruned subspace's A_k and B_k live in `frozen_*` and are read from there, so no optimizer can move them. The
    parameters then either keep their shape, with `live_*` a bool mask, or have lost the pruned rows, with `live_*`
    the positions of the rest (see `delta.assemble`).

    Where pruned subspaces are removed (`removed_rank`), they have rank 0 in the layer's layout and no A_k and B_k at
    all, or, where the parameters cannot lose rows, a frozen B_k of zeros.

    Buffers:
        pruned_at: (K,) int64, the step at which a subspace was pruned, or ACTIVE.
        score: (K,) fp32, the score at the last mask step a subspace took part in.
        importance_a, uncertainty_a, importance_b, uncertainty_b: averages in the parameters' shapes, None while
            no gradient was added since the last mask step.
        removed_rank: (K,) int64, the rank that each removed subspace had, 0 for the others; None where pruned
            subspaces keep their values, as in PEFT.
        frozen_a, frozen_b: packed A and B with the pruned entries, None while nothing is pruned.
        live_a, live_b: as above, None while nothing is pruned.

    Attributes:
        masked_at: the last mask step so far, whether or not it pruned something here, or NEVER.
    """

    pruned_at: Tensor
    score: Tensor
    removed_rank: Tensor | None
    importance_a: Tensor | None
    uncertainty_a: Tensor | None
    importance_b: Tensor | None
    uncertainty_b: Tensor | None
    frozen_a: Tensor | None
    frozen_b: Tensor | None
    live_a: Tensor | None
    live_b: Tensor | None

    def __init__(self, num_subspaces: int, *, removes: bool) -> None:
        super().__init__()
        # Masks are read at mask steps and for reports only, so they stay on the CPU.
        self.pruned_at = torch.full((num_subspaces,), ACTIVE)
        self.score = torch.zeros(num_subspaces)
        self.removed_rank = torch.zeros(num_subspaces, dtype=torch.int64) if removes else None
        self.masked_at = NEVER
        for name in (*AVERAGES, "frozen_a", "frozen_b", "live_a", "live_b"):
            self.register_buffer(name, None, persistent=False)

    @property
    def active(self) -> Tensor:
        """Mask of the subspaces that are not pruned, (K,) bool."""
        return self.pruned_at == ACTIVE

    @property
    def removes(self) -> bool:
        """Whether pruned subspaces are removed, rather than frozen at their values."""
        return self.removed_rank is not None

    @property
    def compact(self) -> bool:
        """Whether pruned rows were removed from the parameters."""
        return self.live_a is not None and self.live_a.dtype != torch.bool

    def restart_averages(self, step: int) -> None:
        """Discard the averages after the mask step `step`."""
        self.masked_at = step
        for name in AVERAGES:
            setattr(self, name, None)

    def ensure_averages(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the four averages, starting them at zero in the shapes of the parameters where there are none."""
        if self.importance_a is None:
            for name, like in zip(AVERAGES, (a, a, b, b), strict=True):
                setattr(self, name, torch.zeros_like(like, dtype=torch.float32, requires_grad=False))
        averages = self.averages()
        assert averages is not None
        return averages

    def averages(self) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
        """Return importance and uncertainty of A, then of B; None before the first gradient after a mask step."""
        a, ua, b, ub = self.importance_a, self.uncertainty_a, self.importance_b, self.uncertainty_b
        return None if a is None or ua is None or b is None or ub is None else (a, ua, b, ub)

    def packed_scores(self) -> tuple[Tensor, Tensor] | None:
        """Return importance * uncertainty as row means of packed A (rows,) and elements of packed B, or None.

        Stays on the device; one value per row of A suffices because all rows of A have the same length.
        """
        averages = self.averages()
        if averages is None:
            return None
        importance_a, uncertainty_a, importance_b, uncertainty_b = averages
        return (importance_a * uncertainty_a).mean(1), importance_b * uncertainty_b

    def subspace_scores(self, layout: SubspaceLayout, rows_a: Tensor, elements_b: Tensor) -> Tensor:
        """Return the mean over A_k plus the mean over B_k for each subspace, from `packed_scores`: (K,) fp64."""
        score = torch.zeros(layout.num_subspaces, dtype=torch.float64)
        for values, lengths in ((rows_a, layout.lengths_a), (elements_b, layout.lengths_b)):
            owner = layout.spread(torch.arange(layout.num_subspaces), lengths)
            if self.compact:
                owner = owner[layout.spread(self.active, lengths)]
            total = torch.zeros_like(score).index_add_(0, owner, values.double())
            score += total / torch.tensor(lengths, dtype=torch.float64).clamp(min=1)  # none are left of a removed one
        return score

    def extra_repr(self) -> str:
        return f"active={int(self.active.sum())} of {self.pruned_at.numel()}, compact={self.compact}"

    def export(self, layout: SubspaceLayout) -> dict[str, Tensor]:
        """Return all tensors but the frozen values, averages spread to the full packed shapes, on the CPU."""
        tensors = {
            "pruned_at": self.pruned_at.clone(),
            "score": self.score.clone(),
            "compact": torch.tensor(self.compact),
            "masked_at": torch.tensor(self.masked_at),
        }
        if self.removed_rank is not None:
            tensors["removed_rank"] = self.removed_rank.clone()
        for name in AVERAGES:
            value = getattr(self, name)
            if value is None:
                continue
            lengths = layout.lengths_a if name.endswith("_a") else layout.lengths_b
            if self.compact:
                full = value.new_zeros(sum(lengths), *value.shape[1:])
                live = self.live_a if name.endswith("_a") else self.live_b
                value = assemble(value, full, live)
            tensors[name] = value.detach().cpu().clone()
        return tensors

    def restore_masks(self, tensors: dict[str, Tensor]) -> None:
        """Set what belongs to whole subspaces from `export`'s tensors, checked by `check_exported`."""
        self.pruned_at = tensors["pruned_at"].cpu().long().clone()
        self.score = tensors["score"].cpu().float().clone()
        removed = tensors.get("removed_rank")
        self.removed_rank = None if removed is None else removed.cpu().long().clone()
        self.masked_at = int(tensors["masked_at"])


def check_exported(tensors: Any, num_subspaces: int, packed_a: Tensor, packed_b: Tensor, module: str) -> None:
    """Raise AsaStateError unless `tensors` could be an `AsaState.export` of a layer of these shapes.

    Args:
        packed_a, packed_b: the layer's packed A (R, r) and B (sum |I_k| r_k,).
    """
    given = tensors if isinstance(tensors, dict) else {}
    shapes: dict[str, tuple[int, ...]] = {"pruned_at": (num_subspaces,), "score": (num_subspaces,)}
    shapes |= {"compact": (), "masked_at": ()}
    shapes |= {"removed_rank": (num_subspaces,)} if "removed_rank" in given else {}
    if any(name in given for name in AVERAGES):  # either all four or none
        shapes |= {name: tuple((packed_a if name.endswith("_a") else packed_b).shape) for name in AVERAGES}
    for name, shape in shapes.items():
        value = given.get(name)
        actual = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else "no tensor"
        if not isinstance(value, Tensor) or tuple(value.shape) != shape:
            raise _unfit(name, module, f"should have shape {shape}, but {actual} was found")
        if not bool(torch.isfinite(value).all()):
            raise _unfit(name, module, "holds NaN or infinite values")
    for name in ("pruned_at", "masked_at"):
        if given[name].is_floating_point() or bool((given[name] < NEVER).any()):
            raise _unfit(name, module, f"holds something other than steps (or {NEVER} for none)")


def _unfit(name: str, module: str, problem: str) -> AsaStateError:
    return AsaStateError(
        f"'{name}' of module '{module}' {problem}.",
        hint="Use the ASA state that was saved together with this adapter.",
        where=module,
    )

"""What ASA remembers about one layer of one adapter: masks, averages, and the values of pruned subspaces."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adamss_core.delta import assemble
from adamss_core.errors import AsaStateError
from adamss_core.layout import SubspaceLayout

ACTIVE = -1  # in `pruned_at`
AVERAGES = ("importance_a", "uncertainty_a", "importance_b", "uncertainty_b")


class AsaState(nn.Module):
    """ASA's state for the K subspaces of one layer.

    A pruned subspace's A_k and B_k live in `frozen_*` and are read from there, so no optimizer can move them. The
    parameters then either keep their shape, with `live_*` a bool mask, or have lost the pruned rows, with `live_*`
    the positions of the rest (see `delta.assemble`).

    Buffers:
        pruned_at: (K,) int64, the step at which a subspace was pruned, or ACTIVE.
        score: (K,) fp32, the score at the last mask step a subspace took part in.
        importance_a, uncertainty_a, importance_b, uncertainty_b: averages in the parameters' shapes, None where the
            window since the last mask step is still empty.
        frozen_a, frozen_b: packed A and B with the pruned entries, None while nothing is pruned.
        live_a, live_b: see above, None while nothing is pruned.
    """

    pruned_at: Tensor
    score: Tensor
    importance_a: Tensor | None
    uncertainty_a: Tensor | None
    importance_b: Tensor | None
    uncertainty_b: Tensor | None
    frozen_a: Tensor | None
    frozen_b: Tensor | None
    live_a: Tensor | None
    live_b: Tensor | None

    def __init__(self, num_subspaces: int) -> None:
        super().__init__()
        # Masks are only read at mask steps and for reports, on the CPU: no device is waited for.
        self.pruned_at = torch.full((num_subspaces,), ACTIVE)
        self.score = torch.zeros(num_subspaces)
        for name in (*AVERAGES, "frozen_a", "frozen_b", "live_a", "live_b"):
            self.register_buffer(name, None, persistent=False)

    @property
    def active(self) -> Tensor:
        """(K,) bool."""
        return self.pruned_at == ACTIVE

    @property
    def compact(self) -> bool:
        """Whether pruned rows were taken out of the parameters."""
        return self.live_a is not None and self.live_a.dtype != torch.bool

    def restart_averages(self) -> None:
        for name in AVERAGES:
            setattr(self, name, None)

    def ensure_averages(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The four averages, begun at zero in the shapes of the parameters where the window is new."""
        if self.importance_a is None:
            for name, like in zip(AVERAGES, (a, a, b, b), strict=True):
                setattr(self, name, torch.zeros_like(like, dtype=torch.float32, requires_grad=False))
        averages = self.averages()
        assert averages is not None
        return averages

    def averages(self) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
        """Importance and uncertainty of A, then of B; None where the window is still empty."""
        a, ua, b, ub = self.importance_a, self.uncertainty_a, self.importance_b, self.uncertainty_b
        return None if a is None or ua is None or b is None or ub is None else (a, ua, b, ub)

    def packed_scores(self) -> tuple[Tensor, Tensor] | None:
        """importance * uncertainty as row means of packed A (rows,) and elements of packed B; None without averages.

        Stays on the device; one value per row of A suffices because all rows of A have the same length.
        """
        averages = self.averages()
        if averages is None:
            return None
        importance_a, uncertainty_a, importance_b, uncertainty_b = averages
        return (importance_a * uncertainty_a).mean(1), importance_b * uncertainty_b

    def subspace_scores(self, layout: SubspaceLayout, rows_a: Tensor, elements_b: Tensor) -> Tensor:
        """mean over A_k plus mean over B_k for each subspace, from `packed_scores` on the CPU: (K,) fp64."""
        score = torch.zeros(layout.num_subspaces, dtype=torch.float64)
        for values, lengths in ((rows_a, layout.lengths_a), (elements_b, layout.lengths_b)):
            owner = layout.spread(torch.arange(layout.num_subspaces), lengths)
            if self.compact:
                owner = owner[layout.spread(self.active, lengths)]
            total = torch.zeros_like(score).index_add_(0, owner, values.double())
            score += total / torch.tensor(lengths, dtype=torch.float64)
        return score

    def extra_repr(self) -> str:
        return f"active={int(self.active.sum())} of {self.pruned_at.numel()}, compact={self.compact}"

    def export(self, layout: SubspaceLayout) -> dict[str, Tensor]:
        """Everything but the frozen values, averages spread to the full packed shapes, on the CPU."""
        tensors = {
            "pruned_at": self.pruned_at.clone(),
            "score": self.score.clone(),
            "compact": torch.tensor(self.compact),
        }
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

    def restore_masks(self, tensors: dict[str, Tensor], module: str) -> None:
        """Sets `pruned_at` and `score` from `export`'s tensors.

        Raises:
            AsaStateError: a tensor is missing or of another shape.
        """
        for name in ("pruned_at", "score", "compact"):
            expected = () if name == "compact" else tuple(self.pruned_at.shape)
            if name not in tensors or tuple(tensors[name].shape) != expected:
                found = tuple(tensors[name].shape) if name in tensors else "nothing"
                raise AsaStateError(
                    f"'{name}' of module '{module}' should have shape {expected}, but {found} was found.",
                    hint="Use the ASA state that was saved together with this adapter.",
                    where=module,
                )
        self.pruned_at = tensors["pruned_at"].cpu().long().clone()
        self.score = tensors["score"].cpu().float().clone()

"""The layout of a layer's subspaces: their output rows, and their positions in packed A and B.

Packed A stacks all A_k: (R, r) with R = sum of r_k. Packed B is flat: every B_k (|I_k|, r_k) row-major, in
order. With one A, one B and one scatter per layer, the number of operations does not depend on K.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class SubspaceLayout:
    """Rows and ranks of the K subspaces of one layer.

    Attributes:
        rows: (out,) int64 on the CPU, the subspace of each output row.
        ranks: r_k of each subspace; 0 where it was removed, which leaves its rows without an update.
        trained: (out,) bool on the CPU, the rows whose B is packed; None for all. B of the others is zero for good.
    """

    rows: Tensor
    ranks: tuple[int, ...]
    trained: Tensor | None = None

    @classmethod
    def of_stored(cls, stored: Tensor, ranks: tuple[int, ...]) -> SubspaceLayout:
        """Make the layout whose `stored_rows` these are."""
        stored = stored.cpu().long()
        trained = stored >= 0
        return cls(torch.where(trained, stored, -1 - stored), ranks, None if bool(trained.all()) else trained)

    def stored_rows(self) -> Tensor:
        """Return the subspace k of each row, as -1 - k where its B is not trained: (out,) int32."""
        rows = self.rows if self.trained is None else torch.where(self.trained, self.rows, -1 - self.rows)
        return rows.to(torch.int32)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """|I_k| of each subspace."""
        return tuple(torch.bincount(self.rows, minlength=len(self.ranks)).tolist())

    @cached_property
    def trained_sizes(self) -> tuple[int, ...]:
        """Rows of each subspace whose B is packed."""
        rows = self.rows if self.trained is None else self.rows[self.trained]
        return tuple(torch.bincount(rows, minlength=len(self.ranks)).tolist())

    @property
    def num_subspaces(self) -> int:
        return len(self.ranks)

    @property
    def total_rank(self) -> int:
        """R, the number of rows of packed A."""
        return sum(self.ranks)

    @property
    def out_features(self) -> int:
        return self.rows.numel()

    @property
    def lengths_a(self) -> tuple[int, ...]:
        """Rows of packed A that each subspace takes."""
        return self.ranks

    @property
    def lengths_b(self) -> tuple[int, ...]:
        """Elements of packed B that each subspace takes."""
        return tuple(size * rank for size, rank in zip(self.trained_sizes, self.ranks, strict=True))

    @property
    def whole(self) -> SubspaceLayout:
        """Return the layout in which B of every row is packed."""
        return replace(self, trained=None)

    def fill(self, packed_b: Tensor) -> Tensor:
        """Return packed B of the whole layout, with zeros for the rows that are not trained."""
        if self.trained is None:
            return packed_b
        filled = packed_b.new_zeros(sum(self.whole.lengths_b))
        filled[self.trained_elements().to(packed_b.device)] = packed_b
        return filled

    def trained_elements(self) -> Tensor:
        """Return which elements of the whole layout's packed B are packed here: (sum |I_k| r_k,) bool on the CPU."""
        order = self.rows.argsort(stable=True)
        trained = torch.ones_like(self.rows, dtype=torch.bool) if self.trained is None else self.trained
        return torch.repeat_interleave(trained[order], torch.tensor(self.ranks)[self.rows[order]])

    def members(self, subspace: int) -> Tensor:
        """Return the output rows of one subspace, ascending: (|I_k|,)."""
        return torch.where(self.rows == subspace)[0]

    def cells(self) -> Tensor:
        """Return the flat indices of packed B's elements in the dense B^T (R, out): (sum |I_k| r_k,)."""
        ranks = torch.tensor(self.ranks)
        order = self.rows.argsort(stable=True)  # rows by subspace: (out,)
        if self.trained is not None:
            order = order[self.trained[order]]
        rank = ranks[self.rows[order]]  # r_k of each of them
        first = (ranks.cumsum(0) - ranks)[self.rows[order]]  # where the directions of its subspace begin
        element = torch.arange(int(rank.sum())) - torch.repeat_interleave(rank.cumsum(0) - rank, rank)
        direction = torch.repeat_interleave(first, rank) + element
        return direction * self.out_features + torch.repeat_interleave(order, rank)

    def spread(self, per_subspace: Tensor, lengths: tuple[int, ...]) -> Tensor:
        """Repeat one value per subspace to one value per row of packed A or element of packed B."""
        return torch.repeat_interleave(per_subspace, torch.tensor(lengths))

    def without(self, removed: Tensor) -> SubspaceLayout:
        """Return the layout that has rank 0 for the removed subspaces, a mask of (K,) bool."""
        pairs = zip(self.ranks, removed.tolist(), strict=True)
        return replace(self, ranks=tuple(0 if gone else rank for rank, gone in pairs))

    def unpack(self, packed_a: Tensor, packed_b: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return the pairs A_k (r_k, r), B_k (trained rows of I_k, r_k) as views of packed A and B."""
        return [
            (a, b.view(size, rank))
            for a, b, size, rank in zip(
                packed_a.split(self.lengths_a),
                packed_b.split(self.lengths_b),
                self.trained_sizes,
                self.ranks,
                strict=True,
            )
        ]

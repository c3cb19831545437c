"""Bound the sizes of A and B by the numbers of rows and subspaces: how the rows cluster depends on the weights."""

from __future__ import annotations

from typing import NamedTuple


class PackedSizes(NamedTuple):
    """Bounds over all ways to divide the rows, each subspace with one at least: ranks are A's rows, b B's elements."""

    least_ranks: int
    most_ranks: int
    least_b: int
    most_b: int


def packed_sizes(rows: int, subspaces: int, rank: int, *, dynamic: bool) -> PackedSizes:
    """Return the bounds for subspaces of s rows that have rank min(s, rank), or with `dynamic` 1 to that.

    Args:
        rank: at most `rows`.
    """
    spare = rows - subspaces
    most_ranks, most_b = min(subspaces * rank, rows), _most_b(subspaces, spare, rank)
    if dynamic:
        return PackedSizes(subspaces, most_ranks, rows, most_b)
    # All but one with a single row.
    least_ranks = subspaces - 1 + min(rank, spare + 1)
    return PackedSizes(least_ranks, most_ranks, _least_b(rows, subspaces, rank), most_b)


def _least_b(rows: int, subspaces: int, rank: int) -> int:
    """Return a lower bound of the sum of s * min(s, rank)."""
    if rows - subspaces < rank:  # none has more than `rank` rows: a sum of squares, least where sizes are even
        size, larger = divmod(rows, subspaces)
        return (subspaces - larger) * size**2 + larger * (size + 1) ** 2
    # A subspace of s < rank rows has s * (rank - s) elements fewer than s * rank, which is largest in the middle.
    short = subspaces - (rows >= subspaces * rank)  # one at least has `rank` rows then
    return max(rows, rows * rank - short * (rank**2 // 4))


def _most_b(subspaces: int, spare: int, rank: int) -> int:
    """Return the largest sum of s * min(s, rank): as many subspaces of `rank` rows as the spare rows fill."""
    if rank == 1:
        return subspaces + spare
    full = min(subspaces, spare // (rank - 1))
    left = spare - full * (rank - 1)
    if full:
        return full * rank**2 + (subspaces - full) + left * rank
    return (1 + left) ** 2 + subspaces - 1


def trained_rows(rows: int, share: float, subspaces: int) -> int:
    """Return how many of a module's output rows are trained: at least one of each subspace."""
    return max(round(share * rows), min(subspaces, rows))

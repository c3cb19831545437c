"""Divide the rows of a step, or of an evaluation, among ranks, so that they end at about the same time."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def shares_by_cost(rows: Sequence[int], lengths: Tensor, size: int, *, packs: bool = False) -> list[list[int]]:
    """Return each rank's rows of a step; a function of the arguments, so that each rank knows the shares of all.

    A padded batch costs its rows times its longest row. The rows are therefore sorted by length and cut, so that the
    dearest share is as cheap as it can be. A packed batch costs its tokens: there each row goes to the rank with the
    fewest.

    Args:
        lengths: (n,) tokens of all examples.
        packs: whether several rows share a row of the batch.

    Returns:
        By rank, the longest row first; without rows where there are fewer rows than ranks.
    """
    if size == 1:
        return [list(rows)]
    tokens = {row: int(length) for row, length in zip(rows, lengths[list(rows)].tolist(), strict=True)}
    ordered = sorted(rows, key=lambda row: -tokens[row])
    shares = _by_tokens(ordered, tokens, size) if packs else _cut(ordered, tokens, _cheapest(ordered, tokens, size))
    return [*shares, *([] for _ in range(size - len(shares)))]


def shares_in_turn(rows: Sequence[int], size: int) -> list[list[int]]:
    """Return each rank's rows of an evaluation, dealt one after the other: of sorted rows, all get like lengths."""
    return [list(rows[rank::size]) for rank in range(size)]


def _by_tokens(ordered: Sequence[int], tokens: dict[int, int], size: int) -> list[list[int]]:
    shares: list[list[int]] = [[] for _ in range(size)]
    loads = [0] * size
    for row in ordered:
        lightest = loads.index(min(loads))
        shares[lightest].append(row)
        loads[lightest] += tokens[row]
    return shares


def _cheapest(ordered: Sequence[int], tokens: dict[int, int], size: int) -> int:
    """Return the smallest cost at which `size` shares suffice, by bisection."""
    if not ordered:
        return 0
    low, high = max(1, tokens[ordered[0]]), max(1, tokens[ordered[0]]) * len(ordered)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if len(_cut(ordered, tokens, middle)) <= size else (middle + 1, high)
    return low


def _cut(ordered: Sequence[int], tokens: dict[int, int], cost: int) -> list[list[int]]:
    """Cut rows, the longest first, into as few shares as cost at most this much."""
    shares: list[list[int]] = []
    start = 0
    while start < len(ordered):
        count = max(1, cost // max(1, tokens[ordered[start]]))
        shares.append(list(ordered[start : start + count]))
        start += count
    return shares

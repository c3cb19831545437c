from __future__ import annotations

from collections.abc import Iterator

from adamss_core.spec.packed_sizes import packed_sizes


def divisions(rows: int, subspaces: int, smallest: int = 1) -> Iterator[tuple[int, ...]]:
    """Every way to divide rows into subspaces with one row at least."""
    if subspaces == 1:
        yield (rows,)
        return
    for size in range(smallest, rows // subspaces + 1):
        yield from ((size, *others) for others in divisions(rows - size, subspaces - 1, size))


def test_bounds_hold_for_every_division_of_the_rows() -> None:
    for rows in range(1, 13):
        for subspaces, rank in ((k, r) for k in range(1, rows + 1) for r in range(1, rows + 1)):
            found = packed_sizes(rows, subspaces, rank, dynamic=False)
            ranks, sizes = [], []
            for division in divisions(rows, subspaces):
                ranks.append(sum(min(size, rank) for size in division))
                sizes.append(sum(size * min(size, rank) for size in division))
            assert (found.least_ranks, found.most_ranks, found.most_b) == (min(ranks), max(ranks), max(sizes))
            assert found.least_b <= min(sizes)
            if rank == 1 or subspaces in (1, rows):
                assert found.least_b == found.most_b, "nothing depends on the weights"


def test_a_dynamic_rank_is_one_at_least() -> None:
    assert packed_sizes(64, 4, 3, dynamic=True) == (4, 12, 64, 192)
    assert packed_sizes(64, 4, 1, dynamic=True) == (4, 4, 64, 64)

from __future__ import annotations

import pytest
import torch

from adamss_core.training.ranks.shares import shares_by_cost, shares_in_turn


def shares(lengths: list[int], size: int, *, packs: bool = False) -> list[list[int]]:
    return shares_by_cost(list(range(len(lengths))), torch.tensor(lengths), size, packs=packs)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("packs", [False, True])
def test_every_row_is_in_one_share(size: int, packs: bool) -> None:
    divided = shares([5, 9, 1, 1, 30, 7], size, packs=packs)
    assert sorted(row for share in divided for row in share) == [0, 1, 2, 3, 4, 5]


def test_rows_of_one_length_are_divided_evenly() -> None:
    assert [len(share) for share in shares([4] * 8, 4)] == [2, 2, 2, 2]
    assert [len(share) for share in shares([4] * 5, 2)] == [3, 2]


def test_a_padded_share_costs_its_longest_row_times_its_rows() -> None:
    """In turns, the ranks would cost 500 and 500 padded tokens; cut by length they cost 100 and 90."""
    assert shares([10, 10, 100, 10, 10, 10, 10, 10, 10, 10], 2) == [[2], [0, 1, 3, 4, 5, 6, 7, 8, 9]]


def test_a_packed_share_costs_its_tokens() -> None:
    lengths = [60, 50, 40, 30, 20, 10]
    assert [sum(lengths[row] for row in share) for share in shares(lengths, 2, packs=True)] == [110, 100]


def test_fewer_rows_than_ranks_leave_some_without() -> None:
    assert shares([3, 5], 4) == [[1], [0], [], []]


@pytest.mark.parametrize(("rows", "size"), [(7, 2), (2, 4), (0, 2)])
def test_an_evaluation_has_every_row_once_and_the_first_rank_has_the_most(rows: int, size: int) -> None:
    dealt = shares_in_turn(list(range(rows)), size)
    assert sorted(row for share in dealt for row in share) == list(range(rows))
    assert len(dealt) == size
    assert [len(dealt[0]) - len(share) for share in dealt] in ([0] * size, [0] + [1] * (size - 1), [0, 0, 1, 1])

"""Rows are named by their numbers in the file, whichever are left out."""

from __future__ import annotations

import random

import pytest

from service.datasets.row_numbers import RowNumbers


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_numbers_are_those_that_were_added(share: float) -> None:
    source = random.Random(0)
    numbers = [number for number in range(1, 300) if number == 7 or source.random() >= share]
    kept = RowNumbers()
    for number in numbers:
        kept.add(number)
    assert [kept.of(place) for place in range(len(numbers))] == numbers


def test_numbers_may_begin_again_as_those_of_the_files_of_an_archive_do() -> None:
    kept = RowNumbers()
    for number in (1, 2, 3, 1, 2, 5):
        kept.add(number)
    assert [kept.of(place) for place in range(6)] == [1, 2, 3, 1, 2, 5]

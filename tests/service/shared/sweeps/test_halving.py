"""Halving: against a direct reading of the rule, and in whatever order evaluations arrive."""

from __future__ import annotations

import random
from typing import Literal

import pytest

from service.shared.sweeps.halving import TrialProgress, stopped_after

EVALUATIONS = 8


def expected(values: list[list[float]], direction: Literal["max", "min"], first: int, factor: int) -> list[int | None]:
    """Compare each trial at each rung with those before it, as asynchronous successive halving does."""
    stops: list[int | None] = [None] * len(values)
    rung = first
    while rung <= EVALUATIONS:
        seen: list[float] = []
        for number, series in enumerate(values):
            if stops[number] is not None:
                continue
            seen.append(series[rung - 1])
            passing = sorted(seen, reverse=direction == "max")[: max(1, len(seen) // factor)]
            if series[rung - 1] not in passing:
                stops[number] = rung
        rung *= factor
    return stops


def curves(seed: int, trials: int = 12) -> list[list[float]]:
    source = random.Random(seed)
    return [[source.random() for _ in range(EVALUATIONS)] for _ in range(trials)]


@pytest.mark.parametrize("direction", ["max", "min"])
@pytest.mark.parametrize(("first", "factor"), [(1, 2), (2, 2), (1, 3)])
def test_stops_are_those_of_the_rule(direction: Literal["max", "min"], first: int, factor: int) -> None:
    values = curves(first + factor)
    found = stopped_after([TrialProgress(series, True) for series in values], direction, first, factor)
    assert found == expected(values, direction, first, factor)
    assert 0 < sum(stop is None for stop in found) < len(found)


def test_what_was_decided_stays_in_whatever_order_evaluations_arrive() -> None:
    values = curves(7, trials=6)
    final = stopped_after([TrialProgress(series, True) for series in values], "max", 1, 2)
    source = random.Random(0)
    for _ in range(5):
        made = [0] * len(values)
        decided: list[int | None] = [None] * len(values)
        while open_ := [n for n in range(len(values)) if made[n] < EVALUATIONS and decided[n] is None]:
            made[source.choice(open_)] += 1
            trials = [
                TrialProgress(series[:count], count == EVALUATIONS or stop is not None)
                for series, count, stop in zip(values, made, decided, strict=True)
            ]
            now = stopped_after(trials, "max", 1, 2)
            assert all(before in (None, after) for before, after in zip(decided, now, strict=True))
            decided = now
        assert decided == final


@pytest.mark.parametrize("direction", ["max", "min"])
def test_an_undefined_value_is_the_worst_and_no_worse_than_another_one(direction: Literal["max", "min"]) -> None:
    undefined = TrialProgress([None, None], False)
    assert stopped_after([undefined] * 4, direction, 1, 2) == [None] * 4
    later = [undefined, TrialProgress([0.5, 0.4], False), undefined]
    assert stopped_after(later, direction, 1, 2) == [None, None, 1]


def test_a_trial_without_a_number_stops_and_one_that_failed_holds_up_nobody() -> None:
    trials = [
        TrialProgress([0.5], True),
        TrialProgress([], True),
        TrialProgress([None], False),
        TrialProgress([0.9], False),
    ]
    assert stopped_after(trials, "max", 1, 2) == [None, None, 1, None]


def test_a_trial_is_judged_after_those_before_it() -> None:
    waiting = [TrialProgress([], False), TrialProgress([0.1], False)]
    assert stopped_after(waiting, "max", 1, 2) == [None, None]
    assert stopped_after([TrialProgress([0.9], False), waiting[1]], "max", 1, 2) == [None, 1]

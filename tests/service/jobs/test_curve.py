"""A curve that is kept up to date, against the extremes of the whole history."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from service.jobs.curve import FINE, Curve, Row


def history(length: int, seed: int = 0) -> list[Row]:
    """Steps of training with an evaluation after each hundredth, and gaps where events and maps have numbers."""
    source, seq = random.Random(seed), 0
    rows: list[Row] = []
    for step in range(1, length + 1):
        seq += source.choice((1, 1, 1, 3))
        rows.append((seq, "train", step, 1, source.gauss(0, 1), abs(source.gauss(0, 1))))
        if not step % 100:
            seq += 1
            rows.append((seq, "eval", step, 1, None, None))
    return rows


def drawn(rows: list[Row], points: int, pieces: int = 1) -> list[int]:
    """The choice after the rows came in pieces, with looks in between."""
    curve = Curve(("loss", "grad_norm"), points, whole=True)
    size = -(-len(rows) // pieces)
    for start in range(0, len(rows), size):
        assert curve.add(rows[start : start + size])
        curve.choose()
    return curve.choose()


@pytest.mark.parametrize("points", [1, 2, 3, 7, 50, 499, 10_000])
@pytest.mark.parametrize("length", [1, 2, 49, 5_000])
def test_ends_and_extremes_stay_within_the_room(points: int, length: int) -> None:
    rows = history(length)
    chosen = drawn(rows, points)
    assert chosen == sorted(set(chosen))
    assert set(chosen) <= {row[0] for row in rows}
    assert len(chosen) <= points
    assert chosen[0] == rows[0][0]
    if len(rows) <= points:
        assert chosen == [row[0] for row in rows]
        return
    if points > 1:
        assert chosen[-1] == rows[-1][0]
    if points >= 50:
        for name in (4, 5):
            values = [row for row in rows if row[name] is not None]
            for extreme in (min, max):
                assert extreme(values, key=lambda row: row[name])[0] in chosen
        assert {row[0] for row in rows if row[1] == "eval"} & set(chosen)


def test_looks_in_between_change_nothing() -> None:
    rows = history(3_000)
    assert drawn(rows, 200) == drawn(rows, 200, pieces=300)


def test_points_lie_evenly() -> None:
    rows = [row for row in history(20_000) if row[1] == "train"]
    chosen = drawn(rows, 400)
    assert len(chosen) > 250
    assert max(later - earlier for earlier, later in pairwise(chosen)) < 5 * (rows[-1][0] - rows[0][0]) / 100


def test_the_earliest_of_equal_extremes_is_chosen() -> None:
    curve = Curve(("loss",), 4, whole=False)
    assert curve.add([(seq, "train", seq, 1, float(seq in (30, 60))) for seq in range(1, 101)])
    assert curve.choose() == [1, 30, 100]


def test_memory_does_not_grow_with_the_history() -> None:
    curve = Curve(("loss",), 100, whole=False)
    curve.add((seq, "train", seq, 1, 0.5) for seq in range(1, 50_000))
    assert len(curve._buckets[0]) <= FINE * 49
    assert len(curve._all) <= 100


def test_a_step_that_comes_again_makes_a_curve_useless() -> None:
    for again in ((101, "train", 50, 2, 0.5), (101, "train", 100, 1, 0.5)):
        curve = Curve(("loss",), 10, whole=False)
        assert curve.add((seq, "train", seq, 1, 0.5) for seq in range(1, 101))
        assert not curve.add([again])
    assert Curve(("loss",), 10, whole=False).add([(1, "train", 5, 1, 0.5), (2, "eval", 5, 1, 0.5)])


def test_a_history_out_of_order_is_drawn_as_it_is() -> None:
    """Reports that a killed attempt left behind are written later, under higher numbers."""
    curve = Curve(("loss",), 10, whole=False)
    assert curve.add((seq, "train", 200 - seq, 1, float(seq)) for seq in range(1, 101))
    assert (curve.choose()[0], curve.choose()[-1]) == (1, 100)
    assert curve.add([(101, "train", 200, 1, 0.5)])
    assert not curve.add([(102, "train", 150, 1, 0.5)])

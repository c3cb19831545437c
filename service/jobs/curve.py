"""A curve of few points from many rows: the lowest and highest value of each stretch, kept up to date row by row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from threading import Lock
from typing import Any

FINE = 8  # buckets for each stretch of a curve before neighbours are merged in pairs
Row = tuple[Any, ...]  # seq, kind, step, attempt, and a number or None for each name of the curve
Bucket = list[Any]  # low, its seq, high, its seq: of the earliest rows with these values; empty without a value


class Curve:
    """The points of a history that grows at its end.

    Buckets of equal width cover the sequence numbers. Whenever they become too many, neighbours are merged, so memory
    and the time to choose points do not grow with the history.

    Args:
        names: values whose extremes are kept.
        points: most that are chosen.
        whole: whether the curve is of all rows; evaluations are chosen then, as far as half of the room goes.

    Attributes:
        last: the last row added.
        examined: sequence number up to which the history was read.
    """

    def __init__(self, names: Sequence[str], points: int, *, whole: bool) -> None:
        self.names, self.points, self.whole, self.lock = tuple(names), points, whole, Lock()
        self.last: Row | None = None
        self.examined = 0
        self._room = max(0, points - 2)  # beside the first and the last
        self._most_buckets = max(1, FINE * self._room // (2 * len(self.names)))
        self._all: list[int] = []  # sequence numbers, until there are more than `points`
        self._first = 0
        self._count = 0
        self._width = 1
        self._buckets: list[list[Bucket]] = [[] for _ in self.names]
        self._evaluations: list[int] = []
        self._steps: dict[str, int] = {}  # kind -> highest step

    def add(self, rows: Iterable[Row]) -> bool:
        """Add rows in order; return False at one that may replace a row added before: the curve is of no use then.

        The rows of one call replace none of each other, as they were read together.
        """
        steps, evaluations, whole = dict(self._steps), self._evaluations, self._all
        for row in rows:
            seq, kind, step, _, *numbers = row
            if step <= steps.get(kind, -1):
                return False
            self._steps[kind] = max(step, self._steps.get(kind, step))
            if self.last is None:
                self._first = seq
            self.last = row
            self._count += 1
            if self._count <= self.points:
                whole.append(seq)
            if kind == "eval":
                evaluations.append(seq)
            place = (seq - self._first) // self._width
            while place >= self._most_buckets:
                self._widen()
                place = (seq - self._first) // self._width
            for buckets, number in zip(self._buckets, numbers, strict=True):
                if number is not None:
                    _put(buckets, place, number, seq)
        return True

    def _widen(self) -> None:
        """Merge each bucket with its neighbour."""
        self._width *= 2
        self._buckets = [
            [_over(buckets[place : place + 2]) for place in range(0, len(buckets), 2)] for buckets in self._buckets
        ]

    def choose(self) -> list[int]:
        """Return the sequence numbers of at most `points` rows, in order; all of them where there are no more."""
        if self.last is None or self._count <= self.points:
            return self._all
        if self.points <= 2:
            return [self._first, self.last[0]][: self.points]
        kept = set(self._kept_evaluations())
        stretches = (self._room - len(kept)) // (2 * len(self.names))
        for buckets in self._buckets:
            count = min(stretches, len(buckets))
            for part in range(count):
                found = _over(buckets[part * len(buckets) // count : (part + 1) * len(buckets) // count])
                kept |= {found[1], found[3]} if found else set()
        return sorted({self._first, *kept, self.last[0]})

    def _kept_evaluations(self) -> Sequence[int]:
        if not self.whole:
            return ()
        half, found = self._room // 2, self._evaluations
        return found if len(found) <= half else found[:: -(-len(found) // max(1, half))][:half]


def _put(buckets: list[Bucket], place: int, number: float, seq: int) -> None:
    while len(buckets) <= place:
        buckets.append([])
    bucket = buckets[place]
    if not bucket:
        bucket[:] = (number, seq, number, seq)
    elif number < bucket[0]:
        bucket[:2] = (number, seq)
    elif number > bucket[2]:
        bucket[2:] = (number, seq)


def _over(buckets: Iterable[Bucket]) -> Bucket:
    """Return the extremes over neighbouring buckets."""
    whole: Bucket = []
    for bucket in buckets:
        if bucket and whole:
            whole = [*_lower(whole, bucket), *_higher(whole, bucket)]
        elif bucket:
            whole = bucket
    return whole


def _lower(one: Bucket, later: Bucket) -> Bucket:
    return later[:2] if later[0] < one[0] else one[:2]


def _higher(one: Bucket, later: Bucket) -> Bucket:
    return later[2:] if later[2] > one[2] else one[2:]

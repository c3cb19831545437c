"""Long histories in few points: one pass over the numbers alone, in bounded memory, then the rows that were chosen."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from service.db import Metric
from service.jobs import repository

RECENT = 64  # choices that are remembered: of a job that has ended they stay the same
_recent: dict[tuple[object, ...], list[int]] = {}  # by what they are of; every new row has a new number
EXTREMES = ("loss", "grad_norm")  # whose spikes stay where no name is asked for


@dataclass
class Extremes:
    """The rows with the lowest and the highest value in each of so many stretches of the sequence.

    The numbers are extracted by the database, so a million rows cost seconds, not gigabytes.
    """

    first: int
    last: int
    stretches: int
    low: dict[int, tuple[float, int]] = field(default_factory=dict)  # stretch -> value, seq
    high: dict[int, tuple[float, int]] = field(default_factory=dict)

    def add(self, seqs: Sequence[int], values: Sequence[float | None]) -> None:
        """Rows in order; `min` and `max` over a stretch at a time take a tenth of the time of a look at each row."""
        begin = 0
        while begin < len(seqs):
            place = (seqs[begin] - self.first) * self.stretches // (self.last - self.first + 1)
            beyond = self.first + -(-(place + 1) * (self.last - self.first + 1) // self.stretches)
            end = bisect_left(seqs, beyond, begin)
            rows = zip(values[begin:end], seqs[begin:end], strict=True)
            pairs = [(value, seq) for value, seq in rows if value is not None]
            begin = end
            if pairs:
                self._note(place, min(pairs), max(pairs))

    def _note(self, place: int, low: tuple[float, int], high: tuple[float, int]) -> None:
        self.low[place] = min(low, self.low.get(place, low))
        self.high[place] = max(high, self.high.get(place, high))

    def chosen(self) -> set[int]:
        return {seq for _, seq in (*self.low.values(), *self.high.values())}


def thinned(session: Session, job_id: str, after: int, points: int, name: str | None) -> Sequence[Metric]:
    """At most `points` rows past `after`, evenly over the sequence, with the extremes of each stretch.

    The first and the last row stay, and evaluations as far as half of the room goes.

    Args:
        name: only rows with this value, by its extremes. Default: all rows, by those of `EXTREMES`.
    """
    count, first, last = repository.metrics_span(session, job_id, after, name)
    if count <= points:
        return repository.metrics_at(session, job_id, None, after, name)
    if points <= 2:
        return repository.metrics_at(session, job_id, [first, last][:points], after, name)
    key = (str(session.connection().engine.url), job_id, after, points, name, count, first, last)
    places = _recent.get(key)
    if places is None:
        kept = _choose(session, job_id, after, points - 2, name, (first, last))
        places = _recent[key] = sorted({first, *kept, last})
        while len(_recent) > RECENT:
            _recent.pop(next(iter(_recent)), None)
    return repository.metrics_at(session, job_id, places, after, name)


def _choose(session: Session, job_id: str, after: int, room: int, name: str | None, span: tuple[int, int]) -> set[int]:
    """What to keep besides the first and the last row."""
    if name is not None:
        names: tuple[str, ...] = (name,)
        kept: set[int] = set()
    else:
        names = EXTREMES
        kept = set(repository.evaluations(session, job_id, after))
        if len(kept) > room // 2:
            kept = set(sorted(kept)[:: -(-len(kept) // max(1, room // 2))][: room // 2])
    stretches = (room - len(kept)) // (2 * len(names))
    if not stretches:
        return kept
    found = [Extremes(*span, stretches) for _ in names]
    for seqs, *columns in repository.numbers(session, job_id, after, names):
        for values, extremes in zip(columns, found, strict=True):
            extremes.add(seqs, values)
    return kept.union(*(extremes.chosen() for extremes in found))

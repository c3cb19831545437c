"""Long histories in few points: one pass over the numbers alone, in bounded memory, then the rows that were chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from service.db import Metric
from service.jobs import repository

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

    def add(self, seq: int, value: float) -> None:
        place = (seq - self.first) * self.stretches // (self.last - self.first + 1)
        if place not in self.low or value < self.low[place][0]:
            self.low[place] = value, seq
        if place not in self.high or value > self.high[place][0]:
            self.high[place] = value, seq

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
    room = points - 2
    kept = _evaluations(session, job_id, after, room // 2, name)
    names = EXTREMES if name is None else (name,)
    stretches = (room - len(kept)) // (2 * len(names))
    for wanted in names if stretches else ():
        kept |= _extremes(session, job_id, after, wanted, "train", stretches)
    return repository.metrics_at(session, job_id, sorted({first, *kept, last}), after, name)


def _evaluations(session: Session, job_id: str, after: int, room: int, name: str | None) -> set[int]:
    places = repository.evaluations(session, job_id, after, name)
    if len(places) <= room:
        return set(places)
    wanted = name or "eval_loss"
    return _extremes(session, job_id, after, wanted, "eval", room // 2) if room >= 2 else set()


def _extremes(session: Session, job_id: str, after: int, name: str, kind: str, stretches: int) -> set[int]:
    _, first, last = repository.metrics_span(session, job_id, after, None)
    found = Extremes(first, last, stretches)
    for seq, value in repository.numbers(session, job_id, after, name, kind):
        found.add(seq, value)
    return found.chosen()

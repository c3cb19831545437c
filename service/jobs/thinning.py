"""Thin long histories to few points: the database finds the extremes, and only the chosen rows are read."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

from sqlalchemy.orm import Session

from service.jobs import repository
from service.shared.database.tables import MetricRow

RECENT = 64  # choices that are remembered: of a job that has ended they stay the same
_recent: dict[tuple[object, ...], list[int]] = {}  # by what they are of; every new row has a new number
_keeping = Lock()
EXTREMES = ("loss", "grad_norm")  # whose spikes stay where no name is asked for


def thinned(session: Session, job_id: str, after: int, points: int, name: str | None) -> Sequence[MetricRow]:
    """Return at most `points` rows after `after`, evenly over the sequence, with the extremes of each stretch.

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
        places = sorted({first, *kept, last})
        with _keeping:
            _recent[key] = places
            while len(_recent) > RECENT:
                _recent.pop(next(iter(_recent)))
    return repository.metrics_at(session, job_id, places, after, name)


def _choose(session: Session, job_id: str, after: int, room: int, name: str | None, span: tuple[int, int]) -> set[int]:
    """Choose the sequence numbers to keep besides the first and the last."""
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
    return kept | repository.extremes(session, job_id, after, names, span, stretches)

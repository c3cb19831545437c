"""Thin long histories to few points. A process remembers the curves that it drew, and reads only what was added."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

from sqlalchemy.orm import Session

from service.jobs import repository
from service.jobs.curve import Curve
from service.shared.database.tables import MetricRow
from service.shared.jobs.metric_archive import MetricArchive

REMEMBERED_POINTS = 100_000  # of all curves that are remembered together: some 60 MB at most
EXTREMES = ("loss", "grad_norm")  # whose spikes stay where no name is asked for
Key = tuple[object, ...]
_curves: dict[Key, Curve] = {}  # the one used last is at the end
_remembering = Lock()


def thinned(
    session: Session, job_id: str, after: int, points: int, name: str | None, archive: MetricArchive | None = None
) -> Sequence[MetricRow]:
    """Return at most `points` rows after `after`, evenly over the sequence, with the extremes of each stretch.

    The first and the last row stay, and evaluations as far as half of the room goes.

    Args:
        name: only rows with this value, by its extremes. Default: all rows, by those of `EXTREMES`.
        archive: where the rows are, if not in the database.
    """
    key = (str(session.connection().engine.url), job_id, after, points, name, archive is None)
    curve = _remembered(key) or _new(after, points, name)
    if archive is not None:
        return _of_archive(archive, key, curve)
    with curve.lock:
        seqs = _brought_up_to_date(session, job_id, curve)
    found = [] if seqs is None else repository.metrics_at(session, job_id, seqs)
    if seqs is None or len(found) < len(seqs):  # rows were replaced, as by a newer attempt: begin anew
        curve = _new(after, points, name)
        found = repository.metrics_at(session, job_id, _brought_up_to_date(session, job_id, curve) or [])
    _remember(key, curve)
    return found


def _of_archive(archive: MetricArchive, key: Key, curve: Curve) -> Sequence[MetricRow]:
    """Choose rows that no longer change."""
    with curve.lock:
        if curve.last is None:
            curve.add(archive.numbers(curve.examined, curve.names, whole=curve.whole))
        seqs = curve.choose()
    _remember(key, curve)
    return archive.at(seqs)


def _new(after: int, points: int, name: str | None) -> Curve:
    curve = Curve(EXTREMES if name is None else (name,), points, whole=name is None)
    curve.examined = after
    return curve


def _brought_up_to_date(session: Session, job_id: str, curve: Curve) -> list[int] | None:
    """Read what was added since the curve was last used; return the chosen rows, None where some were replaced.

    A newer attempt deletes rows from a step on, and so always the last one; rows that are written again have steps that
    the curve has already.
    """
    # Read before the rows: what has a lower number is committed by now.
    newest = repository.last_seq(session, job_id)
    if curve.last is not None and not repository.has_metric(session, job_id, curve.last):
        return None
    if not curve.add(repository.curve_rows(session, job_id, curve.examined, curve.names, whole=curve.whole)):
        return None
    curve.examined = max(newest, curve.examined, 0 if curve.last is None else curve.last[0])
    return curve.choose()


def _remembered(key: Key) -> Curve | None:
    with _remembering:
        return _curves.get(key)


def _remember(key: Key, curve: Curve) -> None:
    with _remembering:
        _curves.pop(key, None)
        _curves[key] = curve
        while sum(one.points for one in _curves.values()) > REMEMBERED_POINTS and len(_curves) > 1:
            _curves.pop(next(iter(_curves)))

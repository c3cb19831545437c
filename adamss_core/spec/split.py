"""Count the rows of a job: used at most, held out where it names no evaluation data, repeated by weight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

Stratum = TypeVar("Stratum", str, tuple[int, str])  # class of a data set


def held_out(counts: Mapping[Stratum, int], fraction: float) -> dict[Stratum, int]:
    """Return label -> rows to hold out, in proportion (largest remainder); every label keeps a row to train on.

    Args:
        counts: label -> rows.
        fraction: share of all rows, between 0 and 1; at least one row is held out if any label has two.
    """
    target = max(1, round(fraction * sum(counts.values())))
    room = {label: max(0, rows - 1) for label, rows in counts.items()}
    taken = {label: min(room[label], int(rows * fraction)) for label, rows in counts.items()}
    missing = target - sum(taken.values())
    by_remainder = sorted(counts, key=lambda label: (-(counts[label] * fraction % 1), label))
    while missing > 0 and any(taken[label] < room[label] for label in counts):
        for label in by_remainder:
            if missing > 0 and taken[label] < room[label]:
                taken[label] += 1
                missing -= 1
    return taken


def used(counts: Mapping[Stratum, int], most: int | None) -> dict[Stratum, int]:
    """Return stratum -> rows to use, in proportion (largest remainder); while there is room, every stratum keeps one.

    Args:
        most: rows to use at most; None for all.
    """
    total = sum(counts.values())
    if most is None or total <= most:
        return dict(counts)
    taken = {name: rows * most // total for name, rows in counts.items()}
    by_remainder = sorted(counts, key=lambda name: (-(counts[name] * most % total), name))
    for name in by_remainder[: most - sum(taken.values())]:
        taken[name] += 1
    for name in by_remainder:
        largest = max(taken, key=lambda one: (taken[one], one))
        if not taken[name] and counts[name] and taken[largest] > 1:
            taken[largest] -= 1
            taken[name] = 1
    return taken


def repeated(rows: int, weight: float) -> int:
    """Return how often the rows of a data set are seen in an epoch, all together; at least once if there are any."""
    return max(min(rows, 1), round(rows * weight))


@dataclass(frozen=True)
class RowCounts:
    """Rows of a job.

    Attributes:
        trained: (sets,) in an epoch, of each data set.
        held_out: over all data sets.
    """

    trained: list[int]
    held_out: int


def count_rows(
    parts: Sequence[Mapping[str, int]], weights: Sequence[float], most: int | None, fraction: float | None
) -> RowCounts:
    """Count rows as the run will find them; where whole groups are held out, only about so many.

    Args:
        parts: for each data set, class -> usable rows; one class where rows are not stratified.
        weights: of the data sets.
        most: rows to use at most; None for all.
        fraction: share that is held out; None where the job has evaluation data.
    """
    counts = used({(i, name): rows for i, part in enumerate(parts) for name, rows in part.items()}, most)
    held = {} if fraction is None else held_out(counts, fraction)
    left = Counter[int]()
    for (i, name), rows in counts.items():
        left[i] += rows - held.get((i, name), 0)
    return RowCounts([repeated(left[i], weight) for i, weight in enumerate(weights)], sum(held.values()))

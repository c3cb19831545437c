"""Count the rows of each label to hold out where a job names no evaluation data."""

from __future__ import annotations

from collections.abc import Mapping


def held_out(counts: Mapping[str, int], fraction: float) -> dict[str, int]:
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

"""Confidence intervals of a metric over held-out rows, each of 95 %.

A share of rows has Wilson's interval (Wilson 1927), a correlation Fisher's z (for ranks with the variance of Bonett and
Wright 2000), and every other metric a paired bootstrap: rows are drawn again, and model and baseline are scored on the
same rows, so that what makes rows easy or hard for both cancels out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from adamss_core.training.scores import Times

LEVEL = 0.95
Z = 1.959963984540054  # of a normal distribution, for LEVEL
RESAMPLES = 1_000

Score = Callable[[Times], float | None]


@dataclass(frozen=True)
class Interval:
    """The range of a metric that the held-out rows leave possible.

    Attributes:
        method: its name in words.
    """

    low: float
    high: float
    method: str


def wilson(share: float, rows: int) -> Interval:
    """Return Wilson's interval of a share of rows.

    Where a row holds several answers (words), it counts as one: answers within a row are not independent.
    """
    centre = (share + Z**2 / (2 * rows)) / (1 + Z**2 / rows)
    half = Z / (1 + Z**2 / rows) * math.sqrt(share * (1 - share) / rows + Z**2 / (4 * rows**2))
    return Interval(max(0.0, centre - half), min(1.0, centre + half), "Wilson")


def fisher(correlation: float, rows: int, *, ranks: bool = False) -> Interval:
    """Return the interval of Pearson's correlation, or of Spearman's (`ranks`), by Fisher's z."""
    method = "Fisher's z"
    if rows <= 3:
        return Interval(-1.0, 1.0, method)
    bounded = max(-1 + 1e-12, min(1 - 1e-12, correlation))
    spread = math.sqrt((1 + correlation**2 / 2 if ranks else 1.0) / (rows - 3))
    centre = math.atanh(bounded)
    return Interval(math.tanh(centre - Z * spread), math.tanh(centre + Z * spread), method)


def paired_bootstrap(
    score: Score, baseline: Score, rows: int, seed: int, bounds: tuple[float, float] = (-math.inf, math.inf)
) -> Interval | None:
    """Return the interval of a metric beside a baseline on the same rows.

    The bounds of the difference are added to the baseline's score, so that the interval is on the metric's own scale
    and leaves the baseline out exactly if the difference's interval leaves zero out.

    Args:
        bounds: least and greatest value that the metric can have.

    Returns:
        None where the baseline has no score, or the difference has no interval.
    """
    whole, drawn = baseline(np.ones(rows, np.int64)), difference(score, baseline, rows, seed)
    if whole is None or drawn is None:
        return None
    low, high = (float(np.clip(whole + bound, *bounds)) for bound in (drawn.low, drawn.high))
    return Interval(low, high, drawn.method)


def difference(score: Score, other: Score, rows: int, seed: int) -> Interval | None:
    """Return the interval of `score` less `other`, both on the same drawn rows each time.

    Returns:
        None where the difference is undefined on more than half of the draws, or the same on all: a single row, or rows
        that score alike, do not show how others spread.
    """
    generator = np.random.default_rng(seed)
    differences = []
    for _ in range(RESAMPLES):
        times = np.bincount(generator.integers(rows, size=rows), minlength=rows)
        ours, theirs = score(times), other(times)
        if ours is not None and theirs is not None and math.isfinite(ours - theirs):
            differences.append(ours - theirs)
    if len(differences) < RESAMPLES / 2:
        return None
    low, high = np.quantile(differences, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    if math.isclose(low, high, rel_tol=1e-9, abs_tol=1e-12):
        return None
    return Interval(float(low), float(high), "paired bootstrap")

"""Intervals against SciPy's, and against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from adamss_core.training.confidence import Interval, fisher, paired_bootstrap, wilson
from adamss_core.training.scores import Times


@pytest.mark.parametrize(("right", "rows"), [(0, 4), (7, 9), (21, 21), (430, 1_000)])
def test_wilson(right: int, rows: int) -> None:
    found = wilson(right / rows, rows)
    reference = stats.binomtest(right, rows).proportion_ci(0.95, "wilson")
    assert [found.low, found.high] == pytest.approx([reference.low, reference.high])


def test_fisher() -> None:
    source = np.random.default_rng(0)
    first = source.normal(size=40)
    second = first + source.normal(size=40)
    correlation = stats.pearsonr(first, second)
    reference = correlation.confidence_interval(0.95)
    found = fisher(correlation.statistic, 40)
    assert [found.low, found.high] == pytest.approx([reference.low, reference.high])
    ranks = fisher(0.5, 28, ranks=True)
    spread = math.sqrt((1 + 0.125) / 25)
    assert math.atanh(ranks.high) - math.atanh(ranks.low) == pytest.approx(2 * 1.959964 * spread)
    assert fisher(0.9, 3) == Interval(-1.0, 1.0, "Fisher's z")


def test_a_bootstrap_sees_what_pairs_show() -> None:
    """Rows differ much, and model and baseline by little on each: only pairs tell them apart."""
    source = np.random.default_rng(1)
    theirs = source.normal(3, 1, 60)
    ours = theirs - source.normal(0.1, 0.05, 60)

    def mean(losses: np.ndarray[tuple[int], np.dtype[np.float64]], times: Times) -> float:
        return float((losses * times).sum() / times.sum())

    found = paired_bootstrap(lambda times: mean(ours, times), lambda times: mean(theirs, times), 60, 0)
    assert found is not None
    difference = stats.ttest_1samp(ours - theirs, 0).confidence_interval(0.95)
    assert found.low - theirs.mean() == pytest.approx(difference.low, abs=0.004)
    assert found.high - theirs.mean() == pytest.approx(difference.high, abs=0.004)
    again = paired_bootstrap(lambda times: mean(ours, times), lambda times: mean(theirs, times), 60, 0)
    assert found == again
    middle = (found.low + found.high) / 2
    cut = paired_bootstrap(
        lambda times: mean(ours, times), lambda times: mean(theirs, times), 60, 0, (middle, found.high + 1)
    )
    assert cut == Interval(middle, found.high, found.method)
    assert paired_bootstrap(lambda _: None, lambda _: 0.0, 60, 0) is None

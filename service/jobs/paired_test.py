"""Test whether two models differ on the rows that both were evaluated on, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from service.http.openapi import Out
from service.shared.database.tables import Job, Json

FEWEST = 10  # rows that both must share
LEVEL = 0.95
RESAMPLES = 2_000


class PairedTestOut(Out):
    """Whether two models differ on the same rows."""

    data: Literal["train", "eval", "test"]
    """The data set that the rows are from; of train a share was held out."""
    rows: int
    """Rows that both were evaluated on."""
    measure: str
    """What is compared for each row: the metric where it is a share of rows, else the loss."""
    method: str
    """The test: McNemar's, exact, where each row is right or wrong; else the paired bootstrap."""
    difference: float
    """Mean of the job's rows less that of the other's."""
    low: float
    """Lower bound of the difference's interval (95 %, bootstrap over rows)."""
    high: float
    """Upper bound."""
    p_value: float | None
    """Of McNemar's test; null for the bootstrap, whose interval decides."""
    differ: bool
    """Whether the rows show a difference: p below 0.05, or an interval without 0."""


def paired_test(job: Job, other: Job, reports: Sequence[Json], others: Sequence[Json]) -> PairedTestOut | str:
    """Test two jobs by their reports; return why they cannot be where that is so."""
    pairs = [(one, two) for one in reports for two in others if _is_same_data(job, other, one, two)]
    if not pairs:
        return "The jobs were not evaluated on the same data set."
    one, two = pairs[-1]  # test rows are the last report
    first, second = one.get("row_results"), two.get("row_results")
    if not first or not second:
        return "One of the jobs has no results of single rows: it is of an earlier version, or has no report."
    measure = "share" if first["share"] and second["share"] and first["metric"] == second["metric"] else "loss"
    ours, theirs = (_by_row(found, measure) for found in (first, second))
    shared = sorted(set(ours) & set(theirs))
    if len(shared) < FEWEST:
        return f"Only {len(shared)} rows were held out of both, fewer than {FEWEST}: {_cause(ours, theirs)}"
    left, right = [ours[row] for row in shared], [theirs[row] for row in shared]
    named = first["metric"] if measure == "share" else "loss"
    return PairedTestOut(data=one["data"], rows=len(shared), measure=named, **_tested(left, right, measure))


def _cause(ours: dict[int, float], theirs: dict[int, float]) -> str:
    if set(ours) == set(theirs):
        return "hold out more rows (`dataset.eval_fraction`, or a larger data set as `dataset.eval`)."
    return "each job held out other rows. Give both the same `training.seed` and `dataset.eval_fraction`."


def _is_same_data(job: Job, other: Job, one: Json, two: Json) -> bool:
    if one["data"] != two["data"]:
        return False
    mine, theirs = (found.resolved["spec"]["dataset"].get(one["data"]) for found in (job, other))
    return bool(mine == theirs)


def _by_row(found: Json, measure: str) -> dict[int, float]:
    pairs = zip(found["numbers"], found[measure], strict=True)
    return {number: float(value) for number, value in pairs if value is not None}


def _tested(ours: list[float], theirs: list[float], measure: str) -> dict[str, Any]:
    import numpy as np  # half a second with scipy, and only this needs it
    from scipy import stats

    differences = np.array(ours) - np.array(theirs)
    drawn = np.random.default_rng(0).integers(len(differences), size=(RESAMPLES, len(differences)))
    bounds = np.quantile(differences[drawn].mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    low, high = (float(bound) for bound in bounds)
    found = {"difference": float(differences.mean()), "low": low, "high": high}
    if measure == "loss" or not set(np.abs(differences)) <= {0.0, 1.0}:
        return found | {"method": "paired bootstrap", "p_value": None, "differ": not low <= 0.0 <= high}
    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    p_value = float(stats.binomtest(better, better + worse).pvalue) if better + worse else 1.0
    return found | {"method": "McNemar", "p_value": p_value, "differ": p_value < 1 - LEVEL}

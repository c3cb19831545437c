"""Parts of an evaluation report beside the metrics, in plain values: classes, confusions, residuals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

MATRIX = 50  # classes, at most, of a whole confusion matrix
PAIRS = 20  # most frequent confusions that are listed
BINS = 20  # of a histogram
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def confusion(predicted: Tensor, expected: Tensor, names: Sequence[str]) -> dict[str, Any]:
    """Return how often each class is taken for each other one, of class ids (n,).

    Returns:
        "confusion": names, and counts with a row for each expected and a column for each predicted class; None beyond
        MATRIX classes. "confused": the most frequent confusions.
    """
    kinds = len(names)
    pairs = Counter((expected * kinds + predicted).tolist())
    wrong = [(divmod(pair, kinds), rows) for pair, rows in pairs.most_common() if pair // kinds != pair % kinds]
    matrix = None
    if kinds <= MATRIX:
        counts = [[pairs[row * kinds + column] for column in range(kinds)] for row in range(kinds)]
        matrix = {"names": list(names), "counts": counts}
    confused = [{"expected": names[row], "predicted": names[column], "rows": rows} for (row, column), rows in wrong]
    return {"confusion": matrix, "confused": confused[:PAIRS]}


def residuals(predicted: Tensor, expected: Tensor) -> dict[str, Any]:
    """Summarise predicted less expected numbers, (n,); those that are not finite are left out."""
    errors = (predicted.double() - expected.double()).numpy()
    errors = errors[np.isfinite(errors)]
    if not len(errors):
        return {"residuals": None}
    rows, edges = np.histogram(errors, bins=BINS)
    summary = {
        "mean": float(errors.mean()),
        "mean_absolute": float(np.abs(errors).mean()),
        "root_mean_square": float(np.sqrt((errors**2).mean())),
        "lowest": float(errors.min()),
        "highest": float(errors.max()),
        "quantiles": [{"share": share, "value": float(np.quantile(errors, share))} for share in QUANTILES],
        "histogram": {"edges": edges.tolist(), "rows": rows.tolist()},
    }
    return {"residuals": summary}

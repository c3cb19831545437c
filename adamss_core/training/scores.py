"""Score predictions with the reference implementations of scikit-learn and SciPy."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import f1_score, matthews_corrcoef
from torch import Tensor

from adamss_core.training.request import Values


def class_scores(predicted: Tensor, labels: Tensor) -> Values:
    """Score class ids, (n,): accuracy, F1 as an unweighted mean over the classes that occur, Matthews' correlation."""
    expected, given = labels.numpy(), predicted.numpy()
    return {
        "accuracy": float((predicted == labels).double().mean()),
        "macro_f1": float(f1_score(expected, given, average="macro", zero_division=0.0)),
        "matthews": float(matthews_corrcoef(expected, given)),
    }


def label_set_scores(predicted: Tensor, labels: Tensor) -> Values:
    """Score 0/1 per class, (n, classes): micro and macro F1, and accuracy as the share of rows without any error."""
    expected, given = labels.int().numpy(), predicted.int().numpy()
    return {
        "micro_f1": float(f1_score(expected, given, average="micro", zero_division=0.0)),
        "macro_f1": float(f1_score(expected, given, average="macro", zero_division=0.0)),
        "accuracy": float((predicted.bool() == labels.bool()).all(1).double().mean()),
    }


def number_scores(predicted: Tensor, targets: Tensor) -> Values:
    """Score numbers, (n,), by their correlations; None where one is undefined, as for constant predictions."""
    expected, given = targets.double().numpy(), predicted.double().numpy()
    return {
        "pearson": _correlation(stats.pearsonr, expected, given),
        "spearman": _correlation(stats.spearmanr, expected, given),
    }


def _correlation(function: object, first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0 or not np.isfinite(second).all():
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        warnings.simplefilter("ignore", stats.NearConstantInputWarning)
        value = float(function(first, second).statistic)  # type: ignore[operator]
    return value if np.isfinite(value) else None

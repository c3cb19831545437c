"""Scores of predictions, by libraries that everybody compares with."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import f1_score, matthews_corrcoef
from torch import Tensor

from adamss_core.training.request import Values


def class_scores(predicted: Tensor, labels: Tensor) -> Values:
    """Shares of one for ids (n,): accuracy, F1 as a plain mean over the classes that occur, Matthews' correlation."""
    expected, answered = labels.numpy(), predicted.numpy()
    return {
        "accuracy": float((predicted == labels).double().mean()),
        "macro_f1": float(f1_score(expected, answered, average="macro", zero_division=0.0)),
        "matthews": float(matthews_corrcoef(expected, answered)),
    }


def label_set_scores(predicted: Tensor, labels: Tensor) -> Values:
    """For 0/1 per class, (n, classes): F1 over all answers and as a mean over classes; rows that are wholly right."""
    expected, answered = labels.int().numpy(), predicted.int().numpy()
    return {
        "micro_f1": float(f1_score(expected, answered, average="micro", zero_division=0.0)),
        "macro_f1": float(f1_score(expected, answered, average="macro", zero_division=0.0)),
        "accuracy": float((predicted.bool() == labels.bool()).all(1).double().mean()),
    }


def number_scores(predicted: Tensor, targets: Tensor) -> Values:
    """Correlations of numbers, (n,); None where there is none, as when all answers are the same."""
    expected, answered = targets.double().numpy(), predicted.double().numpy()
    return {
        "pearson": _correlation(stats.pearsonr, expected, answered),
        "spearman": _correlation(stats.spearmanr, expected, answered),
    }


def _correlation(function: object, first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0 or not np.isfinite(second).all():
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        warnings.simplefilter("ignore", stats.NearConstantInputWarning)
        value = float(function(first, second).statistic)  # type: ignore[operator]
    return value if np.isfinite(value) else None

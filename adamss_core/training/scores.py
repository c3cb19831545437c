"""Score predictions from counts, in which each row may count several times: intervals draw rows again and again."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from adamss_core.training.request import Values

Times = NDArray[np.int64]  # (n,) how often each row counts
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Counts:
    """Counts of each class as expected, as predicted, and as both at once, (classes,) each."""

    expected: Numbers
    predicted: Numbers
    right: Numbers

    @property
    def precision(self) -> Numbers:
        return _ratio(self.right, self.predicted)

    @property
    def recall(self) -> Numbers:
        return _ratio(self.right, self.expected)

    @property
    def f1(self) -> Numbers:
        return _ratio(2 * self.right, self.expected + self.predicted)

    @property
    def micro_f1(self) -> float:
        both = float(self.expected.sum() + self.predicted.sum())
        return 2 * float(self.right.sum()) / both if both else 0.0

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the classes that are expected or predicted."""
        occurs = self.expected + self.predicted > 0
        return float(self.f1[occurs].mean()) if occurs.any() else 0.0

    @property
    def matthews(self) -> float:
        """Matthews' correlation of classes that exclude each other (Gorodkin's R_K); 0 where it is undefined."""
        total, right = self.expected.sum(), self.right.sum()
        spread = (total**2 - (self.predicted**2).sum()) * (total**2 - (self.expected**2).sum())
        if spread <= 0:
            return 0.0
        return float((right * total - (self.predicted * self.expected).sum()) / np.sqrt(spread))

    def table(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Return one entry for each class, in plain values."""
        columns = zip(names, self.expected, self.predicted, self.right, strict=True)
        scores = zip(self.precision, self.recall, self.f1, strict=True)
        return [
            {
                "name": name,
                "expected": int(expected),
                "predicted": int(predicted),
                "right": int(right),
                "precision": float(precision),
                "recall": float(recall),
                "f1": float(f1),
            }
            for (name, expected, predicted, right), (precision, recall, f1) in zip(columns, scores, strict=True)
        ]


@dataclass(frozen=True)
class Occurrences:
    """Classes that occur in rows.

    Attributes:
        rows, classes: (m,) the row and the class of each occurrence.
    """

    rows: NDArray[np.int64]
    classes: NDArray[np.int64]

    def count(self, classes: int, times: Times | None) -> Numbers:
        weights = None if times is None else times[self.rows]
        return np.bincount(self.classes, weights=weights, minlength=classes).astype(np.float64)


@dataclass(frozen=True)
class Matches:
    """Occurrences of what is expected, what is predicted, and what is both.

    Attributes:
        kinds: how many classes there are.
    """

    kinds: int
    expected: Occurrences
    predicted: Occurrences
    right: Occurrences

    def counts(self, times: Times | None = None) -> Counts:
        parts = (self.expected, self.predicted, self.right)
        return Counts(*(part.count(self.kinds, times) for part in parts))


def class_matches(predicted: Tensor, labels: Tensor, kinds: int) -> Matches:
    """Match class ids, (n,) each."""
    rows = np.arange(len(labels))
    given, expected = predicted.numpy(), labels.numpy()
    right = given == expected
    parts = ((rows, expected), (rows, given), (rows[right], expected[right]))
    return Matches(kinds, *(Occurrences(*part) for part in parts))


def set_matches(predicted: Tensor, labels: Tensor) -> Matches:
    """Match 0/1 per class, (n, classes) each."""
    given, expected = predicted.bool().numpy(), labels.bool().numpy()
    parts = (expected, given, expected & given)
    return Matches(given.shape[1], *(Occurrences(*np.nonzero(part)) for part in parts))


def class_scorer(predicted: Tensor, labels: Tensor) -> Callable[[Times | None], Values]:
    """Match class ids, (n,), once, to score them for any weights of the rows; see `class_scores`."""
    matches = class_matches(predicted, labels, 1 + max(int(predicted.max()), int(labels.max())))

    def scores(times: Times | None) -> Values:
        counts = matches.counts(times)
        accuracy = float(counts.right.sum() / counts.expected.sum())
        return {"accuracy": accuracy, "macro_f1": counts.macro_f1, "matthews": counts.matthews}

    return scores


def class_scores(predicted: Tensor, labels: Tensor, times: Times | None = None) -> Values:
    """Score class ids, (n,): accuracy, F1 as an unweighted mean over the classes that occur, Matthews' correlation."""
    return class_scorer(predicted, labels)(times)


def label_set_scorer(predicted: Tensor, labels: Tensor) -> Callable[[Times | None], Values]:
    """Match 0/1 per class, (n, classes), once, to score them for any weights of the rows; see `label_set_scores`."""
    matches, whole = set_matches(predicted, labels), (predicted.bool() == labels.bool()).all(1).numpy()

    def scores(times: Times | None) -> Values:
        counts, accuracy = matches.counts(times), float(np.average(whole, weights=times))
        return {"micro_f1": counts.micro_f1, "macro_f1": float(counts.f1.mean()), "accuracy": accuracy}

    return scores


def label_set_scores(predicted: Tensor, labels: Tensor, times: Times | None = None) -> Values:
    """Score 0/1 per class, (n, classes): micro and macro F1, and accuracy as the share of rows without any error."""
    return label_set_scorer(predicted, labels)(times)


def number_scores(predicted: Tensor, targets: Tensor) -> Values:
    """Score numbers, (n,), by their correlations; None where one is undefined, as for constant predictions."""
    expected, given = targets.double().numpy(), predicted.double().numpy()
    return {
        "pearson": _correlation(stats.pearsonr, expected, given),
        "spearman": _correlation(stats.spearmanr, expected, given),
    }


def _correlation(function: object, first: Numbers, second: Numbers) -> float | None:
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0 or not np.isfinite(second).all():
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        warnings.simplefilter("ignore", stats.NearConstantInputWarning)
        value = float(function(first, second).statistic)  # type: ignore[operator]
    return value if np.isfinite(value) else None


def finite(values: Values) -> Values:
    """Replace values that are not finite by None."""
    return {name: value if value is not None and math.isfinite(value) else None for name, value in values.items()}


def _ratio(part: Numbers, whole: Numbers) -> Numbers:
    """Divide, giving 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)

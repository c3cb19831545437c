"""Scores from counts, against scikit-learn; rows that count several times are its sample weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef, precision_recall_fscore_support

from adamss_core.training.scores import class_matches, class_scores, label_set_scores


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("weighted", [False, True])
def test_class_scores_are_those_of_the_library(seed: int, weighted: bool) -> None:
    source = np.random.default_rng(seed)
    expected, given = source.integers(0, 4, 60), source.integers(0, 5, 60)
    times = source.integers(0, 3, 60) if weighted else None
    scores = class_scores(torch.from_numpy(given), torch.from_numpy(expected), times)
    kept = slice(None) if times is None else times > 0  # a class without weight is still a class to scikit-learn
    weights = None if times is None else times[kept]
    truth, answer = expected[kept], given[kept]
    assert scores == {
        "accuracy": pytest.approx(accuracy_score(truth, answer, sample_weight=weights)),
        "macro_f1": pytest.approx(f1_score(truth, answer, average="macro", sample_weight=weights, zero_division=0)),
        "matthews": pytest.approx(matthews_corrcoef(truth, answer, sample_weight=weights)),
    }


@pytest.mark.parametrize("weighted", [False, True])
def test_label_set_scores_are_those_of_the_library(weighted: bool) -> None:
    source = np.random.default_rng(0)
    expected, given = source.integers(0, 2, (50, 4)), source.integers(0, 2, (50, 4))
    expected[:, 3] = given[:, 3] = 0  # a class that does not occur
    times = source.integers(0, 3, 50) if weighted else None
    scores = label_set_scores(torch.from_numpy(given), torch.from_numpy(expected), times)
    for average in ("micro", "macro"):
        reference = f1_score(expected, given, average=average, sample_weight=times, zero_division=0)
        assert scores[f"{average}_f1"] == pytest.approx(reference)
    assert scores["accuracy"] == pytest.approx(accuracy_score(expected, given, sample_weight=times))


def test_the_table_of_classes_is_that_of_the_library() -> None:
    expected, given = torch.tensor([0, 0, 1, 1, 2]), torch.tensor([0, 1, 1, 1, 0])
    table = class_matches(given, expected, 4).counts().table(["a", "b", "c", "never"])
    columns = precision_recall_fscore_support(expected, given, labels=range(4), zero_division=0)
    for name, column in zip(("precision", "recall", "f1", "expected"), columns, strict=True):
        assert [row[name] for row in table] == pytest.approx(list(column))
    assert [(row["name"], row["predicted"], row["right"]) for row in table] == [
        ("a", 2, 1),
        ("b", 3, 2),
        ("c", 0, 0),
        ("never", 0, 0),
    ]


def test_a_constant_answer_has_no_correlation() -> None:
    assert class_scores(torch.zeros(4, dtype=torch.int64), torch.tensor([0, 1, 0, 1]))["matthews"] == 0.0

"""Confusions, residuals and written answers, against numbers worked out by hand."""

from __future__ import annotations

import random
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from adamss_core.training.data import Rows
from adamss_core.training.report_parts import MATRIX, confusion, residuals
from adamss_core.training.tasks import text_generation_answers
from adamss_core.training.tasks.text_generation_answers import (
    ROWS,
    answer_report,
    chosen,
    longest_common_subsequence,
    rouge_l,
)
from adamss_core.training.tasks.text_generation_samples import Written


def test_confusions() -> None:
    expected, predicted = torch.tensor([0, 0, 0, 1, 2, 2]), torch.tensor([0, 1, 1, 1, 0, 2])
    found = confusion(predicted, expected, ["a", "b", "c"])
    assert found["confusion"] == {"names": ["a", "b", "c"], "counts": [[1, 2, 0], [0, 1, 0], [1, 0, 1]]}
    assert found["confused"] == [
        {"expected": "a", "predicted": "b", "rows": 2},
        {"expected": "c", "predicted": "a", "rows": 1},
    ]
    many = [str(number) for number in range(MATRIX + 1)]
    assert confusion(predicted, expected, many) == {
        "confusion": None,
        "confused": [
            {"expected": "0", "predicted": "1", "rows": 2},
            {"expected": "2", "predicted": "0", "rows": 1},
        ],
    }


def test_residuals() -> None:
    found = residuals(torch.tensor([1.0, 2.0, 6.0, float("nan")]), torch.tensor([2.0, 2.0, 3.0, 0.0]))["residuals"]
    assert (found["mean"], found["mean_absolute"]) == (pytest.approx(2 / 3), pytest.approx(4 / 3))
    assert found["root_mean_square"] == pytest.approx((10 / 3) ** 0.5)
    assert (found["lowest"], found["highest"]) == (-1.0, 3.0)
    assert [entry["value"] for entry in found["quantiles"]][2] == 0.0
    edges, rows = found["histogram"]["edges"], found["histogram"]["rows"]
    assert (len(edges), edges[0], edges[-1], sum(rows)) == (len(rows) + 1, -1.0, 3.0, 3)
    assert residuals(torch.tensor([float("inf")]), torch.tensor([0.0])) == {"residuals": None}


# --- written answers --------------------------------------------------------------------------------------------------


def test_the_longest_common_subsequence_is_the_longest() -> None:
    source = random.Random(0)
    for _ in range(50):
        first, second = (source.choices("abc", k=source.randint(0, 7)) for _ in range(2))
        shared = {
            length
            for length in range(len(first) + 1)
            for kept in combinations(first, length)
            if any(kept == other for other in combinations(second, length))
        }
        assert longest_common_subsequence(first, second) == max(shared)


@pytest.mark.parametrize(
    ("expected", "written", "score"),
    [
        ("police killed the gunman", "police kill the gunman", 0.75),  # Lin 2004, section 3
        ("police killed the gunman", "the gunman kill police", 0.5),
        ("It is Paris.", "it is paris", 1.0),
        ("a b c d", "a x b", 2 * 2 / 7),
        ("one", "two", 0.0),
        ("!", " ! ", 1.0),
        ("!", "?", 0.0),
        ("北京是首都", "首都是北京", 2 * 2 / 10),
    ],
)
def test_rouge_l(expected: str, written: str, score: float) -> None:
    assert rouge_l(expected, written) == pytest.approx(score)


def rows(count: int) -> Rows:
    return Rows({"prompt": [str(i) for i in range(count)]}, list(range(1, count + 1)))


def test_answers_are_chosen_at_even_distances() -> None:
    assert chosen(rows(3)).numbers == [1, 2, 3]
    assert chosen(rows(100)).numbers == list(range(1, 101, 5))
    assert len(chosen(rows(45))) <= ROWS


def test_answers_are_scored() -> None:
    def answer(row: dict[str, Any], seconds: float) -> tuple[str, Written]:
        assert 0 < seconds <= text_generation_answers.SECONDS
        return "a b", Written("a b " if row["prompt"] == "0" else "a", 3, ended=row["prompt"] == "0")

    found = answer_report(rows(2), answer)
    assert found["generation"] == {
        "rows": 2,
        "exact_match": 0.5,
        "rouge_l": pytest.approx((1 + 2 / 3) / 2),
        "ended": 0.5,
    }
    assert [(entry["row"], entry["exact"]) for entry in found["answers"]] == [(1, True), (2, False)]


def test_an_answer_that_time_cut_off_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_generation_answers, "SECONDS", 0.0)
    found = answer_report(rows(2), lambda *_: ("a", Written("", 1, ended=False)))
    assert found == {"generation": None, "answers": []}
    assert np.isfinite(rouge_l("", "a"))

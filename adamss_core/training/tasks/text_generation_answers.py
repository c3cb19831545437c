"""Compare texts that a model writes with those of the data: exact match and ROUGE-L."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Any

from adamss_core.training.data import Rows
from adamss_core.training.tasks.text_generation_samples import Written

ROWS, SECONDS = 20, 60.0  # answered for a report, at most
TOKENS = 256  # of an answer
SHOWN = 400  # characters of a text
# One ideograph or syllable is a word where words are not written apart.
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")

Answer = Callable[[dict[str, Any], float], tuple[str, Written]]


def chosen(rows: Rows) -> Rows:
    """Choose rows at even distances."""
    return rows.take(list(range(0, len(rows), -(-len(rows) // ROWS)))[:ROWS])


def answer_report(rows: Rows, answer: Answer) -> dict[str, Any]:
    """Let a model answer some rows and score what it writes.

    Args:
        answer: called with a row and the seconds that are left; returns the expected text and the model's.

    Returns:
        "generation": the scores; None where time did not suffice for a row. "answers": the texts, cut.
    """
    deadline = time.monotonic() + SECONDS
    answers: list[dict[str, Any]] = []
    asked = chosen(rows)
    for number, row in zip(asked.numbers, asked.cells(), strict=True):
        expected, written = answer(row, max(0.0, deadline - time.monotonic()))
        if time.monotonic() > deadline and not written.ended:  # cut off by the time, not by the model
            break
        answers.append(_scored(number, expected, written))
    return {"generation": _summary(answers), "answers": answers}


def _scored(number: int, expected: str, written: Written) -> dict[str, Any]:
    return {
        "row": number,
        "expected": expected[:SHOWN],
        "answer": written.text[:SHOWN],
        "exact": is_exact(expected, written.text),
        "rouge_l": rouge_l(expected, written.text),
        "ended": written.ended,
    }


def _summary(answers: list[dict[str, Any]]) -> dict[str, Any] | None:
    if not answers:
        return None
    names = {"exact_match": "exact", "rouge_l": "rouge_l", "ended": "ended"}
    means = {name: sum(map(float, (entry[key] for entry in answers))) / len(answers) for name, key in names.items()}
    return {"rows": len(answers), **means}


def is_exact(expected: str, written: str) -> bool:
    """Return whether both texts are equal, but for white space around them."""
    return expected.strip() == written.strip()


def rouge_l(expected: str, written: str) -> float:
    """Return ROUGE-L (Lin 2004): F1 of the longest common subsequence of words, in lower case, without punctuation."""
    if is_exact(expected, written):
        return 1.0
    first, second = WORD.findall(expected.lower()), WORD.findall(written.lower())
    common = longest_common_subsequence(first, second)
    return 2 * common / (len(first) + len(second)) if common else 0.0


def longest_common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest sequence that both contain in order, with gaps."""
    lengths = [0] * (len(second) + 1)  # of `first` so far with each beginning of `second`
    for word in first:
        before = 0
        for place, other in enumerate(second, start=1):
            above = lengths[place]
            lengths[place] = before + 1 if word == other else max(above, lengths[place - 1])
            before = above
    return lengths[-1]

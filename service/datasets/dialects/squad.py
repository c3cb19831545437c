"""Questions on a passage as SQuAD writes them: the first of a row's answers becomes the column `answer`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

from service.datasets.dialects.dialect import Dialect
from service.datasets.rows import Notice, Row, counted

ANSWERS, ANSWER = "answers", "answer"


class Squad(Dialect):
    """Reads `answers` of texts and their places in the passage."""

    def __init__(self) -> None:
        self._several = self._without = 0

    @classmethod
    def recognise(cls, rows: Sequence[Row]) -> Self | None:
        cells = [values.get(ANSWERS) for values in rows]
        is_squad = any(map(_has_answers, cells)) and all(cell is None or _has_answers(cell) for cell in cells)
        return cls() if is_squad and not any(ANSWER in values for values in rows) else None

    def read(self, values: Row) -> Row:
        cell = values.get(ANSWERS)
        if cell is not None and not _has_answers(cell):
            return values
        texts = [] if cell is None else cell["text"]
        self._several += len(texts) > 1
        self._without += not texts
        return {name: value for name, value in values.items() if name != ANSWERS} | {ANSWER: next(iter(texts), None)}

    def notices(self) -> Iterator[Notice]:
        several = f" {counted(self._several)} have several answers." if self._several else ""
        without = f" {counted(self._without)} have none." if self._without else ""
        yield Notice(
            "squad",
            ANSWERS,
            f"Column '{ANSWERS}' holds answers as SQuAD writes them: the first text is column '{ANSWER}', their places "
            f"are not read.{several}{without}",
        )


def _has_answers(cell: Any) -> bool:
    if not isinstance(cell, dict) or "answer_start" not in cell:
        return False
    texts = cell.get("text")
    return isinstance(texts, list) and all(isinstance(text, str) for text in texts)

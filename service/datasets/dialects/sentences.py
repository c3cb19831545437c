"""One word a row, with a column that numbers sentences: the words of a sentence become one row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from adamss_core.spec.tasks.token_classification import WORDS
from service.datasets import rows
from service.datasets.conll import iob1_notice
from service.datasets.iob import to_bio
from service.datasets.rows import MAX_ROW_BYTES, MEBIBYTE, Notice, NumberedRow, Problem, Row

SENTENCES = ("sentence_#", "sentence#", "sentence", "sentence_id", "sentence_idx", "sentence_no", "sentence_number")
MORE_SENTENCES = ("sent_id", "sent", "sentid", "sentenceid", "sent_idx", "sent_no")


@dataclass
class _Group:
    """Rows of one sentence.

    Attributes:
        problem: of the first of its rows that cannot be used.
    """

    key: Any
    words: list[Row] = field(default_factory=list)
    line: int | None = None
    size: int = 0
    problem: str | None = None


class Sentences:
    """Groups rows that follow one another and have the same sentence; an empty cell continues the sentence."""

    def __init__(self, sentence: str, word: str, others: list[str]) -> None:
        self._sentence, self._word, self._others = sentence, word, others
        self._sentences = self._converted = 0

    @classmethod
    def recognise(cls, first: Sequence[Row]) -> Self | None:
        """Return the grouping for rows of plain cells, several of which follow one another in a sentence."""
        if len(first) < 2:
            return None
        usual = {name.strip().lower().replace(" ", "_"): name for name in first[0]}
        sentence = next((usual[name] for name in (*SENTENCES, *MORE_SENTENCES) if name in usual), None)
        word = next((usual[name] for name in WORDS if name in usual), None)
        others = [name for name in first[0] if name not in (sentence, word) and name.strip()]
        if sentence is None or word is None or not others:
            return None
        if not all(isinstance(row.get(word), str | int | float | None) for row in first):
            return None
        if any(len(str(row.get(word)).split()) > 1 for row in first):  # a text, beside its number
            return None
        return cls(sentence, word, others) if _are_groups([row.get(sentence) for row in first]) else None

    def group(self, items: Iterator[NumberedRow | Problem]) -> Iterator[NumberedRow | Problem]:
        """Yield a row for each sentence."""
        group = _Group(None)
        for item in items:
            if isinstance(item, Problem):
                group.problem = group.problem or f"has a word that cannot be read: its row {item.row} {item.message}"
                continue
            key = item.values.get(self._sentence)
            if not _is_empty(key) and key != group.key:
                yield from self._end(group)
                group = _Group(key)
            self._add(group, item)
        yield from self._end(group)

    def notices(self) -> Iterator[Notice]:
        """Yield what was grouped; complete after the last row."""
        yield Notice(
            "words_grouped",
            self._word,
            f"The file has one word a row: the words of each sentence, by column '{self._sentence}', are one row now "
            f"({self._sentences:,} sentences). Sentences must stand in one piece.",
        )
        if self._converted:
            yield iob1_notice(self._converted)

    def _add(self, group: _Group, item: NumberedRow) -> None:
        group.line = item.line
        if group.problem:
            return
        word = item.values.get(self._word)
        group.size += sum(len(str(cell)) for cell in item.values.values())
        if len(group.words) == rows.MAX_ENTRIES or group.size > MAX_ROW_BYTES:
            group.problem = (
                f"is longer than {rows.MAX_ENTRIES:,} words or {MAX_ROW_BYTES // MEBIBYTE} MiB; number the "
                f"sentences in column '{self._sentence}'"
            )
            group.words = []
        elif _is_empty(word):
            group.problem = f"has no word in row {item.number} of the file; remove that row"
        else:
            group.words.append(item.values)

    def _end(self, group: _Group) -> Iterator[NumberedRow | Problem]:
        if not group.words and not group.problem:
            return
        self._sentences += 1
        if group.problem:
            yield Problem(self._sentences, group.line, None, group.problem)
            return
        values: Row = {self._sentence: group.key}
        is_other = False
        for name in (self._word, *self._others):
            cells = ["" if row.get(name) is None else row[name] for row in group.words]
            if name != self._word and all(isinstance(cell, str) for cell in cells):
                cells, was_iob1 = to_bio(cells)
                is_other |= was_iob1
            values[name] = cells
        self._converted += is_other
        yield NumberedRow(self._sentences, group.line, values)


def _is_empty(cell: Any) -> bool:
    return (
        cell is None or (isinstance(cell, str) and not cell.strip()) or (isinstance(cell, float) and math.isnan(cell))
    )


def _are_groups(keys: list[Any]) -> bool:
    """Return whether sentences continue over rows, and none comes back after another."""
    if any(isinstance(key, list | dict) for key in keys):
        return False
    filled = [key for key in keys if not _is_empty(key)]
    changes = [key for before, key in zip([None, *filled], filled, strict=False) if before != key]
    return bool(filled) and not _is_empty(keys[0]) and len(changes) < len(keys) and len(set(changes)) == len(changes)

"""Words and their tags as texts with blanks between them, and rows that have another number of tags than words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Self

from adamss_core.spec.cells import words_of
from adamss_core.spec.suggestion import TEXTS
from adamss_core.spec.tasks.token_classification import TAGS, WORDS
from service.datasets.dialects.dialect import Dialect
from service.datasets.rows import Notice, Row, counted

TAG = re.compile(r"O|[BIESLU]-\S+")
MIN_EQUAL = 0.9  # of the first rows


class TagTexts(Dialect):
    """Splits a text and its tags into lists of words and tags, and counts the rows where they do not go together."""

    def __init__(self, words: str, tags: str) -> None:
        self._words, self._tags = words, tags
        self._split = self._unequal = 0

    @classmethod
    def recognise(cls, rows: Sequence[Row]) -> Self | None:
        names = {name.strip().lower(): name for values in reversed(rows) for name in reversed(values)}
        for tags in [names[name] for name in TAGS if name in names]:
            for usual in [name for name in dict.fromkeys((*WORDS, *TEXTS)) if names.get(name) not in (None, tags)]:
                cells = [(values.get(names[usual]), values.get(tags)) for values in rows]
                if _go_together([both for both in cells if all(both)], has_words=usual in WORDS):
                    return cls(names[usual], tags)
        return None

    def read(self, values: Row) -> Row:
        cells = {name: values[name] for name in (self._words, self._tags) if values.get(name)}
        if len(cells) < 2:
            return values
        texts = {name: words_of(cell) for name, cell in cells.items() if isinstance(cell, str)}
        self._split += bool(texts)
        words, tags = (cells | texts).values()
        self._unequal += not isinstance(tags, list) or not isinstance(words, list) or len(words) != len(tags)
        return {**values, **texts} if texts else values

    def notices(self) -> Iterator[Notice]:
        if self._split:
            yield Notice(
                "tag_texts",
                self._tags,
                f"Column '{self._tags}' has a tag for each word of '{self._words}' ({counted(self._split)}): both are "
                "split at blanks into lists.",
            )
        if self._unequal:
            yield Notice(
                "unequal_tags",
                self._tags,
                f"Column '{self._tags}' has another number of tags than '{self._words}' has words in "
                f"{counted(self._unequal)}, which cannot be trained on. Write one tag for each word.",
            )


def _go_together(cells: Sequence[tuple[Any, Any]], *, has_words: bool) -> bool:
    """Tell whether most of the texts have as many tags as words.

    Args:
        has_words: whether the first column's name says that it holds words; else tags have to be IOB tags.
    """
    if not cells or len({type(cell) for both in cells for cell in both}) > 1:
        return False
    is_text = isinstance(cells[0][0], str)
    if not is_text and not (has_words and isinstance(cells[0][0], list)):
        return False
    split = [(words_of(words), words_of(tags)) for words, tags in cells]
    if is_text and not has_words:
        tags = {tag for _, found in split for tag in found}
        if not all(map(TAG.fullmatch, tags)) or tags <= {"O"}:
            return False
    equal = sum(len(words) == len(tags) for words, tags in split)
    return equal >= MIN_EQUAL * len(cells) and any(len(words) > 1 for words, _ in split)

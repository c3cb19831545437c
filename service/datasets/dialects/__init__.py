"""Bring rows that say the same thing in different ways into the columns that tasks read.

A reader yields rows as their file has them; dialects, recognised in the first rows, rewrite them before anything is
checked, counted or kept. A new dialect is a class in a module of this folder, and its place in `DIALECTS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from itertools import chain
from typing import Any

from service.datasets.dialects.chats import Chats
from service.datasets.dialects.dialect import Dialect, Misread
from service.datasets.dialects.joined_chats import ChatPrompts, Preferences
from service.datasets.dialects.label_studio import LabelStudio
from service.datasets.dialects.list_texts import ListTexts
from service.datasets.dialects.nested import NestedColumns
from service.datasets.dialects.sentences import Sentences
from service.datasets.dialects.several_labels import SeveralLabels
from service.datasets.dialects.spans import Spans
from service.datasets.dialects.squad import Squad
from service.datasets.dialects.tag_texts import TagTexts
from service.datasets.dialects.tool_columns import Tools
from service.datasets.rows import MEBIBYTE, NESTED, Notice, NumberedRow, Problem, Row, check_values

# Of the rows in which dialects are recognised, and that are held in memory together.
HEAD_ROWS = 100
HEAD_BYTES = 16 * MEBIBYTE

# In this order: each sees the rows as those before it left them.
DIALECTS: tuple[type[Dialect], ...] = (
    *(Chats, ChatPrompts, Preferences),
    *(ListTexts, LabelStudio, Spans, TagTexts, SeveralLabels),
    *(Tools, Squad, NestedColumns),
)

Item = NumberedRow | Problem


class Translated:
    """The rows of a file in the columns that tasks read.

    Attributes:
        dialects: found in the first rows, in order.
    """

    def __init__(self, items: Iterator[Item], is_checked: bool) -> None:
        """Recognise the dialects of the first rows.

        Args:
            is_checked: whether rows that no dialect touches are known to have valid names and cells.
        """
        head = _head(items)
        self._items: Iterator[Item] = chain(head, items)
        self._sentences = Sentences.recognise([item.values for item in head if isinstance(item, NumberedRow)])
        if self._sentences is not None:
            self._items = self._sentences.group(self._items)
            head = _head(self._items)
            self._items = chain(head, self._items)
        self._is_checked = is_checked
        self.dialects = _recognised(head)

    def __iter__(self) -> Iterator[Item]:
        for item in self._items:
            yield item if isinstance(item, Problem) else self._row(item)

    def notices(self) -> Iterator[Notice]:
        """Yield what was rewritten; complete after the last row."""
        if self._sentences is not None:
            yield from self._sentences.notices()
        for dialect in self.dialects:
            yield from dialect.notices()

    def _row(self, row: NumberedRow) -> Item:
        values = row.values
        try:
            for dialect in self.dialects:
                values = dialect.read(values)
        except Misread as error:
            return Problem(row.number, row.line, error.column, error.message)
        except RecursionError:
            return Problem(row.number, row.line, None, NESTED)
        if values is row.values and self._is_checked:
            return row
        translated = NumberedRow(row.number, row.line, values)
        return check_values(translated) or translated


def _head(items: Iterator[Item]) -> list[Item]:
    head: list[Item] = []
    size = 0
    for item in items:
        head.append(item)
        size += _characters(item.values) if isinstance(item, NumberedRow) else 0
        if len(head) == HEAD_ROWS or size > HEAD_BYTES:
            break
    return head


def _characters(values: Row) -> int:
    """Count the characters of a row's texts, however deep they lie."""
    left: list[Any] = [values]
    total = 0
    while left:
        value = left.pop()
        if isinstance(value, str):
            total += len(value)
        elif isinstance(value, dict):
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
    return total


def _recognised(head: list[Item]) -> list[Dialect]:
    rows = [item.values for item in head if isinstance(item, NumberedRow)]
    found: list[Dialect] = []
    for kind in DIALECTS:
        if (dialect := kind.recognise(rows)) is not None:
            found.append(dialect)
            scout = deepcopy(dialect)  # so that what the dialect counts begins at the first row
            rows = list(_read_all(scout, rows))
    return found


def _read_all(dialect: Dialect, rows: list[Row]) -> Iterator[Row]:
    for values in rows:
        try:
            yield dialect.read(values)
        except (Misread, RecursionError):
            continue

"""Lists that are written as text in a cell, as JSON or as Python prints them."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Self, TypeGuard

from service.datasets.dialects.dialect import Dialect, Misread
from service.datasets.dialects.spans import is_span
from service.datasets.rows import Notice, Row, counted

MAX_PYTHON = 100_000  # characters of a list that is not JSON
QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""")
BLANKS_BETWEEN = re.compile(rf"\[\s*(?:{QUOTED.pattern})(?:\s+(?:{QUOTED.pattern}))+\s*\]")  # as NumPy prints
NUMBERS = re.compile(r"\[\s*[-+.\de]+(?:\s+[-+.\de]+)+\s*\]")  # as NumPy prints


class ListTexts(Dialect):
    """Reads lists of texts, numbers or spans from columns that hold nothing else; other objects are not its own."""

    def __init__(self, columns: set[str]) -> None:
        self._columns = columns
        self._rows: Counter[str] = Counter()

    @classmethod
    def recognise(cls, rows: Sequence[Row]) -> Self | None:
        names = dict.fromkeys(name for values in rows for name in values)
        cells: dict[str, list[Any]] = {
            name: [values[name] for values in rows if values.get(name) not in (None, "")] for name in names
        }
        columns = {name for name, found in cells.items() if found and all(_looks_like_list(cell) for cell in found)}
        columns = {name for name in columns if all(_list_of(cell) is not None for cell in cells[name])}
        return cls(columns) if columns else None

    def read(self, values: Row) -> Row:
        lists: Row = {}
        for name in self._columns & values.keys():
            cell = values[name]
            if cell in (None, "") or not isinstance(cell, str):
                continue
            entries = _list_of(cell)
            if entries is None:
                raise Misread('holds text where other rows have a list; write it as ["a", "b"]', name)
            lists[name] = entries
            self._rows[name] += 1
        return {**values, **lists} if lists else values

    def notices(self) -> Iterator[Notice]:
        for column, rows in self._rows.items():
            yield Notice(
                "lists_from_text",
                column,
                f"Column '{column}' holds lists as text ({counted(rows)}); they are read as lists.",
            )


def _looks_like_list(cell: Any) -> TypeGuard[str]:
    return isinstance(cell, str) and cell.strip()[:1] == "[" and cell.strip()[-1:] == "]"


def _list_of(text: str) -> list[Any] | None:
    """Return the entries of a list as JSON, Python or NumPy print it; None for other text."""
    stripped = text.strip()
    if not _looks_like_list(stripped):
        return None
    try:
        value = json.loads(stripped)
    except (ValueError, RecursionError):
        value = _python_list(stripped)
    is_list = isinstance(value, list) and all(isinstance(entry, str | int | float) or is_span(entry) for entry in value)
    return value if is_list else None


def _python_list(text: str) -> Any:
    if len(text) > MAX_PYTHON:
        return None
    try:
        if BLANKS_BETWEEN.fullmatch(text):  # Python would join them into one text
            return [ast.literal_eval(entry) for entry in QUOTED.findall(text)]
        if NUMBERS.fullmatch(text):
            return [ast.literal_eval(entry) for entry in text[1:-1].split()]
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return None

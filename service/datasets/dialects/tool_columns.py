"""Functions that the assistant of a chat may call: kept as the JSON text of a list, as which they stand in one cell."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Self

from adamss_core.spec.tools import read_tools
from service.datasets.dialects.dialect import Dialect, Misread
from service.datasets.dialects.messages import parse_text
from service.datasets.rows import Notice, Row, counted

NAMES = ("tools", "functions")  # of columns that hold them as text


class Tools(Dialect):
    """Lists of functions, in columns of any name, or as text under a usual one."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns
        self._rows: Counter[str] = Counter()

    @classmethod
    def recognise(cls, rows: Sequence[Row]) -> Self | None:
        cells = ((name, cell) for values in rows for name, cell in values.items())
        columns = dict.fromkeys(name for name, cell in cells if _are_tools(name, cell))
        return cls(list(columns)) if columns else None

    def read(self, values: Row) -> Row:
        changed = {name: self._text(name, values[name]) for name in self._columns if name in values}
        return {**values, **changed} if any(values[name] != text for name, text in changed.items()) else values

    def _text(self, name: str, cell: Any) -> str | None:
        value = parse_text(cell) or cell if isinstance(cell, str) else cell
        try:
            tools = read_tools(value)
        except ValueError as error:
            message = f"holds tools that {error}; write such a list, or leave the cell empty"
            raise Misread(message, name) from error
        if tools is None:
            return None
        self._rows[name] += 1
        return json.dumps(
            [tool if "function" in tool else {"type": "function", "function": tool} for tool in tools],
            ensure_ascii=False,
        )

    def notices(self) -> Iterator[Notice]:
        for column, rows in self._rows.items():
            yield Notice(
                "chat_tools",
                column,
                f"Column '{column}' holds functions that the assistant may call, in {counted(rows)}. A "
                f"job on chats shows them to the model (dataset.tools), if its chat template does.",
            )


def _are_tools(name: str, cell: Any) -> bool:
    if isinstance(cell, str):
        cell = parse_text(cell) if name.lower() in NAMES else None
    return isinstance(cell, list) and bool(cell) and all(map(_is_tool, cell))


def _is_tool(entry: Any) -> bool:
    """Return whether an entry is a function's description, not a record that happens to have a name."""
    if not isinstance(entry, dict):
        return False
    function = entry.get("function")
    if isinstance(function, dict):
        return isinstance(function.get("name"), str)
    return isinstance(entry.get("name"), str) and ("parameters" in entry or "description" in entry)

"""Chats in columns of any name: each becomes a list of messages of role and content."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Self

from service.datasets.dialects.dialect import Dialect, Misread
from service.datasets.dialects.messages import OPENAI, PAIRS, ROLE_NAMES, SHAREGPT, TEXT, is_chat, read_chat
from service.datasets.rows import Notice, Row, counted

WAYS = {
    SHAREGPT: "as ShareGPT writes them (from, value)",
    ROLE_NAMES: "with roles under other names than user, assistant, system and tool",
    OPENAI: "as OpenAI writes them (content in parts or null, calls of tools)",
    TEXT: "as JSON text",
    PAIRS: "as pairs of question and answer",
}


class Chats(Dialect):
    """Chats as ShareGPT, OpenAI and others write them, also as text in a cell."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns
        self._ways: Counter[tuple[str, str]] = Counter()  # of a column -> rows

    @classmethod
    def recognise(cls, rows: Sequence[Row]) -> Self | None:
        columns = chat_columns(rows)
        return cls(columns) if columns else None

    def read(self, values: Row) -> Row:
        changed: Row = {}
        for name in self._columns:
            cell = values.get(name)
            try:
                chat, ways = read_chat(cell)
            except Misread as error:
                raise Misread(error.message, name) from error
            self._ways.update((name, way) for way in ways)
            if chat is not cell:
                changed[name] = chat
        return {**values, **changed} if changed else values

    def notices(self) -> Iterator[Notice]:
        for (column, way), rows in sorted(self._ways.items()):
            yield Notice(
                way,
                column,
                f"Column '{column}' holds chats {WAYS[way]} in {counted(rows)}. They are kept as "
                "messages of role and content.",
            )


def chat_columns(rows: Sequence[Row]) -> list[str]:
    """Return the columns most of whose filled cells are chats."""
    filled: Counter[str] = Counter()
    chats: Counter[str] = Counter()
    for values in rows:
        for name, cell in values.items():
            if cell is not None and cell not in ("", []):
                filled[name] += 1
                chats[name] += is_chat(cell)
    return [name for name, count in chats.items() if 2 * count > filled[name]]

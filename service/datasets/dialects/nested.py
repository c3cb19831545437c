"""Objects in cells: their parts become columns of their own, such as `meta.lang`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Self

from service.datasets.dialects.dialect import Dialect, Misread
from service.datasets.rows import Notice, Row, counted

MAX_DEPTH = 5
SHOWN = 5  # names in a notice


class NestedColumns(Dialect):
    """Takes objects apart; lists of objects that are no chat are left out, since no task reads them."""

    def __init__(self, plain: set[str]) -> None:
        """Take apart all columns but those that hold plain values."""
        self._plain = plain
        self._parts: dict[str, dict[str, None]] = {}  # column -> names of its parts, in order
        self._left_out: Counter[str] = Counter()

    @classmethod
    def recognise(cls, rows: Sequence[Row]) -> Self | None:
        """Return the dialect for rows of any types but text: the first object may come late."""
        cells = [(name, value) for values in rows for name, value in values.items() if value is not None]
        if all(isinstance(value, str) for _, value in cells):
            return None
        return cls({name for name, value in cells if not isinstance(value, (dict, list))})

    def read(self, values: Row) -> Row:
        """Return the row without objects, unless one stands where other rows have text or a number."""
        nested = [name for name, value in values.items() if isinstance(value, (dict, list))]
        if not any(name not in self._plain and _is_foreign(values[name]) for name in nested):
            return values
        flat: Row = {}
        for name, value in values.items():
            for path, part in [(name, value)] if name in self._plain else self._flat(name, value, 1):
                if path in flat or (path != name and path in values):
                    raise Misread(f"has '{path[:200]}' twice: as a column, and within '{name[:200]}'; rename one")
                flat[path] = part
                if path != name:
                    self._parts.setdefault(name, {})[path] = None
        return flat

    def _flat(self, path: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict):
            if depth > MAX_DEPTH:
                raise Misread(f"holds objects more than {MAX_DEPTH} levels deep; write their parts as columns")
            for name, part in value.items():
                yield from self._flat(f"{path}.{name}", part, depth + 1)
        elif _is_foreign(value):
            self._left_out[path] += 1
        else:
            yield path, value

    def notices(self) -> Iterator[Notice]:
        for column, parts in self._parts.items():
            named = ", ".join(f"'{name}'" for name in list(parts)[:SHOWN])
            more = f" and {len(parts) - SHOWN} more" if len(parts) > SHOWN else ""
            yield Notice(
                "nested_column", column, f"Column '{column}' holds objects. Their parts are columns: {named}{more}."
            )
        for column, rows in self._left_out.items():
            yield Notice(
                "column_left_out",
                column,
                f"Column '{column}' is left out: it holds lists of objects that are no chat ({counted(rows)}). "
                "No task reads them.",
            )


def _is_foreign(value: Any) -> bool:
    """Tell whether a value is an object, or a list of objects of which none says whose message it is."""
    if not isinstance(value, list):
        return isinstance(value, dict)
    is_of_objects = bool(value) and all(isinstance(entry, dict) for entry in value)
    return is_of_objects and not any("role" in entry or "content" in entry for entry in value)

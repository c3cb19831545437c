"""Rows of one JSON object: its lists as columns, as pandas writes them, or the list that it holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from service.datasets.json_rows import Scanner, checked
from service.datasets.rows import MEBIBYTE, Notice, NumberedRow, Problem, counted, refuse
from service.datasets.text_file import TextFile
from service.shared.errors import InvalidRequest, quoted_names

DOCUMENT_BYTES = 128 * MEBIBYTE  # that are read at once; lists and lines are streamed
# Usual names of a list of rows beside facts about it.
LISTS = frozenset(("data", "rows", "examples", "items", "records", "results", "samples", "instances"))
SHOWN = 5  # names in a message


def read_document(file: TextFile, notices: list[Notice], *, is_lines: bool) -> Iterator[NumberedRow | Problem] | None:
    """Return the rows of one object, or of objects that each take several lines; None where each line is a row.

    Args:
        is_lines: whether the file's name is one of JSON lines, so that one object on one line is a row.

    Raises:
        InvalidRequest: the object holds no rows, or several tables.
    """
    scanner = Scanner(file.chunks(), DOCUMENT_BYTES)
    scanner.at_end()  # skips blank lines
    first = scanner.line
    try:
        value = scanner.value(1)
    except InvalidRequest:
        return None
    is_one_line = scanner.line == first
    if not scanner.at_end():
        return None if is_one_line else _objects(file)
    if is_one_line and is_lines:
        return None
    found = rows_of(value)
    if found is not None:
        rows, how = found
        notices.append(Notice("json_document", None, f"The file is one JSON object: {how}, {counted(len(rows))}."))
        return (checked(row, number, None) for number, row in enumerate(rows, start=1))
    if is_one_line:
        return None
    named = ", ".join(map(repr, list(value)[:SHOWN])) if isinstance(value, dict) else "none"
    raise refuse(
        "unsupported_format",
        f"This is one JSON object that holds no rows; its names are {named}. Write one object a line, a list of "
        'objects, {"data": [objects]}, or lists of one length as columns.',
    )


def _objects(file: TextFile) -> Iterator[NumberedRow | Problem]:
    scanner = Scanner(file.chunks())
    number = 0
    while not scanner.at_end():
        number += 1
        line = scanner.line
        yield checked(scanner.value(number), number, line)


def rows_of(value: Any) -> tuple[list[Any], str] | None:
    """Return the rows that an object holds, and how; None where it is a row itself."""
    if not isinstance(value, dict):
        return None
    for find in (_split, _listed, _columns, _indexed):
        if (found := find(value)) is not None:
            return found
    return None


def _split(value: dict[str, Any]) -> tuple[list[Any], str] | None:
    """Find pandas' `orient="split"`: names of columns beside lists of cells."""
    names, data = value.get("columns"), value.get("data")
    if not isinstance(names, list) or not isinstance(data, list) or not all(isinstance(name, str) for name in names):
        return None
    if not all(isinstance(cells, list) and len(cells) == len(names) for cells in data):
        return None
    return [dict(zip(names, cells, strict=True)) for cells in data], "'columns' names those of 'data'"


def _listed(value: dict[str, Any]) -> tuple[list[Any], str] | None:
    """Find a list of objects under a usual name, as in `{"data": [...]}` and in answers of a data set viewer."""
    lists = [name for name, entries in value.items() if isinstance(entries, list) and _are_objects(entries)]
    usual = [name for name in lists if name in LISTS]
    if not lists:
        return None
    name, *others = usual or lists
    if others:
        raise refuse(
            "several_tables",
            f"This is one JSON object with several lists of rows: {quoted_names([name, *others])}. Write each into a "
            "file of its own.",
        )
    rows = value[name]
    if all(isinstance(row.get("row"), dict) and "row_idx" in row for row in rows):
        rows = [row["row"] for row in rows]
    return rows, f"its '{name}' are the rows"


def _columns(value: dict[str, Any]) -> tuple[list[Any], str] | None:
    lists = list(value.values())
    if not lists or not all(isinstance(cells, list) and cells for cells in lists) or len(set(map(len, lists))) > 1:
        return None
    if any(isinstance(cells[0], dict) and _is_turn(cells[0]) for cells in lists):
        return None
    return [dict(zip(value, cells, strict=True)) for cells in zip(*lists, strict=True)], "its lists are the columns"


def _indexed(value: dict[str, Any]) -> tuple[list[Any], str] | None:
    """Find pandas' own form: columns that are objects of one index, or rows of one set of columns by their index."""
    inner = list(value.values())
    if not inner or not all(isinstance(cells, dict) and cells for cells in inner):
        return None
    keys = list(inner[0])
    if any(list(cells) != keys for cells in inner):
        return None
    if all(key.isdecimal() for key in keys):
        return [dict(zip(value, cells, strict=True)) for cells in _turned(inner, keys)], "its objects are the columns"
    return (inner, "its objects are the rows") if len(inner) > 1 else None


def _turned(columns: list[dict[str, Any]], keys: list[str]) -> Iterator[tuple[Any, ...]]:
    for key in keys:
        yield tuple(cells[key] for cells in columns)


def _are_objects(entries: list[Any]) -> bool:
    """Tell whether a list is one of rows; a chat is a list of objects too, and a cell."""
    return bool(entries) and all(isinstance(entry, dict) and not _is_turn(entry) for entry in entries)


def _is_turn(entry: dict[str, Any]) -> bool:
    return entry.keys() >= {"role", "content"} or entry.keys() >= {"from", "value"}

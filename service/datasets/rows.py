"""Rows, problems and notices, the common output of all readers, and the rules for a cell's value."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, NamedTuple

from adamss_core.spec.chat import looks_like_chat, wrong_with_chat
from service.shared.errors import InvalidRequest, TooLarge

Format = Literal["csv", "tsv", "jsonl", "json", "parquet", "arrow", "xlsx", "text", "images", "conll"]
Row = dict[str, Any]

MAX_ROWS = 10_000_000
MAX_ROW_BYTES = 10 * 1024 * 1024
MAX_COLUMNS = 500
MAX_NAME = 200
MAX_ENTRIES = 100_000  # of a list in a cell
MEBIBYTE = 2**20
NESTED = "is nested too deeply; write fewer levels"


class NumberedRow(NamedTuple):
    """A row with its position in the file.

    Attributes:
        number: position from 1; a header is not counted.
        line: line of the file at which the row ends; None where the format has no lines.
    """

    number: int
    line: int | None
    values: Row


@dataclass(frozen=True)
class Problem:
    """A fault of a row.

    Attributes:
        row: the row's number, from 1; in a zip of images, the number of the file in the zip.
        line: line of the file at which the row ends.
        message: fault and remedy; completes "row 3 ...".
        left_out: whether the row is left out; otherwise only the cell counts as empty.
        file: the file at fault, in a zip of images.
    """

    row: int
    line: int | None
    column: str | None
    message: str
    left_out: bool = True
    file: str | None = None

    def __str__(self) -> str:
        line, column = f"line {self.line}" if self.line else "", f"column '{self.column}'" if self.column else ""
        position = ", ".join(part for part in (line, column) if part)
        name = self.file or f"row {self.row}"
        return f"{name}{f' ({position})' if position else ''} {self.message}"


@dataclass(frozen=True)
class Notice:
    """A remark on the data as a whole; no row is left out because of a notice."""

    code: str
    column: str | None
    message: str


def counted(number: int, noun: str = "row") -> str:
    """Write a number with its noun, such as "1 row" and "1,200 rows"."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def refuse(code: str, message: str) -> InvalidRequest:
    return InvalidRequest(message, code=code, param="file")


def too_large(code: str, message: str) -> TooLarge:
    return TooLarge(message, code=code, param="file")


def check_count(rows: int) -> None:
    """Raise TooLarge for more rows than are accepted: a row of nothing takes no room in a packed file, but time."""
    if rows > MAX_ROWS:
        raise too_large("too_many_rows", f"The file has over {MAX_ROWS:,} rows; the service accepts no more. Split it.")


def check_count_ahead(units: Iterable[object]) -> None:
    """Raise TooLarge for more rows than are accepted before any is converted, which takes ten times as long.

    Args:
        units: as many as the file has rows; they are read up to the first one too many.
    """
    check_count(sum(1 for _ in islice(units, MAX_ROWS + 1)))


def check_names(names: list[str]) -> None:
    """Raise InvalidRequest unless the header's names are valid column names."""
    if len(names) > MAX_COLUMNS:
        raise refuse("too_many_columns", f"The file has {len(names)} columns; at most {MAX_COLUMNS} are accepted.")
    for position, name in enumerate(names, start=1):
        if not is_name(name) or "\n" in name or _is_number(name):
            shown = name if len(name) <= 40 else name[:40] + "..."
            raise refuse(
                "no_header",
                f"The first line must name the columns, but its cell {position} is {shown!r}. Add a header line such "
                "as text,label.",
            )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise refuse("duplicate_columns", f"The header names '{twice[0]}' twice. Give every column its own name.")


def is_name(name: str) -> bool:
    return bool(name.strip()) and len(name) <= MAX_NAME and "\0" not in name


def check_values(row: NumberedRow) -> Problem | None:
    """Find the first invalid name or value of a row from a format with nested values."""
    for name, value in row.values.items():
        if not is_name(name):
            fault = f"is not a valid column name; use 1 to {MAX_NAME} characters"
        else:
            fault = cell_fault(value) or ""
        if fault:
            return Problem(row.number, row.line, name[:MAX_NAME], fault)
    return None


def cell_fault(value: Any) -> str | None:
    """Describe the fault of an invalid cell value. Lists of plain values and chats are valid, other nesting is not."""
    if isinstance(value, dict):
        return "holds an object; use text, a number, true, false, null, a list of these, or chat messages"
    if not isinstance(value, list):
        return _scalar_fault(value)
    return wrong_with_chat(value) if looks_like_chat(value) else _list_fault(value)


def _list_fault(entries: list[Any]) -> str | None:
    if len(entries) > MAX_ENTRIES:
        return f"holds a list of {len(entries):,} entries; at most {MAX_ENTRIES:,} are accepted"
    for entry in entries:
        if entry is None or isinstance(entry, (dict, list)):
            return (
                "holds a list with null or nested values in it; use a list of texts or numbers, or chat messages as "
                '[{"role": "user", "content": "..."}]'
            )
        if fault := _scalar_fault(entry):
            return fault
    return None


def _scalar_fault(value: Any) -> str | None:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "holds a number that is too large; write it as text"
    if isinstance(value, float) and not math.isfinite(value):
        return "holds a number that is not finite; use null for a missing value"
    return None


_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=False).encode


def encode(row: NumberedRow) -> bytes | Problem:
    """Encode the row as one line of canonical JSON, or describe why it cannot be."""
    try:
        line = _ENCODE(row.values).encode() + b"\n"
    except UnicodeEncodeError:
        return Problem(row.number, row.line, None, "holds half a surrogate pair; write the complete character")
    except RecursionError:
        return Problem(row.number, row.line, None, NESTED)
    except ValueError:  # in the arguments of a call, which are otherwise free
        return Problem(row.number, row.line, None, "holds a number that is not finite; use null for a missing value")
    if len(line) > MAX_ROW_BYTES:
        return Problem(
            row.number, row.line, None, f"is larger than {MAX_ROW_BYTES // MEBIBYTE} MiB; split its text into rows"
        )
    if b"\\u0000" in line and (column := _column_with_nul(row.values)):
        return Problem(row.number, row.line, column, "holds a NUL character; remove it")
    return line


def _column_with_nul(values: Row) -> str | None:
    # JSON escapes a NUL; a text with the escape's six characters has its backslash doubled.
    for name, value in values.items():
        if "\\u0000" in json.dumps([name, value], ensure_ascii=False).replace("\\\\", ""):
            return name
    return None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

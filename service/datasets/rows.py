"""What every format is read into: rows with a number, problems with a row and a remedy, and what may be in a cell."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from adamss_core.spec.chat import looks_like_chat, wrong_with_chat
from service.shared.errors import InvalidRequest, TooLarge

Format = Literal["csv", "tsv", "jsonl", "json", "parquet", "images"]
Row = dict[str, Any]

MAX_ROW_BYTES = 10 * 1024 * 1024
MAX_COLUMNS = 500
MAX_NAME = 200
MAX_ENTRIES = 100_000  # of a list in a cell
MEBIBYTE = 2**20


class NumberedRow(NamedTuple):
    """A row as read.

    Attributes:
        number: from 1; a header is not counted.
        line: line of the file at which the row ends; None where the format has no lines.
    """

    number: int
    line: int | None
    values: Row


@dataclass(frozen=True)
class Problem:
    """Something wrong with a row.

    Attributes:
        row: its number, from 1; of a zip of images, the number of the file in the zip.
        line: line of the file at which the row ends.
        message: what is wrong and what would be right; follows on "it".
        left_out: whether the row is left out; otherwise the one cell counts as empty.
        file: the file at fault, in a zip of images.
    """

    row: int
    line: int | None
    column: str | None
    message: str
    left_out: bool = True
    file: str | None = None

    def __str__(self) -> str:
        places = [f"line {self.line}" if self.line else "", f"column '{self.column}'" if self.column else ""]
        inside = ", ".join(place for place in places if place)
        name = self.file or f"row {self.row}"
        return f"{name}{f' ({inside})' if inside else ''} {self.message}"


@dataclass(frozen=True)
class Notice:
    """Something to know about the data as a whole, which keeps no row from being used."""

    code: str
    column: str | None
    message: str


def refuse(code: str, message: str) -> InvalidRequest:
    return InvalidRequest(message, code=code, param="file")


def too_large(code: str, message: str) -> TooLarge:
    return TooLarge(message, code=code, param="file")


def check_names(names: list[str]) -> None:
    """Raises InvalidRequest unless the names of a header can be names."""
    if len(names) > MAX_COLUMNS:
        raise refuse("too_many_columns", f"The file has {len(names)} columns; at most {MAX_COLUMNS} are accepted.")
    for place, name in enumerate(names, start=1):
        if not is_name(name) or "\n" in name or _is_number(name):
            shown = name if len(name) <= 40 else name[:40] + "..."
            raise refuse(
                "no_header",
                f"The first line must name the columns, but its cell {place} is {shown!r}. Add a header line such as "
                "text,label.",
            )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise refuse("duplicate_columns", f"The header names '{twice[0]}' twice. Give every column its own name.")


def is_name(name: str) -> bool:
    return bool(name.strip()) and len(name) <= MAX_NAME and "\0" not in name


def check_values(row: NumberedRow) -> Problem | None:
    """What is wrong with the values of a row that can hold more than text."""
    for name, value in row.values.items():
        if not is_name(name):
            wrong = f"is not a usable column name; use 1 to {MAX_NAME} characters"
        else:
            wrong = wrong_with(value) or ""
        if wrong:
            return Problem(row.number, row.line, name[:MAX_NAME], wrong)
    return None


def wrong_with(value: Any) -> str | None:
    """Why a value cannot be a cell. Lists of plain values and chats can; anything else that is nested cannot."""
    if isinstance(value, dict):
        return "holds an object; use text, a number, true, false, null, a list of these, or chat messages"
    if not isinstance(value, list):
        return _wrong_with_scalar(value)
    return wrong_with_chat(value) if looks_like_chat(value) else _wrong_with_list(value)


def _wrong_with_list(entries: list[Any]) -> str | None:
    if len(entries) > MAX_ENTRIES:
        return f"holds a list of {len(entries):,} entries; at most {MAX_ENTRIES:,} are accepted"
    for entry in entries:
        if entry is None or isinstance(entry, (dict, list)):
            return (
                "holds a list with null or nested values in it; use a list of texts or numbers, or chat messages as "
                '[{"role": "user", "content": "..."}]'
            )
        if wrong := _wrong_with_scalar(entry):
            return wrong
    return None


def _wrong_with_scalar(value: Any) -> str | None:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "holds a number that is too large; write it as text"
    if isinstance(value, float) and not math.isfinite(value):
        return "holds a number that is not finite; use null where there is no value"
    return None


_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=False).encode


def encode(row: NumberedRow) -> bytes | Problem:
    """The row as one line of canonical JSON."""
    try:
        line = _ENCODE(row.values).encode() + b"\n"
    except UnicodeEncodeError:
        return Problem(row.number, row.line, None, "holds half a surrogate pair; write the whole character")
    if len(line) > MAX_ROW_BYTES:
        return Problem(
            row.number, row.line, None, f"is larger than {MAX_ROW_BYTES // MEBIBYTE} MiB; split its text into rows"
        )
    if b"\\u0000" in line and (column := _column_with_nul(row.values)):
        return Problem(row.number, row.line, column, "holds a NUL character; remove it")
    return line


def _column_with_nul(values: Row) -> str | None:
    # JSON writes a NUL as an escape; a text that holds those six characters itself has its backslash doubled.
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

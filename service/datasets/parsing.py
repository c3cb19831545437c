"""From an uploaded CSV or JSONL file to rows, one at a time, with what is wrong named by row."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import IO, Any, Literal

from service.errors import InvalidRequest

Format = Literal["csv", "jsonl"]
Scalar = str | int | float | bool | None
Row = dict[str, Scalar]

MAX_LINE_BYTES = 10 * 1024 * 1024
MAX_COLUMNS = 500
MAX_NAME = 200
DELIMITERS = ",;\t"
SUFFIXES: dict[str, Format] = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"}
FOREIGN = {
    b"PAR1": "a Parquet file",
    b"PK\x03\x04": "a zip file (or a spreadsheet)",
    b"\x1f\x8b": "a gzip file",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"%PDF": "a PDF",
}


@dataclass(frozen=True)
class Problem:
    """A row that was left out.

    Attributes:
        row: number of the row, from 1; a CSV file's header is not counted.
        line: line of the file at which the row ends.
    """

    row: int
    line: int
    column: str | None
    message: str


def detect_format(filename: str, head: bytes) -> Format:
    """By content where that is certain, else by the file's name, else by its first character.

    Raises:
        InvalidRequest: a format that is not read.
    """
    for magic, what in FOREIGN.items():
        if head.startswith(magic):
            raise refuse(
                "unsupported_format", f"This is {what}. Upload CSV or JSONL (one JSON object a line), in UTF-8."
            )
    suffix = "." + filename.rpartition(".")[2].lower()
    if suffix in SUFFIXES:
        return SUFFIXES[suffix]
    return "jsonl" if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") else "csv"


def read_rows(file: IO[bytes], format_: Format) -> Iterator[Row | Problem]:
    """The rows of a file, never more than one in memory.

    Raises:
        InvalidRequest: the file as a whole cannot be read; says what to do.
    """
    lines = _lines(file)
    return _read_csv(lines) if format_ == "csv" else _read_jsonl(lines)


def refuse(code: str, message: str) -> InvalidRequest:
    return InvalidRequest(message, code=code, param="file")


def _lines(file: IO[bytes]) -> Iterator[str]:
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise refuse(
                "line_too_long", f"Line {number} is longer than {MAX_LINE_BYTES >> 20} MiB. Split its text into rows."
            )
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise refuse(
                "not_utf8",
                f"Line {number} is not UTF-8 (byte {error.start + 1} of the line). Save the file as UTF-8 and upload "
                "it again.",
            ) from error
        yield text


def _read_csv(lines: Iterator[str]) -> Iterator[Row | Problem]:
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        raise refuse("empty_file", "The file is empty. Upload a CSV file with a header line and rows below it.")
    csv.field_size_limit(MAX_LINE_BYTES)
    delimiter = max(DELIMITERS, key=first.count)
    reader = csv.reader(chain([first], lines), delimiter=delimiter, strict=True)
    try:
        header = next(reader)
    except csv.Error as error:
        raise refuse("no_header", f"The header line cannot be read: {error}.") from error
    check_header(header)
    number = 0
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            number += 1
            yield _csv_problem(number, reader.line_num, error)
            continue
        if cells:
            number += 1
            yield _csv_row(header, cells, number, reader.line_num)


def _csv_row(header: list[str], cells: list[str], number: int, line: int) -> Row | Problem:
    if len(cells) != len(header):
        return Problem(
            number,
            line,
            None,
            f"has {len(cells)} cells where the header has {len(header)}; put text that holds the separator in quotes",
        )
    for name, cell in zip(header, cells, strict=True):
        if "\0" in cell:
            return Problem(number, line, name, "holds a NUL character")
    return dict(zip(header, cells, strict=True))


def _csv_problem(number: int, line: int, error: csv.Error) -> Problem:
    if "unexpected end of data" in str(error):
        raise refuse(
            "unclosed_quote",
            f"The quote that row {number} opens is never closed, so the rest of the file is one cell. Close it, or "
            'write a quote inside a cell as "".',
        ) from error
    if "field limit" in str(error):
        raise refuse("cell_too_long", f"Row {number} has a cell over {MAX_LINE_BYTES >> 20} MiB.") from error
    return Problem(number, line, None, f'cannot be read: {error}; write a quote inside a cell as ""')


def check_header(header: list[str]) -> None:
    """Raises InvalidRequest unless the names can be names."""
    if len(header) > MAX_COLUMNS:
        raise refuse("too_many_columns", f"The file has {len(header)} columns; at most {MAX_COLUMNS} are accepted.")
    for place, name in enumerate(header, start=1):
        if not name.strip() or len(name) > MAX_NAME or "\n" in name or "\0" in name or _is_number(name):
            shown = name if len(name) <= 40 else name[:40] + "..."
            raise refuse(
                "no_header",
                f"The first line must name the columns, but its cell {place} is {shown!r}. Add a header line such as "
                "text,label.",
            )
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise refuse("duplicate_columns", f"The header names '{twice[0]}' twice. Give every column its own name.")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_jsonl(lines: Iterator[str]) -> Iterator[Row | Problem]:
    number = 0
    for line, text in enumerate(lines, start=1):
        if text.strip():
            number += 1
            yield _json_row(text, number, line)
    if number == 0:
        raise refuse(
            "empty_file", 'The file is empty. Upload one JSON object a line, such as {"text": "...", "label": 1}.'
        )


def _json_row(text: str, number: int, line: int) -> Row | Problem:
    try:
        value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_unique_names)
    except (ValueError, RecursionError) as error:
        if number == 1 and text.lstrip().startswith("["):
            raise refuse(
                "unsupported_format", "This is one JSON list. Write one JSON object a line instead, without the list."
            ) from error
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error) or "nested too deeply"
        return Problem(number, line, None, f"is not valid JSON: {reason}")
    if not isinstance(value, dict):
        return Problem(number, line, None, 'is not a JSON object such as {"text": "...", "label": 1}')
    for name, item in value.items():
        wrong = _wrong_with(name, item)
        if wrong:
            return Problem(number, line, name[:MAX_NAME], wrong)
    return value


def _wrong_with(name: str, item: Any) -> str | None:
    if not name.strip() or len(name) > MAX_NAME or "\0" in name:
        return f"is not a usable column name; use 1 to {MAX_NAME} characters"
    if isinstance(item, (dict, list)):
        return "holds a nested value; use text, a number, true, false or null"
    if isinstance(item, int) and not -(2**63) <= item < 2**63:
        return "holds a number that is too large"
    for text in (name, item):
        if isinstance(text, str) and ("\0" in text or not _encodes(text)):
            return "holds a NUL character or half a surrogate pair"
    return None


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {next(n for n in names if names.count(n) > 1)!r} comes twice")
    return found

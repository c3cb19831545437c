"""Streaming reader of CSV and TSV: header, separator, quotes."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from service.datasets import rows
from service.datasets.rows import MAX_ROW_BYTES, MEBIBYTE, Notice, NumberedRow, Problem, check_names, refuse
from service.datasets.text_file import TextFile
from service.shared.errors import quoted_names

DELIMITERS = ",;\t|"
NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
EXCEL_HINT = re.compile(r"sep=(.)\s*")  # Excel's own first line


@dataclass(frozen=True)
class _Table:
    """Rows below a header; `skipped` lines before it are not the reader's.

    Attributes:
        renamed: names that columns got, since theirs was blank or another's.
    """

    header: list[str]
    renamed: list[str]
    reader: Iterator[list[str]]
    delimiter: str
    skipped: int


def read_csv(file: TextFile, notices: list[Notice]) -> Iterator[NumberedRow | Problem]:
    """Yield the rows of a file, holding one in memory at a time.

    Raises:
        InvalidRequest: the file is unreadable; the message gives a remedy.
        TooLarge: the file has too many rows.
    """
    csv.field_size_limit(MAX_ROW_BYTES)  # of the header too, which is as long as a line may be
    if file.line_ends > rows.MAX_ROWS:  # else the rows are few enough, whatever is quoted
        rows.check_count_ahead(_each_row(_table(file.lines()).reader))
    table = _table(file.lines())
    if table.delimiter != ",":
        name = NAMES.get(table.delimiter, repr(table.delimiter))
        notices.append(Notice("separator", None, f"Cells are separated by {name}."))
    if table.renamed:
        named = quoted_names(table.renamed)
        notices.append(
            Notice("columns_named", None, f"Columns without a name of their own in the header are named {named}.")
        )
    return _rows(table.reader, table.header, table.skipped)


def _table(lines: Iterator[str]) -> _Table:
    skipped, first = _first_line(lines)
    hint = EXCEL_HINT.fullmatch(first)
    if hint:
        more, first = _first_line(lines)
        skipped += more
    delimiter = hint[1] if hint else _delimiter(first)
    reader = csv.reader(chain([first], lines), delimiter=delimiter, strict=True)
    try:
        header = next(reader)
    except csv.Error as error:
        raise refuse("no_header", f"The header line cannot be read: {error}.") from error
    names = _own_names(_without_empty_end(header))
    check_names(names)
    return _Table(
        names, [new for old, new in zip(header, names, strict=False) if old != new], reader, delimiter, skipped
    )


def _each_row(reader: Iterator[list[str]]) -> Iterator[object]:
    """Yield once for each row, also for one that cannot be read, and not for a blank line."""
    while True:
        try:
            yield from filter(None, reader)
        except csv.Error as error:
            yield error
        else:
            return


def _first_line(lines: Iterator[str]) -> tuple[int, str]:
    """Read up to the first line that is not blank; return the number of blank lines before it, and the line."""
    for number, line in enumerate(lines):
        if line.strip():
            return number, line
    raise refuse("empty_file", "The file is empty. Upload a CSV file with a header line and rows below it.")


def _delimiter(header: str) -> str:
    """Choose the delimiter that splits the header into most cells, quotes respected."""
    return max(DELIMITERS, key=lambda sign: len(next(csv.reader([header], delimiter=sign))))


def _without_empty_end(header: list[str]) -> list[str]:
    """Remove the unnamed, empty last column that a separator at the end of every line makes."""
    return header[:-1] if len(header) > 2 and not header[-1].strip() else header


def _own_names(header: list[str]) -> list[str]:
    """Name the columns that most of the others' header leaves blank, such as pandas' index, and those named twice."""
    if len(header) > rows.MAX_COLUMNS or sum(not name.strip() for name in header) * 2 > len(header):
        return header  # too many are refused, and mostly blank ones are no header
    names: list[str] = []
    for place, name in enumerate(header, start=1):
        own = name if name.strip() else "index" if place == 1 else f"column_{place}"
        count = 1
        while own in names or (own != name and own in header):
            count += 1
            own = f"{name if name.strip() else f'column_{place}'}_{count}"
        names.append(own)
    return names


def _rows(reader: Iterator[list[str]], header: list[str], skipped: int) -> Iterator[NumberedRow | Problem]:
    number, width = 0, len(header)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            number += 1
            yield _unreadable(number, reader.line_num + skipped, error)  # type: ignore[attr-defined]
            continue
        if not cells:
            continue
        number += 1
        line = reader.line_num + skipped  # type: ignore[attr-defined]
        if len(cells) == width + 1 and not cells[-1]:
            cells.pop()
        if len(cells) == width:
            yield NumberedRow(number, line, dict(zip(header, cells, strict=True)))
        else:
            yield Problem(
                number,
                line,
                None,
                f"has {len(cells)} cell{'s' * (len(cells) > 1)} where the header has {width}; put text that holds the "
                "separator in quotes",
            )


def _unreadable(number: int, line: int, error: csv.Error) -> Problem:
    if "unexpected end of data" in str(error):
        raise refuse(
            "unclosed_quote",
            f"The quote that row {number} opens is never closed, so the rest of the file is one cell. Close it, or "
            'write a quote inside a cell as "".',
        ) from error
    if "field limit" in str(error):
        raise refuse("cell_too_long", f"Row {number} has a cell over {MAX_ROW_BYTES // MEBIBYTE} MiB.") from error
    return Problem(number, line, None, f'cannot be read: {error}; write a quote inside a cell as ""')

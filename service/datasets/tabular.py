"""Streaming reader of CSV and TSV: header, separator, quotes."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice

from service.datasets import rows
from service.datasets.first_rows import HEAD_ROWS, decimal_columns, pointed_columns, value_in_header, with_point
from service.datasets.rows import MAX_ROW_BYTES, MEBIBYTE, Notice, NumberedRow, Problem, check_names, refuse
from service.datasets.text_file import TextFile
from service.shared.errors import quoted_names

MAX_SHOWN = 40  # characters of a value in a notice
DELIMITERS = ",;\t|"
NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
QUOTED_AFTER_BLANK = re.compile(r' +"')
EXCEL_HINT = re.compile(r"sep=(.)\s*")  # Excel's own first line


@dataclass(frozen=True)
class _Table:
    """Rows below the first one, which should be a header; `skipped` lines before it are not the reader's."""

    header: list[str]
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
    has_blanks = _has_blanks(file)
    if file.line_ends > rows.MAX_ROWS:  # else the rows are few enough, whatever is quoted
        rows.check_count_ahead(_each_row(_table(file.lines(), has_blanks).reader))
    head = [row for row in _first_rows(_table(file.lines(), has_blanks)) if isinstance(row, list)]
    table = _table(file.lines(), has_blanks)
    if table.delimiter != ",":
        name = NAMES.get(table.delimiter, repr(table.delimiter))
        notices.append(Notice("separator", None, f"Cells are separated by {name}."))
    header = _without_empty_end(table.header)
    place = value_in_header(header, head)
    names = own_names(header) if place is None else [f"column_{n}" for n in range(1, len(header) + 1)]
    check_names(names)
    if place is not None:
        notices.append(_no_header(header[place], names[place]))
    elif renamed := [new for old, new in zip(header, names, strict=True) if old.strip() != new]:
        notices.append(
            Notice(
                "columns_named",
                None,
                f"Columns without a name of their own in the header are named {quoted_names(renamed)}.",
            )
        )
    decimal = set[int]() if table.delimiter == "," else _decimal(head, names, notices)
    return _rows(table, names, decimal, header if place is None else None)


def _has_blanks(file: TextFile) -> bool:
    """Tell whether a blank after the separator is no part of the cell: it stands in all rows, or before quotes."""
    table = _table(file.lines(), has_blanks=False)
    found, width = _first_rows(table), len(table.header)
    cells = [cell for row in (table.header, *found) if isinstance(row, list) for cell in row[1:] if cell]
    if cells and all(cell.startswith(" ") for cell in cells):
        return True
    if not any(QUOTED_AFTER_BLANK.match(cell) for cell in cells):
        return False
    return _unusable(_first_rows(_table(file.lines(), has_blanks=True)), width) <= _unusable(found, width)


def _first_rows(table: _Table) -> list[object]:
    return list(islice(_each_row(table.reader), HEAD_ROWS))


def _unusable(found: list[object], width: int) -> int:
    return sum(not isinstance(row, list) or len(row) != width for row in found)


def _no_header(value: str, column: str) -> Notice:
    return Notice(
        "no_header",
        None,
        f"The first line is read as a row, since its value {value[:MAX_SHOWN]!r} stands in other rows of {column} too. "
        "Columns are named column_1, column_2 and so on. If the line names them, give that column another name.",
    )


def _decimal(head: list[list[str]], names: list[str], notices: list[Notice]) -> set[int]:
    """Return the columns with decimal commas, and note what is read as numbers and what is not."""
    decimal, unclear = decimal_columns(head, names)
    said = {
        "decimal_comma": (decimal, "has numbers with a decimal comma; they are read as numbers, such as 3.5 for 3,5."),
        "comma_in_numbers": (
            unclear,
            "has numbers such as 1,234, whose comma may separate thousands or decimals, so it is read as text. Write "
            "them with a point, or without separators.",
        ),
        "point_in_numbers": (
            pointed_columns(head, names) if decimal else set[int](),
            "has numbers such as 1.100, beside a column with decimal commas. They are read as 1.1; if the point "
            "separates thousands, write them without it.",
        ),
    }
    for code, (places, what) in said.items():
        notices += [Notice(code, names[place], f"Column '{names[place]}' {what}") for place in sorted(places)]
    return decimal


def _table(lines: Iterator[str], has_blanks: bool) -> _Table:
    skipped, first = _first_line(lines)
    hint = EXCEL_HINT.fullmatch(first)
    if hint:
        more, first = _first_line(lines)
        skipped += more
    delimiter = hint[1] if hint else delimiter_of(first)
    reader = csv.reader(chain([first], lines), delimiter=delimiter, skipinitialspace=has_blanks, strict=True)
    try:
        header = next(reader)
    except csv.Error as error:
        raise refuse("no_header", f"The header line cannot be read: {error}.") from error
    return _Table(header, reader, delimiter, skipped)


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


def delimiter_of(header: str) -> str:
    """Choose the delimiter that splits the header into most cells, quotes respected."""
    return max(DELIMITERS, key=lambda sign: len(next(csv.reader([header], delimiter=sign))))


def _without_empty_end(header: list[str]) -> list[str]:
    """Remove the unnamed, empty last column that a separator at the end of every line makes."""
    return header[:-1] if len(header) > 2 and not header[-1].strip() else header


def own_names(header: list[str]) -> list[str]:
    """Name the columns that most of the others' header leaves blank, such as pandas' index, and those named twice."""
    if len(header) > rows.MAX_COLUMNS or sum(not name.strip() for name in header) * 2 > len(header):
        return header  # too many are refused, and mostly blank ones are no header
    names: list[str] = []
    header = [name.strip() for name in header]
    for place, name in enumerate(header, start=1):
        own = name or ("index" if place == 1 else f"column_{place}")
        count = 1
        while own in names or (own != name and own in header):
            count += 1
            own = f"{name or f'column_{place}'}_{count}"
        names.append(own)
    return names


def _rows(
    table: _Table, names: list[str], decimal: set[int], header: list[str] | None
) -> Iterator[NumberedRow | Problem]:
    number, width, reader = 0, len(names), table.reader
    ahead = iter([table.header] if header is None else [])
    while True:
        try:
            cells = next(ahead, None) or next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            number += 1
            yield _unreadable(number, reader.line_num + table.skipped, error)  # type: ignore[attr-defined]
            continue
        if not cells:
            continue
        number += 1
        line = reader.line_num + table.skipped  # type: ignore[attr-defined]
        if len(cells) == width + 1 and not cells[-1]:
            cells.pop()
        if cells == header:
            yield Problem(number, line, None, "repeats the header; remove it")
        elif len(cells) == width:
            for place in decimal:
                cells[place] = with_point(cells[place])
            yield NumberedRow(number, line, dict(zip(names, cells, strict=True)))
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

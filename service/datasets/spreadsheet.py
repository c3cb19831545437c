"""Streaming reader of Excel workbooks (.xlsx): the first sheet that holds a table, formulas by their last value."""

from __future__ import annotations

import datetime
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import IO, Any

from service.datasets.rows import (
    MAX_COLUMNS,
    Notice,
    NumberedRow,
    Problem,
    check_count,
    check_names,
    counted,
    refuse,
    too_large,
)
from service.datasets.tabular import own_names
from service.shared.errors import quoted_names

MERGED = b"mergeCell "  # of the element, with any prefix
CHUNK = 2**20
LOOKED_AT = 1_000  # rows in which formulas without a value are looked for
UNREADABLE = (
    *(zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, OverflowError),
    *(SyntaxError, KeyError, ValueError, TypeError, AttributeError, IndexError),  # SyntaxError: of XML, lxml's too
)
ERRORS = frozenset(("#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"))
Cells = Sequence[Any]


def read_xlsx(file: IO[bytes], limit: int, notices: list[Notice]) -> Iterator[NumberedRow | Problem]:
    """Yield the rows below the header, holding one in memory at a time, beside all texts of the workbook.

    Args:
        limit: maximum unpacked size in bytes.
        notices: filled before the first row.

    Raises:
        InvalidRequest: the workbook is damaged, encrypted, or has no table.
        TooLarge: it unpacks to more than `limit` bytes.
    """
    try:
        _check_size(file, limit)
        book = _opened(file, values=True)
        sheets = {sheet.title: sheet for sheet in book.worksheets}
        sizes = {name: len(list(islice(_filled(sheet), 2))) for name, sheet in sheets.items()}
        filled = sorted(  # a table before a line of notes, and what its author sees before what is hidden
            [name for name in sheets if sizes[name]],
            key=lambda name: (sizes[name] < 2, sheets[name].sheet_state != "visible"),
        )
        if not filled:
            raise refuse("empty_file", "The workbook has no cell with a value. Add a header row, and rows below it.")
        name = filled[0]
        _say_sheets(name, filled[1:], notices)
        _say_formulas(file, sheets[name], name, notices)
        _say_merged(file, sheets[name], notices)
        yield from _rows(_filled(sheets[name]), notices)
    except UNREADABLE as error:
        raise _damaged(error) from error
    except OSError as error:
        if error.errno is not None:  # of this machine, such as a full disk
            raise
        raise _damaged(error) from error


def _damaged(error: Exception) -> Exception:
    reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return refuse("damaged_xlsx", f"The workbook cannot be read: {reason}. Save it again, or its sheet as CSV.")


def _opened(file: IO[bytes], *, values: bool) -> Any:
    from openpyxl import load_workbook

    file.seek(0)
    return load_workbook(file, read_only=True, data_only=values, keep_links=False)


def _check_size(file: IO[bytes], limit: int) -> None:
    file.seek(0)
    with zipfile.ZipFile(file) as archive:
        size = sum(info.file_size for info in archive.infolist())
    if size > limit:
        raise too_large(
            "unpacks_too_large", f"The workbook unpacks to {size:,} bytes; the service accepts {limit:,}. Split it."
        )


def _filled(sheet: Any) -> Iterator[tuple[int, Cells]]:
    """Yield the sheet's row number and cells of each row with a value."""
    sheet.reset_dimensions()  # what a file says of its own size may be anything
    for number, cells in enumerate(sheet.iter_rows(values_only=True), start=1):
        check_count(number)  # a row's number too, up to which each one that is missing is made, may be anything
        if any(cell not in (None, "") for cell in cells):
            yield number, cells


def _say_sheets(name: str, others: list[str], notices: list[Notice]) -> None:
    if others:
        notices.append(
            Notice(
                "one_sheet",
                None,
                f"Only sheet '{name}' is read. {quoted_names(others)} also hold{'s' * (len(others) == 1)} values: to "
                "use another, save it as a workbook of its own.",
            )
        )


def _say_formulas(file: IO[bytes], sheet: Any, name: str, notices: list[Notice]) -> None:
    """Note formulas that no program has computed, as libraries write them."""
    written = _opened(file, values=False)[name]
    found: dict[int, int] = {}
    for (_, values), (_, formulas) in zip(
        islice(_filled(sheet), LOOKED_AT), islice(_filled(written), LOOKED_AT), strict=False
    ):
        for place, formula in enumerate(formulas):
            if isinstance(formula, str) and formula.startswith("=") and (place >= len(values) or values[place] is None):
                found[place] = found.get(place, 0) + 1
    if found:
        columns = ", ".join(_letter(place) for place in sorted(found))
        notices.append(
            Notice(
                "formulas_without_value",
                None,
                f"{counted(sum(found.values()), 'formula')} in column {columns} of the sheet have never been computed, "
                "so these cells count as empty. Open the file in a spreadsheet program, save it, and upload it again.",
            )
        )


def _say_merged(file: IO[bytes], sheet: Any, notices: list[Notice]) -> None:
    """Note merged cells, of which the file holds one value: the others count as empty."""
    file.seek(0)
    with zipfile.ZipFile(file) as archive, archive.open(sheet._worksheet_path) as content:
        count, rest = 0, b""
        while chunk := content.read(CHUNK):
            count += (rest + chunk).count(MERGED)
            rest = chunk[1 - len(MERGED) :]
    if count:
        notices.append(
            Notice(
                "merged_cells",
                None,
                f"The sheet has {counted(count, 'block')} of merged cells. The first cell of each holds its value, the "
                "others count as empty: take the blocks apart and fill them in, if their rows need it.",
            )
        )


def _rows(filled: Iterator[tuple[int, Cells]], notices: list[Notice]) -> Iterator[NumberedRow | Problem]:
    _, first = next(filled)
    titles = [_text(cell) for cell in _trimmed(first)]
    if len(titles) > MAX_COLUMNS:
        raise refuse("too_many_columns", f"The sheet has {len(titles)} columns; at most {MAX_COLUMNS} are accepted.")
    header = own_names(titles)
    check_names(header)
    if renamed := [new for old, new in zip(titles, header, strict=True) if old.strip() != new]:
        notices.append(
            Notice("columns_named", None, f"Columns without a name of their own are named {quoted_names(renamed)}.")
        )
    for number, (line, cells) in enumerate(filled, start=1):
        if beyond := [place for place, cell in enumerate(cells[len(header) :]) if cell not in (None, "")]:
            letter = _letter(len(header) + beyond[0])
            yield Problem(number, line, None, f"has a value in column {letter}, which has no name; name it")
            continue
        for name, cell in zip(header, cells, strict=False):
            if cell in ERRORS:
                yield Problem(number, line, name, f"holds {cell}; the cell counts as empty", left_out=False)
        values = chain(map(_plain, cells), [None] * (len(header) - len(cells)))
        yield NumberedRow(number, line, dict(zip(header, values, strict=False)))


def _trimmed(cells: Cells) -> list[Any]:
    """Return the cells up to the last one with a value."""
    kept = list(cells)
    while kept and kept[-1] in (None, ""):
        kept.pop()
    return kept


def _plain(value: Any) -> Any:
    """Convert a cell to a value of JSON: a date as its ISO text."""
    if isinstance(value, datetime.datetime):
        is_date = value.time() == datetime.time()
        return (value.date() if is_date else value).isoformat()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if value in ERRORS:
        return None
    if isinstance(value, str | int | float | bool | None):
        return value
    return str(value)


def _text(cell: Any) -> str:
    value = _plain(cell)
    return "" if value is None else str(value)


def _letter(place: int) -> str:
    """Return a column's name in the sheet, such as A for 0 and AA for 26."""
    name = ""
    place += 1
    while place:
        place, rest = divmod(place - 1, 26)
        name = chr(ord("A") + rest) + name
    return name

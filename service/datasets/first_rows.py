"""What the first rows of a table say: whether its first line names columns, and which columns have decimal commas."""

from __future__ import annotations

import re
from collections.abc import Sequence

from adamss_core.spec.labels import null_words
from adamss_core.spec.suggestion import LABELS, TEXTS

HEAD_ROWS = 100
# Names of classes; the others of LABELS hold numbers as often.
CLASSES = frozenset((*LABELS, "genres", "topics", "keywords")) - {"rating", "stars", "score", "target", "y"}
PROSE_WORDS = 2
USUAL = frozenset((*LABELS, *TEXTS))
DECIMAL = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+),\d+")
WHOLE = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+)")  # of which 1.000 is a thousand beside 3,5
POINTED = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+")  # 1.100, which beside decimal commas may be 1,100
DASHES = frozenset({"-", "\u2013", "\u2014"})  # a missing number
GROUPED = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")  # 1,234 is as well a thousand and something


def value_in_header(header: Sequence[str], rows: Sequence[Sequence[str]]) -> int | None:
    """Return the column in which a cell of the first line stands in other rows too; None where it names columns.

    A line with a usual name of a column is a header, and one that is repeated as a whole is no row. A line with another
    cell that may be a name is a header too: `sms,spam` above classes `spam` and `ham`.
    """
    if any(name.strip().lower() in USUAL for name in header):
        return None
    others = [row for row in rows if list(row) != list(header) and len(row) >= len(header)]
    columns = [[row[place] for row in others] for place in range(len(header))]
    found = [place for place, name in enumerate(header) if name.strip() and name in columns[place]]
    if all(place in found or _is_data(name, columns[place]) for place, name in enumerate(header)):
        return next(iter(found), None)
    return None


def _is_data(cell: str, column: Sequence[str]) -> bool:
    """Tell whether a cell of the first line is a number above numbers, or has several words."""
    if _is_number(cell):
        return all(_is_number(value) for value in column if value.strip())
    return len(cell.split()) >= PROSE_WORDS


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


def decimal_columns(rows: Sequence[Sequence[str]], names: Sequence[str]) -> tuple[set[int], set[int]]:
    """Return the columns whose numbers have a decimal comma, and those whose commas may separate thousands.

    Args:
        rows: of a file whose cells are separated by another sign.
    """
    decimal, unclear = set[int](), set[int]()
    for place in range(len(names)):
        cells = [cell for row in rows if len(row) == len(names) and (cell := row[place].strip())]
        cells = [cell for cell in cells if not null_words([cell]) and cell not in DASHES]
        commas = [cell for cell in cells if "," in cell]
        if not commas or not all(DECIMAL.fullmatch(cell) or WHOLE.fullmatch(cell) for cell in cells):
            continue
        if names[place].strip().lower() in CLASSES and not _is_no_list(cells):
            continue  # 1,3 may be two classes: SeveralLabels says so
        (unclear if all(GROUPED.fullmatch(cell) for cell in commas) else decimal).add(place)
    return decimal, unclear


def pointed_columns(rows: Sequence[Sequence[str]], names: Sequence[str]) -> set[int]:
    """Return the columns of numbers such as 1.100, in a file whose other columns have decimal commas."""
    found = set[int]()
    for place in range(len(names)):
        cells = [cell for row in rows if len(row) == len(names) and (cell := row[place].strip()) not in DASHES | {""}]
        if cells and all(map(POINTED.fullmatch, cells)):
            found.add(place)
    return found


def _is_no_list(cells: Sequence[str]) -> bool:
    """Tell whether no list of classes is written so: points, a zero in front, or fractions of one length over 1."""
    lengths = {len(cell.partition(",")[2]) for cell in cells}
    return any("." in cell or cell.lstrip("+-").startswith("0,") for cell in cells) or (
        len(lengths) == 1 and lengths != {1}
    )


def with_point(cell: str) -> str:
    """Write a number with a decimal point; other text stays."""
    text = cell.strip()
    return text.replace(".", "").replace(",", ".") if DECIMAL.fullmatch(text) or WHOLE.fullmatch(text) else cell

"""What the first rows of a table say: whether its first line names columns, and which columns have decimal commas."""

from __future__ import annotations

import re
from collections.abc import Sequence

from adamss_core.spec.suggestion import LABELS, TEXTS

HEAD_ROWS = 100
USUAL = frozenset((*LABELS, *TEXTS))
DECIMAL = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+),\d+")
WHOLE = re.compile(r"[+-]?\d+")
GROUPED = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")  # 1,234 is as well a thousand and something


def value_in_header(header: Sequence[str], rows: Sequence[Sequence[str]]) -> int | None:
    """Return the column in which a cell of the first line stands in other rows too; None where it names columns.

    A line with a usual name of a column is a header, and one that is repeated as a whole is no row.
    """
    if any(name.strip().lower() in USUAL for name in header):
        return None
    others = [row for row in rows if list(row) != list(header)]
    for place, name in enumerate(header):
        if name.strip() and any(len(row) > place and row[place] == name for row in others):
            return place
    return None


def decimal_columns(rows: Sequence[Sequence[str]], width: int) -> tuple[set[int], set[int]]:
    """Return the columns whose numbers have a decimal comma, and those whose commas may separate thousands.

    Args:
        rows: of a file whose cells are separated by another sign.
    """
    decimal, unclear = set[int](), set[int]()
    for place in range(width):
        cells = [cell for row in rows if len(row) == width and (cell := row[place].strip())]
        commas = [cell for cell in cells if "," in cell]
        if not commas or not all(DECIMAL.fullmatch(cell) or WHOLE.fullmatch(cell) for cell in cells):
            continue
        (unclear if all(GROUPED.fullmatch(cell) for cell in commas) else decimal).add(place)
    return decimal, unclear


def with_point(cell: str) -> str:
    """Write a number with a decimal point; other text stays."""
    text = cell.strip()
    return text.replace(".", "").replace(",", ".") if DECIMAL.fullmatch(text) else cell

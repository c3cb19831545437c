"""CSV for spreadsheets: a cell that a spreadsheet would run as a formula is marked as text."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence

from service.cli.terminal import TextOutput

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-](inf|nan)")


def guarded(value: object) -> object:
    """Return a cell with `'` before it if a spreadsheet would take it for a formula; numbers stay numbers.

    A cell that begins with such marks already gets one more, so that removing one is always the way
    back, as the README shows.
    """
    if isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value


class GuardedWriter:
    """A writer of guarded rows, titles included."""

    def __init__(self, out: TextOutput, titles: Sequence[str]) -> None:
        self._titles = titles
        self._writer = csv.writer(out, lineterminator="\n")
        self.write(titles)

    def write(self, cells: Iterable[object]) -> None:
        self._writer.writerow([guarded(cell) for cell in cells])

    def write_fields(self, fields: Mapping[str, object]) -> None:
        """Write the named cells in the order of the titles; a missing one is empty."""
        self.write(fields.get(title, "") for title in self._titles)

"""Numbers in their file of the rows that are kept."""

from __future__ import annotations

from array import array
from bisect import bisect


class RowNumbers:
    """Numbers of kept rows by their place among them; only those behind a gap take memory."""

    def __init__(self) -> None:
        self._rows = 0
        self._begins, self._numbers = array("Q"), array("Q")  # of each run of successive numbers

    def add(self, number: int) -> None:
        if not self._begins or number != self.of(self._rows):
            self._begins.append(self._rows)
            self._numbers.append(number)
        self._rows += 1

    def of(self, place: int) -> int:
        """Return the number of the row at a place, from 0."""
        run = bisect(self._begins, place) - 1
        return self._numbers[run] + place - self._begins[run]

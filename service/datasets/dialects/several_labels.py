"""Several labels in a cell, with a comma, semicolon or vertical bar between them: they become a list."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Self

from adamss_core.spec.labels import is_share
from adamss_core.spec.suggestion import LABELS
from service.datasets.dialects.dialect import Dialect
from service.datasets.rows import Notice, Row

NAMES = {"|": "vertical bar", ";": "semicolon", ",": "comma"}
LABEL_NAMES = frozenset({*LABELS, "genre", "genres", "keywords", "emotions", "topics", "intents", "annotations"})
MIN_ROWS = 10
MIN_PLACES = 3  # of a vector: 0,1 is as well a number
MAX_PART = 40  # characters of a label
MAX_PARTS = 50  # different labels in the first rows


class SeveralLabels(Dialect):
    """Splits cells whose parts recur in other combinations."""

    def __init__(
        self, separators: Mapping[str, str], unclear: Mapping[str, tuple[str, int]], vectors: Mapping[str, str]
    ) -> None:
        """Split columns.

        Args:
            separators: column -> what its labels are separated by.
            unclear: column that stays as it is -> a sign that may separate labels, and in how many of the first rows.
            vectors: column of numbers from 0 to 1, as many in each cell -> what they are separated by.
        """
        self._separators, self._unclear, self._vectors = separators, unclear, vectors
        self._rows: Counter[str] = Counter()

    @classmethod
    def recognise(cls, rows: Sequence[Row]) -> Self | None:
        separators, unclear, vectors = {}, {}, {}
        for name in dict.fromkeys(name for values in rows for name in values):
            if name.strip().lower() not in LABEL_NAMES:
                continue
            cells = [cell for values in rows if (cell := values.get(name)) not in (None, "")]
            if not all(isinstance(cell, str) for cell in cells):
                continue
            found = [sign for sign in NAMES if separates(cells, sign)]
            if places := [sign for sign in (*NAMES, " ") if _are_vectors(cells, sign)]:
                vectors[name] = places[0]
            elif found:
                separators[name] = found[0]
            elif doubtful := [
                (sign, sum(sign in cell for cell in cells)) for sign in NAMES if _may_separate(cells, sign)
            ]:
                unclear[name] = doubtful[0]
        return cls(separators, unclear, vectors) if separators or unclear or vectors else None

    def read(self, values: Row) -> Row:
        lists: Row = {}
        for name, separator in self._separators.items():
            cell = values.get(name)
            if isinstance(cell, str) and cell.strip():
                lists[name] = list(dict.fromkeys(parts_of(cell, separator)))
                self._rows[name] += len(lists[name]) > 1
        for name, separator in self._vectors.items():
            if isinstance(cell := values.get(name), str) and cell.strip():
                lists[name] = parts_of(cell, separator)
        return {**values, **lists} if lists else values

    def notices(self) -> Iterator[Notice]:
        for column, separator in self._separators.items():
            yield Notice(
                "several_labels",
                column,
                f"Column '{column}' holds several labels in a cell ({self._rows[column]:,} rows), separated by "
                f"{NAMES[separator]}: each cell is a list now, for problem_type multi_label_classification. If the "
                f"{NAMES[separator]} belongs to the name of one class, write another sign for it and upload again.",
            )
        for column, (separator, rows) in self._unclear.items():
            yield Notice(
                "labels_unclear",
                column,
                f"Column '{column}' has a {NAMES[separator]} in {rows:,} of its first cells. It stays text, one class "
                f"for each. If it separates labels, set dataset.label_separator to {separator!r} and problem_type to "
                "multi_label_classification.",
            )


def parts_of(cell: str, separator: str) -> list[str]:
    return [part for part in (part.strip() for part in cell.split(separator)) if part]


def separates(cells: Sequence[str], separator: str) -> bool:
    """Return whether a sign separates labels for certain: few short parts that recur, in at least as many combinations.

    "Paris, France" and "Lyon, France" have more parts than combinations.
    """
    if len(cells) < MIN_ROWS or not any(separator in cell for cell in cells):
        return False
    partners: defaultdict[str, set[str]] = defaultdict(set)
    rows: Counter[str] = Counter()
    for cell in cells:
        parts = frozenset(parts_of(cell, separator))
        rows.update(parts)
        for part in parts:
            partners[part].add(" ".join(sorted(parts - {part})))
    if not 1 < len(rows) <= MAX_PARTS or any(len(part) > MAX_PART for part in rows):
        return False
    if separator == "," and all(part.replace(".", "").isdigit() for part in rows):  # decimal commas
        return False
    combinations = {frozenset(parts_of(cell, separator)) for cell in cells}
    recurring = sum(count > 1 for count in rows.values())
    mixed = sum(len(found) > 1 for found in partners.values())
    return len(combinations) >= len(rows) and recurring >= 0.8 * len(rows) and mixed >= 2


def _are_vectors(cells: Sequence[str], separator: str) -> bool:
    parts = [parts_of(cell, separator) for cell in cells if cell.strip()]
    is_regular = len({len(found) for found in parts}) == 1 and len(parts) >= MIN_ROWS
    return is_regular and len(parts[0]) >= MIN_PLACES and all(is_share(part) for found in parts for part in found)


def _may_separate(cells: Sequence[str], separator: str) -> bool:
    """Return whether a sign stands in short cells, so that they may be several labels."""
    return any(separator in cell for cell in cells) and all(len(cell) <= 2 * MAX_PART for cell in cells)

"""Convert the cells of a row to the values that training takes, or say why the row cannot be used.

Service and training run read rows through the same readers, so that a dry run counts the rows that the run will find.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from adamss_core.spec.labels import as_text, class_name

Cells = dict[str, Any]
MARKS = {"0": False, "1": True, "false": False, "true": True}  # of a column for one class


class Unusable(Exception):
    """A row that lacks something the job needs; the text completes "rows are left out: 3 ..."."""


@dataclass(frozen=True)
class Reader:
    """Convert rows of a data set.

    Attributes:
        columns: field of the job's `dataset` block -> name of the column.
        fields: names of the values of a row.
    """

    columns: Mapping[str, str]
    read: Callable[[Cells], Cells]
    fields: tuple[str, ...]

    def __call__(self, row: Mapping[str, Any]) -> Cells:
        """Return field -> value, as the task takes it.

        Raises:
            Unusable: something is missing in the row.
            KeyError: a column is missing.
        """
        return self.read({field: row[name] for field, name in self.columns.items()})


def image_folder(rows: Path) -> Path:
    """Return the folder of the images that a file of rows names: it lies beside the file, without its suffix."""
    return rows.with_suffix("")


def why_left_out(reasons: Counter[str]) -> str:
    """Join reasons with their rows, such as "3 without a text, 1 whose label is not a number"."""
    return ", ".join(f"{rows} {reason}" for reason, rows in reasons.most_common())


def number_of(cell: Any) -> float:
    """Convert a number or text to a finite number; raises Unusable."""
    text = as_text(cell)
    if not text:
        raise Unusable("without a label")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if isinstance(cell, bool) or not math.isfinite(value):
        raise Unusable("whose label is not a number")
    return value


def label_set(cell: Any, separator: str | None) -> tuple[str, ...]:
    """Return the different classes of a row, sorted; none for an empty list or text. Raises Unusable."""
    if cell is None or isinstance(cell, dict):
        raise Unusable("without a label")
    if isinstance(cell, list):
        names = [class_name(value) for value in cell]
    else:
        text = class_name(cell)
        names = [class_name(name) for name in text.split(separator)] if separator is not None else [text]
    return tuple(sorted({name for name in names if name}))


def holds(cell: Any) -> bool:
    """Return whether a cell of 0 and 1 says that a class holds; raises Unusable."""
    name = class_name(cell) if not isinstance(cell, list | dict) else ""
    if name not in MARKS:
        raise Unusable("without a 0 or 1 for each class")
    return MARKS[name]


def words_of(cell: Any) -> list[str]:
    """Return a list's entries as texts, or split a text at white space."""
    if isinstance(cell, list):
        return [as_text(value) for value in cell]
    return as_text(cell).split()


def image_path(folder: Path, name: str) -> Path | None:
    """Return the path of an image file in `folder`; None where the name leads out of it."""
    path = PurePosixPath(name)
    return None if path.is_absolute() or ".." in path.parts or "\0" in name else folder / path


def class_of(cell: Any) -> str:
    """Return the name of a row's single class; raises Unusable for a list or an empty cell."""
    if isinstance(cell, list) and cell:
        raise Unusable("with a list of classes, which problem_type multi_label_classification reads")
    if not isinstance(cell, list | dict) and (name := class_name(cell)):
        return name
    raise Unusable("without a label")

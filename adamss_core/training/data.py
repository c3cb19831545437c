"""Read rows from JSONL files, sort class names, and split off the held-out share."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from adamss_core.spec.cells import Cells, Reader, Unusable, image_folder, why_left_out
from adamss_core.spec.labels import class_name
from adamss_core.training.errors import bad_data
from adamss_core.training.request import Reporter


@dataclass(frozen=True)
class Rows:
    """Usable rows of one file, in its order, with the columns that the job needs.

    Once a task has split rows (`Task.split_rows`), an entry is a part of a row, and its neighbours may be of the same.

    Attributes:
        columns: field of the job's `dataset` block -> (n,) values, as `spec.cells` reads them.
        numbers: (n,) number of the row in its file, from 1.
        left_out: reason why rows cannot be used -> their count.
        examples: the same reason -> number of the first such row.
        images: folder of the image files.
        size: rows of the file, unusable ones included.
        unknown: in words, the rows that were left out because of their labels (`Task.without_unknown`).
    """

    columns: dict[str, list[Any]]
    numbers: list[int]
    left_out: Counter[str] = field(default_factory=Counter)
    examples: dict[str, int] = field(default_factory=dict)
    images: Path | None = None
    size: int = 0
    unknown: str = ""

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def row_count(self) -> int:
        """The number of rows of the file that these entries are from."""
        return len(set(self.numbers))

    def __getitem__(self, column: str) -> list[Any]:
        return self.columns[column]

    def cells(self) -> list[Cells]:
        """Return each row by itself, field -> value."""
        names = list(self.columns)
        return [dict(zip(names, values, strict=True)) for values in zip(*self.columns.values(), strict=True)]

    def take(self, indices: Sequence[int]) -> Rows:
        columns = {name: [values[i] for i in indices] for name, values in self.columns.items()}
        return Rows(columns, [self.numbers[i] for i in indices], images=self.images, size=self.size)


@dataclass(frozen=True)
class Data:
    """Training, evaluation and test rows.

    Attributes:
        classes: names in the order of their ids; empty where nothing is classified.
        held_out: facts about the choice of the evaluation rows, for event and result.
        test: rows that are evaluated once, with the published model.
        warnings: reasons to doubt the result that the rows themselves are, as a result has them.
        unknown: in words, the rows of each kind of data that were left out because of their labels.
    """

    train: Rows
    evaluation: Rows
    classes: list[str]
    held_out: dict[str, Any]
    test: Rows | None = None
    warnings: tuple[dict[str, Any], ...] = ()
    unknown: dict[str, str] = field(default_factory=dict)


def joined_rows(pieces: Sequence[Rows]) -> Rows:
    """Concatenate pieces of the same rows."""
    first = pieces[0]
    columns = {name: list(chain.from_iterable(piece[name] for piece in pieces)) for name in first.columns}
    return Rows(columns, list(chain.from_iterable(piece.numbers for piece in pieces)), images=first.images)


def read_rows(path: Path, reader: Reader) -> Rows:
    """Read the usable rows of a file.

    Raises:
        TrainingError: bad_data, where the file is not JSONL or lacks a column.
    """
    columns: dict[str, list[Any]] = {name: [] for name in reader.fields}
    numbers: list[int] = []
    number = 0
    left_out: Counter[str] = Counter()
    examples: dict[str, int] = {}
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            row = _parse(line, number)
            try:
                cells = reader(row)
            except Unusable as reason:
                left_out[str(reason)] += 1
                examples.setdefault(str(reason), number)
                continue
            except KeyError as missing:
                raise bad_data(
                    f"Row {number} has no column '{missing.args[0]}'.",
                    hint=f"Its columns are: {', '.join(map(str, row))[:300]}. Name one of them in the job's dataset.",
                    where=f"row {number}",
                ) from missing
            for name, value in cells.items():
                columns[name].append(value)
            numbers.append(number)
    return Rows(columns, numbers, left_out, examples, image_folder(path), number)


def _parse(line: str, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise bad_data(
            f"Row {number} is not JSON: {error}.", hint="Upload the data set again.", where=f"row {number}"
        ) from error
    if not isinstance(row, dict):
        raise bad_data(f"Row {number} is not an object.", hint="Upload the data set again.", where=f"row {number}")
    return row


def in_order(names: Iterable[str]) -> list[str]:
    """Return class names in the order of their ids: numbers by size, then words alphabetically."""
    return sorted(set(names), key=_sort_key)


def _sort_key(name: str) -> tuple[int, float, str]:
    try:
        number = float(name)
    except ValueError:
        return (1, 0.0, name)
    return (1, 0.0, name) if math.isnan(number) else (0, number, name)


def joined_files(files: Sequence[Rows], images: str | None) -> Rows:
    """Return the rows of several files as those of one: numbers run on, and images are named from the common folder.

    Args:
        images: the column that names image files, if any.
    """
    if len(files) == 1:
        return files[0]
    columns: dict[str, list[Any]] = {name: [] for name in files[0].columns}
    numbers: list[int] = []
    left_out: Counter[str] = Counter()
    examples: dict[str, int] = {}
    begin = 0
    for rows in files:
        for name, values in rows.columns.items():
            folder = rows.images.name if name == images and rows.images is not None else None
            columns[name] += values if folder is None else [f"{folder}/{value}" for value in values]
        numbers += [begin + number for number in rows.numbers]
        left_out += rows.left_out
        for reason, number in rows.examples.items():
            examples.setdefault(reason, begin + number)
        begin += rows.size
    common = None if files[0].images is None else files[0].images.parent
    return Rows(columns, numbers, left_out, examples, common, begin)


def read_column(path: Path, column: str) -> list[str]:
    """Return the texts of a column, (rows of the file,); "" where a row has no value.

    Raises:
        TrainingError: bad_data, where the column holds lists.
    """
    values = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            cell = _parse(line, number).get(column) if line.strip() else None
            if isinstance(cell, list | dict):
                raise bad_data(
                    f"Row {number} holds a list in column '{column}'.",
                    hint="Name a column of plain values as dataset.group.",
                    where="dataset.group",
                )
            values.append(class_name(cell))
    return values


def describe_split(
    evaluation: Rows, *, own_file: bool, seed: int, stratified: bool, group: str | None = None
) -> dict[str, Any]:
    """Describe the held-out rows, so that two jobs can be compared only if they were measured on the same rows."""
    return {
        **count_and_hash(evaluation),
        "from": "eval" if own_file else "train",
        "seed": None if own_file else seed,
        "stratified": stratified and not own_file and group is None,
    } | ({} if group is None else {"group": group})


def count_and_hash(rows: Rows) -> dict[str, Any]:
    """Return the number of rows and a digest of their numbers."""
    numbers = ",".join(map(str, dict.fromkeys(rows.numbers)))
    return {"rows": rows.row_count, "sha256": hashlib.sha256(numbers.encode()).hexdigest()}


def report_left_out(reporter: Reporter, which: str, rows: Rows) -> None:
    """Report how many rows of a file cannot be used, and why."""
    if count := rows.left_out.total():
        reporter.event(
            "rows_left_out",
            f"{count} {which} rows are left out: {why_left_out(rows.left_out)}.",
            {
                "rows": count,
                "of": count + len(rows),
                "data": which,
                "reasons": dict(rows.left_out),
                "first_rows": rows.examples,
            },
        )

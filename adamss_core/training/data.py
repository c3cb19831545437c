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
from adamss_core.spec.split import held_out
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
    """

    columns: dict[str, list[Any]]
    numbers: list[int]
    left_out: Counter[str] = field(default_factory=Counter)
    examples: dict[str, int] = field(default_factory=dict)
    images: Path | None = None

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
        return Rows(columns, [self.numbers[i] for i in indices], images=self.images)


@dataclass(frozen=True)
class Data:
    """Training, evaluation and test rows.

    Attributes:
        classes: names in the order of their ids; empty where nothing is classified.
        held_out: facts about the choice of the evaluation rows, for event and result.
        test: rows that are evaluated once, with the published model.
    """

    train: Rows
    evaluation: Rows
    classes: list[str]
    held_out: dict[str, Any]
    test: Rows | None = None


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
    return Rows(columns, numbers, left_out, examples, image_folder(path))


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


def split(rows: Rows, fraction: float, seed: int, strata: Sequence[str] | None) -> tuple[Rows, Rows]:
    """Split into training and held-out rows, stratified where `strata`, (n,), names a class for each row.

    A class with a single row stays in training. The choice is a hash of seed and position, so it is the same on every
    machine and version.
    """
    groups = strata if strata is not None else [""] * len(rows)
    left = held_out(Counter(groups), fraction)
    order = sorted(range(len(rows)), key=lambda i: hashlib.sha256(f"{seed}:{i}".encode()).digest())
    chosen = set()
    for index in order:
        if left[groups[index]] > 0:
            left[groups[index]] -= 1
            chosen.add(index)
    everything = range(len(rows))
    return rows.take([i for i in everything if i not in chosen]), rows.take([i for i in everything if i in chosen])


def describe_split(evaluation: Rows, *, own_file: bool, seed: int, stratified: bool) -> dict[str, Any]:
    """Describe the held-out rows, so that two jobs can be compared only if they were measured on the same rows."""
    return {
        **count_and_hash(evaluation),
        "from": "eval" if own_file else "train",
        "seed": None if own_file else seed,
        "stratified": stratified and not own_file,
    }


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

"""From JSONL files to labelled texts: reading, class names, and the held-out share."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adamss_core.spec import DatasetSpec, JobSpec
from adamss_core.spec.labels import as_text, class_name
from adamss_core.spec.split import held_out
from adamss_core.training.errors import bad_data
from adamss_core.training.request import Reporter, RunRequest


@dataclass(frozen=True)
class Rows:
    """Usable rows of one file, in its order.

    Attributes:
        texts: (n,).
        pairs: (n,), or None where the job has no second text.
        labels: (n,) class names.
        left_out: rows without a text or a label.
    """

    texts: list[str]
    pairs: list[str] | None
    labels: list[str]
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, indices: list[int]) -> Rows:
        pairs = None if self.pairs is None else [self.pairs[i] for i in indices]
        return Rows([self.texts[i] for i in indices], pairs, [self.labels[i] for i in indices])


@dataclass(frozen=True)
class Data:
    """What is trained on, what is held out, and the class names in the order of their ids."""

    train: Rows
    evaluation: Rows
    classes: list[str]

    @property
    def ids(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.classes)}


def load_data(request: RunRequest, reporter: Reporter) -> Data:
    """Reads and splits.

    Raises:
        TrainingError: bad_data, with the file's row or what is missing.
    """
    spec = request.spec
    rows = read_rows(request.train_file, spec.dataset)
    _report_left_out(reporter, "training", rows)
    classes = _class_names(rows, spec)
    if request.eval_file is None:
        train, evaluation = split(rows, spec.dataset.eval_fraction, spec.training.seed)
    else:
        train, evaluation = rows, _known_labels(read_rows(request.eval_file, spec.dataset), classes, reporter)
        _report_left_out(reporter, "evaluation", evaluation)
    if not len(evaluation):
        raise bad_data(
            "There is no row to evaluate on.",
            hint="Give evaluation data whose labels occur in the training data, or leave dataset.eval empty.",
            where="dataset.eval",
        )
    reporter.event(
        "data_loaded",
        f"{len(train)} rows to train on, {len(evaluation)} held out, {len(classes)} classes.",
        {"train_rows": len(train), "eval_rows": len(evaluation), "classes": classes[:100]},
    )
    return Data(train, evaluation, classes)


def read_rows(path: Path, columns: DatasetSpec) -> Rows:
    """Raises TrainingError bad_data for a file that is not JSONL or lacks a column."""
    texts: list[str] = []
    pairs: list[str] = []
    labels: list[str] = []
    left_out = 0
    wanted = [columns.text, columns.label, *([columns.text_pair] if columns.text_pair else [])]
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            row = _parse(line, number)
            if missing := [name for name in wanted if name not in row]:
                raise bad_data(
                    f"Row {number} has no column '{missing[0]}'.",
                    hint=f"Its columns are: {', '.join(map(str, row))[:300]}. Name one of them in the job's dataset.",
                    where=f"row {number}",
                )
            values = [as_text(row[name]) for name in wanted]
            if not all(values):
                left_out += 1
                continue
            texts.append(values[0])
            labels.append(class_name(row[columns.label]))
            pairs += values[2:]
    return Rows(texts, pairs if columns.text_pair else None, labels, left_out)


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


def _class_names(rows: Rows, spec: JobSpec) -> list[str]:
    """All labels, numbers by their size and words by the alphabet."""
    label = spec.dataset.label
    counts = Counter(rows.labels)
    if not counts:
        raise bad_data(
            "No row has both a text and a label.",
            hint=f"Check the columns '{spec.dataset.text}' and '{label}'.",
            where="dataset.train",
        )
    if len(counts) == 1:
        raise bad_data(
            f"Every row has the same label, '{next(iter(counts))}': there is nothing to tell apart.",
            hint="Add rows of another class, or name another label column.",
            where="dataset.label",
        )
    if max(counts.values()) == 1:
        raise bad_data(
            f"Each of the {len(counts)} rows has a label of its own in '{label}'.",
            hint="Name a column with classes; a number to be predicted must be put into classes first.",
            where="dataset.label",
        )
    return sorted(counts, key=_sort_key)


def _sort_key(name: str) -> tuple[int, float, str]:
    try:
        number = float(name)
    except ValueError:
        return (1, 0.0, name)
    return (1, 0.0, name) if math.isnan(number) else (0, number, name)


def split(rows: Rows, fraction: float, seed: int) -> tuple[Rows, Rows]:
    """Stratified by label; a label with a single row stays in training.

    Which rows are held out follows from a hash of seed and row number, so it is the same on every machine and
    version.
    """
    left = held_out(Counter(rows.labels), fraction)
    order = sorted(range(len(rows)), key=lambda i: hashlib.sha256(f"{seed}:{i}".encode()).digest())
    chosen = set()
    for index in order:
        if left[rows.labels[index]] > 0:
            left[rows.labels[index]] -= 1
            chosen.add(index)
    everything = range(len(rows))
    return rows.take([i for i in everything if i not in chosen]), rows.take([i for i in everything if i in chosen])


def _known_labels(rows: Rows, classes: list[str], reporter: Reporter) -> Rows:
    """Without the rows whose label cannot be learnt from the training data."""
    known = set(classes)
    kept = [i for i, label in enumerate(rows.labels) if label in known]
    if unknown := sorted(set(rows.labels) - known):
        reporter.event(
            "unknown_labels",
            f"{len(rows) - len(kept)} evaluation rows are left out: their labels do not occur in the training data.",
            {"rows": len(rows) - len(kept), "labels": unknown[:20]},
        )
    taken = rows.take(kept)
    return Rows(taken.texts, taken.pairs, taken.labels, rows.left_out)


def _report_left_out(reporter: Reporter, which: str, rows: Rows) -> None:
    if rows.left_out:
        reporter.event(
            "rows_left_out",
            f"{rows.left_out} {which} rows are left out: they have no text or no label.",
            {"rows": rows.left_out, "of": rows.left_out + len(rows), "data": which},
        )

"""What is known of a data set: its columns' types, gaps, distinct values and lengths, found in one pass."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from adamss_core.spec.labels import class_name
from service.datasets.parsing import MAX_COLUMNS, Format, Problem, Row, Scalar, refuse

ColumnType = Literal["string", "integer", "float", "boolean", "empty"]

MAX_DISTINCT = 1_000
MAX_VALUES = 50  # distinct values that are listed with their counts
MAX_VALUE_LENGTH = 100
MAX_PROBLEMS = 100
PREVIEW_ROWS = 5
MAX_PREVIEW_CELL = 1_000

INTEGER = re.compile(r"[+-]?\d{1,18}")
BOOLEANS = frozenset({"true", "false"})


@dataclass
class Column:
    """Running numbers of one column; `distinct` stops at MAX_DISTINCT + 1 values."""

    present: int = 0
    filled: int = 0
    types: Counter[str] = field(default_factory=Counter)
    values: Counter[str] = field(default_factory=Counter)
    shortest: int = 0
    longest: int = 0
    length_sum: int = 0

    def add(self, value: Scalar, from_text: bool) -> None:
        self.present += 1
        text = class_name(value)
        if not text:
            return
        self.types[_type_of_text(text) if from_text else _type_of(value)] += 1
        length = len(text)
        self.shortest = length if self.filled == 0 else min(self.shortest, length)
        self.longest = max(self.longest, length)
        self.length_sum += length
        self.filled += 1
        # Values longer than a label are counted by their hash, so that a thousand long texts cost little.
        key = text if length <= MAX_VALUE_LENGTH else f"\0{hash(text)}"
        if key in self.values or len(self.values) <= MAX_DISTINCT:
            self.values[key] += 1

    def describe(self, name: str, rows: int) -> dict[str, Any]:
        distinct = min(len(self.values), MAX_DISTINCT)
        listed = len(self.values) <= MAX_VALUES and not any(value.startswith("\0") for value in self.values)
        return {
            "name": name,
            "type": self._type(),
            "empty": rows - self.filled,
            "distinct": distinct,
            "distinct_capped": len(self.values) > MAX_DISTINCT,
            "min_length": self.shortest,
            "max_length": self.longest,
            "mean_length": round(self.length_sum / self.filled, 1) if self.filled else 0.0,
            "values": dict(self.values.most_common()) if listed else None,
        }

    def _type(self) -> ColumnType:
        found = set(self.types)
        if not found:
            return "empty"
        if found == {"boolean"}:
            return "boolean"
        if found == {"integer"}:
            return "integer"
        return "float" if found <= {"integer", "float"} else "string"


@dataclass
class Profile:
    """Running numbers of a data set."""

    format: Format
    rows: int = 0
    columns: dict[str, Column] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    problem_count: int = 0
    preview: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        self.rows += 1
        for name, value in row.items():
            self.columns.setdefault(name, Column()).add(value, from_text=self.format == "csv")
        if len(self.columns) > MAX_COLUMNS:
            raise refuse(
                "too_many_columns", f"The rows have over {MAX_COLUMNS} different names; give every row the same ones."
            )
        if len(self.preview) < PREVIEW_ROWS:
            self.preview.append({name: _shortened(value) for name, value in row.items()})

    @property
    def has_gaps(self) -> bool:
        """Whether some row lacks a column that another has."""
        return any(column.present < self.rows for column in self.columns.values())

    def add_problem(self, problem: Problem) -> None:
        self.problem_count += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)

    def describe(self) -> dict[str, Any]:
        """As it is kept and shown: plain JSON values."""
        return {
            "columns": [column.describe(name, self.rows) for name, column in self.columns.items()],
            "problems": [vars(problem) for problem in self.problems],
            "problem_count": self.problem_count,
            "preview": [{name: row.get(name) for name in self.columns} for row in self.preview],
        }


def _type_of(value: Scalar) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    return "float" if isinstance(value, float) else "string"


def _type_of_text(text: str) -> str:
    if INTEGER.fullmatch(text):
        return "integer"
    if text.lower() in BOOLEANS:
        return "boolean"
    try:
        return "float" if math.isfinite(float(text)) else "string"
    except ValueError:
        return "string"


def _shortened(value: Scalar) -> Scalar:
    if isinstance(value, str) and len(value) > MAX_PREVIEW_CELL:
        return value[:MAX_PREVIEW_CELL] + "…"
    return value

"""Profile of a data set: its columns' types, gaps, distinct values and lengths, computed in one pass."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from adamss_core.spec.chat import unusual_order, unusual_parts
from adamss_core.spec.labels import class_name, is_share
from adamss_core.spec.tools import answer_text
from service.datasets.column_notices import column_notices
from service.datasets.first_rows import DASHES
from service.datasets.problem_groups import ProblemGroups
from service.datasets.rows import MAX_COLUMNS, Notice, NumberedRow, Problem, Row, refuse

ColumnType = Literal["string", "integer", "float", "boolean", "list", "vector", "mixed", "messages", "empty"]

MAX_DISTINCT = 1_000
MAX_VALUES = 50  # distinct values that are listed with their counts
MAX_VALUE_LENGTH = 100
MAX_PARTS = 50  # names of keys of messages that are counted
MAX_PROBLEMS = 100
PREVIEW_ROWS = 5
MAX_PREVIEW_CELL = 1_000
MAX_PREVIEW_ENTRIES = 50

INTEGER = re.compile(r"[+-]?\d{1,18}")
BOOLEANS = frozenset({"true", "false"})
# Spellings of a missing number in exported tables.
NOT_NUMBERS = frozenset(
    {"nan", "+nan", "-nan", "na", "n/a", "#n/a", "null", "none", "inf", "+inf", "-inf", "infinity", "+infinity"}
    | {"-infinity", "#num!", "#div/0!", "#value!"}
    | DASHES
)
_FIRST_SIGNS = frozenset("nN+-\u2013\u2014iI#")


@dataclass
class Column:
    """Running statistics of one column; `values` holds at most MAX_DISTINCT + 1 distinct values.

    Attributes:
        not_numbers: row, line and text of the first cells that spell a missing number.
        holds_shares: whether all entries of lists are numbers from 0 to 1.
        respelled: texts of the cells that are not written as their value is named, such as "pos " and "1.0".
        parts: of chats, what they have beside questions and answers in turn -> rows.
    """

    present: int = 0
    filled: int = 0
    types: set[ColumnType] = field(default_factory=set)
    values: Counter[str] = field(default_factory=Counter)
    shortest: int = 0
    longest: int = 0
    length_sum: int = 0
    lengths: Counter[int] = field(default_factory=Counter)  # by the number of bits of the length
    not_numbers: list[tuple[int, int | None, str]] = field(default_factory=list)
    not_number_count: int = 0
    holds_shares: bool = True
    respelled: Counter[str] = field(default_factory=Counter)
    parts: Counter[str] = field(default_factory=Counter)

    def add(self, value: Any, from_text: bool, row: NumberedRow) -> None:
        self.present += 1
        if isinstance(value, list):
            self._add_list(value)
            return
        name = class_name(value)
        text = value.strip() if isinstance(value, str) else name
        if not text:
            return
        self._add_length(len(text))
        if name != value:
            self._note_spelling(value, name)
        if from_text and text[0] in _FIRST_SIGNS and text.lower() in NOT_NUMBERS:
            self.not_number_count += 1
            if len(self.not_numbers) < MAX_PROBLEMS:
                self.not_numbers.append((row.number, row.line, text))
            self._count(text)
        elif (not self._count(name) or not from_text or name != text) and "string" not in self.types:
            self.types.add(_type_of_text(text) if from_text else _type_of(value))

    def _note_spelling(self, value: Any, name: str) -> None:
        is_respelled = isinstance(value, str) and len(value) <= MAX_VALUE_LENGTH
        if is_respelled and (value in self.respelled or len(self.respelled) < MAX_VALUES):
            self.respelled[value] += 1

    def _add_list(self, entries: list[Any]) -> None:
        if not entries:
            return
        if isinstance(entries[0], dict):
            self.types.add("messages")
            self._add_length(sum(len(answer_text(entry)) for entry in entries))
            self._count_parts(entries)
            return
        self.types.add("list")
        self._add_length(len(entries))
        names = [class_name(entry) for entry in entries]
        self.holds_shares = self.holds_shares and all(map(is_share, names))
        for name in names:
            self._count(name)

    def _count_parts(self, messages: list[dict[str, Any]]) -> None:
        names = sorted({name[:MAX_VALUE_LENGTH] for name in unusual_parts(messages) | unusual_order(messages)})
        self.parts.update(name for name in names if name in self.parts or len(self.parts) < MAX_PARTS)

    def _add_length(self, length: int) -> None:
        if self.filled == 0 or length < self.shortest:
            self.shortest = length
        self.longest = max(self.longest, length)
        self.filled += 1
        self.length_sum += length
        self.lengths[length.bit_length()] += 1

    def _count(self, text: str) -> bool:
        """Count a value; return whether it was seen before."""
        # Values longer than a label are counted by their hash, so that a thousand long texts cost little.
        key = text if len(text) <= MAX_VALUE_LENGTH else f"\0{hash(text)}"
        if key in self.values:
            self.values[key] += 1
            return True
        if len(self.values) <= MAX_DISTINCT:
            self.values[key] = 1
        return False

    @property
    def is_numeric(self) -> bool:
        return bool(self.types) and self.types <= {"integer", "float"}

    @property
    def has_spelled_gaps(self) -> bool:
        """Whether a numeric column spells missing numbers, such as "nan"."""
        return self.is_numeric and self.not_number_count > 0

    def empty_the_gaps(self) -> None:
        """Count spelled missing numbers as empty cells."""
        self.filled -= self.not_number_count
        for text in [text for text in self.values if text.lower() in NOT_NUMBERS]:
            del self.values[text]

    def describe(self, name: str, rows: int) -> dict[str, Any]:
        listed = self.is_listed
        return {
            "name": name,
            "type": self.type,
            "empty": rows - self.filled,
            "distinct": min(len(self.values), MAX_DISTINCT),
            "distinct_capped": len(self.values) > MAX_DISTINCT,
            "min_length": self.shortest,
            "max_length": self.longest,
            "mean_length": round(self.length_sum / self.filled, 1) if self.filled else 0.0,
            "lengths": [{"up_to": 2**bits - 1, "rows": self.lengths[bits]} for bits in sorted(self.lengths)],
            "values": dict(self.values.most_common()) if listed else None,
            "parts": dict(self.parts.most_common()) or None,
        }

    @property
    def is_listed(self) -> bool:
        """Whether the values may be classes: few, and short."""
        return len(self.values) <= MAX_VALUES and not any(value.startswith("\0") for value in self.values)

    @property
    def type(self) -> ColumnType:
        if not self.types:
            return "empty"
        if self.types == {"list"} and self.holds_shares and 1 < self.shortest == self.longest:
            return "vector"
        if len(self.types) == 1:
            return next(iter(self.types))
        if "list" in self.types and "messages" not in self.types:
            return "mixed"
        return "float" if self.types <= {"integer", "float"} else "string"


@dataclass
class Profile:
    """Running statistics of a data set.

    Attributes:
        from_text: whether the format has text cells only, so that types are guessed.
        rows: usable rows.
        empty_rows: rows without any value; they are left out.
        problem_count: number of all problems; `problems` lists the first.
        image_modes: mode -> images, of a zip of images.
    """

    from_text: bool = True
    rows: int = 0
    empty_rows: int = 0
    left_out: int = 0
    columns: dict[str, Column] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    problem_count: int = 0
    problem_groups: ProblemGroups = field(default_factory=ProblemGroups)
    notices: list[Notice] = field(default_factory=list)
    preview: list[Row] = field(default_factory=list)
    image_modes: Counter[str] = field(default_factory=Counter)

    def add(self, row: NumberedRow) -> None:
        self.rows += 1
        for name, value in row.values.items():
            column = self.columns.get(name)
            if column is None:
                column = self.columns[name] = Column()
                if len(self.columns) > MAX_COLUMNS:
                    raise refuse(
                        "too_many_columns",
                        f"The rows have over {MAX_COLUMNS} different names; give every row the same ones.",
                    )
            column.add(value, self.from_text, row)
        if len(self.preview) < PREVIEW_ROWS:
            self.preview.append({name: shortened(value) for name, value in row.values.items()})

    def add_empty(self, row: NumberedRow) -> None:
        """Count a row without any value, such as a spreadsheet leaves below its table."""
        self.empty_rows += 1
        self._list(Problem(row.number, row.line, None, "has no value in any column; remove it"))

    def add_problem(self, problem: Problem) -> None:
        self.left_out += problem.left_out
        self._list(problem)

    def _list(self, problem: Problem, rows: int = 1) -> None:
        self.problem_count += rows
        self.problem_groups.add(problem, rows)
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)

    @property
    def has_gaps(self) -> bool:
        """Whether some row lacks a column that another has."""
        return any(column.present < self.rows for column in self.columns.values())

    def finish(self) -> set[str]:
        """Complete the profile after the last row; return the columns whose spelled missing numbers become empty."""
        spelled = {name for name, column in self.columns.items() if column.has_spelled_gaps}
        for name in spelled:
            column = self.columns[name]
            unlisted = column.not_number_count - len(column.not_numbers)
            for place, (number, line, text) in enumerate(column.not_numbers):
                self._list(
                    Problem(
                        number,
                        line,
                        name,
                        f"holds {text!r} in a column of numbers; the cell counts as empty",
                        left_out=False,
                    ),
                    1 if place else 1 + unlisted,
                )
            column.empty_the_gaps()
        self.problems.sort(key=lambda problem: problem.row)
        self.notices += column_notices(self.columns, self.rows)
        for row in self.preview:
            row.update({name: None for name in spelled if is_not_number(row.get(name))})
        return spelled

    def describe(self) -> dict[str, Any]:
        """Convert the profile to plain JSON values, as stored and served."""
        return {
            "columns": [column.describe(name, self.rows) for name, column in self.columns.items()],
            "problems": [asdict(problem) for problem in self.problems],
            "problem_count": self.problem_count,
            "problem_groups": self.problem_groups.describe(),
            "left_out": self.left_out,
            "empty_rows": self.empty_rows,
            "notices": [asdict(notice) for notice in self.notices],
            "image_modes": dict(self.image_modes.most_common()),
            "preview": [{name: row.get(name) for name in self.columns} for row in self.preview],
        }


def is_not_number(value: Any) -> bool:
    return isinstance(value, str) and value.strip().lower() in NOT_NUMBERS


def shortened(value: Any) -> Any:
    if isinstance(value, str) and len(value) > MAX_PREVIEW_CELL:
        return value[:MAX_PREVIEW_CELL] + "…"
    if isinstance(value, list):
        return [shortened(entry) for entry in value[:MAX_PREVIEW_ENTRIES]]
    if isinstance(value, dict):
        return {name: shortened(entry) for name, entry in value.items()}
    return value


def _type_of(value: Any) -> ColumnType:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    return "float" if isinstance(value, float) else "string"


def _type_of_text(text: str) -> ColumnType:
    if INTEGER.fullmatch(text):
        return "integer"
    if text.lower() in BOOLEANS:
        return "boolean"
    try:
        return "float" if math.isfinite(float(text)) else "string"
    except ValueError:
        return "string"

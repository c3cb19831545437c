"""Group the faults of rows, so that one that many rows share is said once."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Any

from service.datasets.rows import Problem, counted

MAX_GROUPS = 50  # the rest is one group
FIRST = 5
# In which messages of one fault differ: quoted values, and numbers with a noun after them.
DETAIL = re.compile(r"'[^']*'|\"[^\"]*\"|\d[\d,.]*( \w+)?")
OTHERS = "have other faults"


@dataclass
class ProblemGroup:
    """Rows with one fault.

    Attributes:
        message: of the first row; those of the others differ in numbers and quoted values at most.
        rows: how many.
        first: numbers of the first rows.
        line: of the file at which the first row ends.
        files: the first files, or rows of files, in an archive.
    """

    message: str
    column: str | None
    left_out: bool
    rows: int = 0
    first: list[int] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    line: int | None = None

    def add(self, problem: Problem) -> None:
        self.rows += 1
        self.line = self.line or problem.line
        if len(self.first) < FIRST:
            self.first.append(problem.row)
            self.files += [problem.file] if problem.file else []

    def __str__(self) -> str:
        """Write the group as a line, such as "80 rows (first 3, 7, 12; line 4): has 3 cells ..."."""
        shown = ", ".join(self.files or map(str, self.first))
        first = f"first {shown}" if self.rows > len(self.first) else shown
        line = f"line {self.line}" if self.line else ""
        column = f"column '{self.column}'" if self.column else ""
        position = "; ".join(part for part in (first, line, column) if part)
        return f"{counted(self.rows)} ({position}): {self.message}"


class ProblemGroups:
    """Groups of all problems of a data set, in the order of their first rows."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str | None, bool, str], ProblemGroup] = {}

    def add(self, problem: Problem, rows: int = 1) -> None:
        """Count a problem.

        Args:
            rows: how many have it, this one included, of which only it is listed.
        """
        key = (problem.column, problem.left_out, DETAIL.sub("…", problem.message))
        message, column = problem.message, problem.column
        if key not in self._groups and len(self._groups) >= MAX_GROUPS:
            key, message, column = (None, problem.left_out, OTHERS), OTHERS, None
        group = self._groups.setdefault(key, ProblemGroup(message, column, problem.left_out))
        group.add(problem)
        group.rows += rows - 1

    def all(self) -> list[ProblemGroup]:
        """Return the groups, the one of the first row first."""
        return sorted(self._groups.values(), key=lambda group: min(group.first))

    def describe(self) -> list[dict[str, Any]]:
        """Convert the groups to plain JSON values, as stored and served."""
        return [asdict(group) for group in self.all()]

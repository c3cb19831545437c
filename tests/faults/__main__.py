"""Runs the whole matrix and prints it as a table: `python -m tests.faults [pytest arguments]`."""

from __future__ import annotations

import os
import re
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROW = re.compile(r"test_row_(\d+)([a-z]?)_(\w+)")
HERE = Path(__file__).parent


@dataclass
class Line:
    """What became of one row on one set-up."""

    runs: int = 0
    held: int = 0
    not_run: int = 0
    seconds: float = 0.0
    names: list[str] = field(default_factory=list)


class Table:
    """A pytest plugin that counts."""

    def __init__(self) -> None:
        self.lines: dict[tuple[str, str], Line] = defaultdict(Line)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        found = ROW.search(report.nodeid)
        if found is None or (report.when != "call" and not report.failed and not report.skipped):
            return
        set_up = next((name for name in ("embedded", "production") if name in report.nodeid.partition("[")[2]), "")
        line = self.lines[found[1] + found[2], set_up]
        name = found[3].replace("_", " ")
        if name not in line.names:
            line.names.append(name)
        if report.skipped:
            line.not_run += 1
            return
        line.runs += 1
        line.held += report.passed
        line.seconds += report.duration

    def print(self) -> None:
        print(f"\n{'row':<5}{'set-up':<12}{'runs':>4}  {'held':<14}{'seconds':>8}  fault")
        for (row, set_up), line in sorted(self.lines.items()):
            held = "yes" if line.held == line.runs else f"NO, {line.runs - line.held} did not"
            if line.runs == 0:
                held = "not run here"
            print(f"{row:<5}{set_up:<12}{line.runs:>4}  {held:<14}{line.seconds:>8.1f}  {'; '.join(line.names)}")


def main() -> int:
    os.environ["FAULTS"] = "all"
    table = Table()
    status = pytest.main([str(HERE), "-n", "0", "--timeout=600", "-q", *sys.argv[1:]], plugins=[table])
    table.print()
    return int(status)


if __name__ == "__main__":
    sys.exit(main())

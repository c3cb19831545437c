"""The parts of an answer that terminal, CSV file and page show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class AnswerColumn:
    """A part of an answer, as a table shows it.

    Attributes:
        key: its key in the answer.
        title: for people; the column of a CSV file is named after it.
        decimals: of a number; None for five significant digits.
        separator: between the entries of a list.
    """

    key: str
    title: str
    decimals: int | None = None
    separator: str = ", "

    @property
    def csv_name(self) -> str:
        return f"predicted_{self.title.lower().replace(' ', '_')}"

    def text(self, answer: Mapping[str, Any]) -> str:
        """Format this part of an answer; "-" where the answer lacks it."""
        value = answer.get(self.key)
        if isinstance(value, list):
            return self.separator.join("-" if entry is None else str(entry) for entry in value)
        if isinstance(value, float):
            return f"{value:.5g}" if self.decimals is None else f"{value:.{self.decimals}f}"
        return "-" if value is None else str(value)

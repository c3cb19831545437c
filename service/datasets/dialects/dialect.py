"""Define what a dialect is: a way of writing rows, recognised in the first of them and rewritten in all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Self

from service.datasets.rows import Notice, Row


class Misread(Exception):
    """A row does not have the dialect that the first rows have.

    Attributes:
        column: at fault; None where the whole row is.
        message: fault and remedy; completes "row 3 ...".
    """

    def __init__(self, message: str, column: str | None = None) -> None:
        super().__init__(message)
        self.message, self.column = message, column


class Dialect(ABC):
    """One way of writing rows; an instance belongs to one file."""

    @classmethod
    @abstractmethod
    def recognise(cls, rows: Sequence[Row]) -> Self | None:
        """Return the dialect as the first rows have it; None where they are written in another way."""

    @abstractmethod
    def read(self, values: Row) -> Row:
        """Return the row in the columns that tasks read; `values` itself where nothing is to be rewritten.

        Raises:
            Misread: the row does not have the dialect.
        """

    @abstractmethod
    def notices(self) -> Iterator[Notice]:
        """Yield what was rewritten; complete after the last row."""

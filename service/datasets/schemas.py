"""Data sets as the API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from service.datasets.profiling import ColumnType
from service.db import Dataset


class Out(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class ColumnOut(Out):
    """What is known of a column."""

    name: str
    """Its name, as in the file."""
    type: ColumnType
    """The narrowest type that fits every value; "empty" where there is none."""
    empty: int
    """Rows without a value."""
    distinct: int
    """Different values, counted up to 1,000."""
    distinct_capped: bool
    """Whether there are more than `distinct` says."""
    min_length: int
    """Characters of the shortest value."""
    max_length: int
    """Characters of the longest value."""
    mean_length: float
    """Characters of a value on average."""
    values: dict[str, int] | None
    """How often each value occurs, where there are at most 50 short ones."""


class ProblemOut(Out):
    """A row that was left out."""

    row: int
    """Number of the row, from 1; the header of a CSV file is not counted."""
    line: int
    """Line of the file at which the row ends."""
    column: str | None
    """Column at fault, where it is one."""
    message: str
    """What is wrong with it."""


class DatasetOut(Out):
    """A data set."""

    object: Literal["dataset"] = "dataset"
    """Always "dataset"."""
    id: str
    """Its id, to be named in a job."""
    name: str
    """The name of the uploaded file."""
    format: Literal["csv", "jsonl"]
    """Format of the uploaded file."""
    rows: int
    """Rows that can be used."""
    size_bytes: int
    """Size of the rows as they are kept."""
    sha256: str
    """Hash of the rows as they are kept."""
    columns: list[ColumnOut]
    """The columns, in the file's order."""
    problem_count: int
    """Rows that were left out."""
    problems: list[ProblemOut]
    """The first 100 rows that were left out, and why."""
    created_at: datetime
    """When it was uploaded."""


class PreviewOut(Out):
    """The first rows of a data set."""

    object: Literal["preview"] = "preview"
    """Always "preview"."""
    id: str
    """Id of the data set."""
    columns: list[str]
    """Names of the columns."""
    rows: list[dict[str, str | int | float | bool | None]]
    """The first rows; cells over 1,000 characters are cut."""


def render(dataset: Dataset) -> DatasetOut:
    profile = dataset.profile
    return DatasetOut.model_validate(
        {
            "id": dataset.id,
            "name": dataset.name,
            "format": dataset.format,
            "rows": dataset.rows,
            "size_bytes": dataset.size_bytes,
            "sha256": dataset.sha256,
            "columns": profile["columns"],
            "problem_count": profile["problem_count"],
            "problems": profile["problems"],
            "created_at": dataset.created_at,
        }
    )

"""Data sets as the API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from adamss_core.spec import TaskName
from adamss_core.spec.job import MODEL_NAME, REVISION
from service.datasets.profiling import ColumnType
from service.datasets.rows import Format
from service.shared.database.tables import Dataset

HUB_WORD = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$"


class Out(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class LengthOut(Out):
    """One bin of the lengths of a column."""

    up_to: int
    """Largest length in the bin; it begins above that of the bin before."""
    rows: int
    """Rows in it."""


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
    """Characters of the shortest value; of lists, entries; of chats, characters of all messages."""
    max_length: int
    """Length of the longest value."""
    mean_length: float
    """Length of a value on average."""
    lengths: list[LengthOut] = []
    """Distribution of the lengths, in bins that double."""
    repeated: int | None = None
    """Rows whose text in this column occurs in an earlier row as well; null where it is not counted."""
    values: dict[str, int] | None
    """How often each value occurs, where there are at most 50 short ones; of lists, each entry."""


class ProblemOut(Out):
    """Something wrong with a row."""

    row: int
    """Number of the row, from 1; the header of a CSV file is not counted. In a zip of images, number of the file."""
    line: int | None
    """Line of the file at which the row ends, in formats with lines."""
    column: str | None
    """Column at fault, where it is one."""
    message: str
    """What is wrong with it, and what would be right."""
    left_out: bool = True
    """Whether the row was left out; otherwise only the one cell counts as empty."""
    file: str | None = None
    """The file at fault, in a zip of images."""


class NoticeOut(Out):
    """Something to know about the data as a whole."""

    code: str
    """What it is about, for programs."""
    column: str | None
    """The column that it is about, where it is one."""
    message: str
    """What to know, and what could be done."""


class DuplicateOut(Out):
    """A row that is there twice."""

    row: int
    """Number of the row, as in problems."""
    repeats: int
    """Number of the earlier row that it repeats."""


class DuplicatesOut(Out):
    """Rows that repeat an earlier one in every column; of images, the same file."""

    rows: int = 0
    """How many there are; they are kept."""
    examples: list[DuplicateOut] = []
    """The first 20."""


class DatasetOut(Out):
    """A data set."""

    object: Literal["dataset"] = "dataset"
    """Always "dataset"."""
    id: str
    """Its id, to be named in a job."""
    name: str
    """The name of the uploaded file."""
    format: Format
    """Format of the uploaded file."""
    rows: int
    """Rows that can be used."""
    size_bytes: int
    """Size of the rows as they are kept, images included."""
    sha256: str
    """Hash of the rows as they are kept."""
    columns: list[ColumnOut]
    """The columns, in the file's order."""
    problem_count: int
    """Number of problems, all of them."""
    problems: list[ProblemOut]
    """The first 100 problems, by row."""
    left_out: int = 0
    """Rows that were left out because of a problem."""
    empty_rows: int = 0
    """Rows without any value, which were left out as well."""
    duplicates: DuplicatesOut = DuplicatesOut()
    """Rows that are there more than once."""
    notices: list[NoticeOut] = []
    """What to know about the data as a whole: how it was read, and what would surprise in a label."""
    created_at: datetime
    """When it was uploaded."""


class HubDatasetIn(Out):
    """A split of a data set on the hub."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")

    hub_id: Annotated[str, Field(pattern=MODEL_NAME)]
    """Its id, such as stanfordnlp/sst2."""
    revision: Annotated[str, Field(pattern=REVISION)] = "main"
    """A branch, a tag or a commit."""
    config: Annotated[str, Field(pattern=HUB_WORD)] | None = None
    """The configuration, where it has several: a folder of its files."""
    split: Annotated[str, Field(pattern=HUB_WORD)] = "train"
    """Which rows: train, validation, test, or a name of its own."""


class PreviewOut(Out):
    """The first rows of a data set."""

    object: Literal["preview"] = "preview"
    """Always "preview"."""
    id: str
    """Id of the data set."""
    columns: list[str]
    """Names of the columns."""
    rows: list[dict[str, Any]]
    """The first rows; cells over 1,000 characters are cut, and lists after 50 entries."""


class TokenOut(Out):
    """A token of an example."""

    id: int
    """Its id."""
    token: str
    """Its piece, as the tokenizer's vocabulary writes it."""
    text: str
    """Its text."""
    trained: bool
    """Whether the loss looks at it."""


class ExampleOut(Out):
    """A row as the model will see it."""

    row: int
    """Place of the row among those that are kept, from 1."""
    target: Any = None
    """What is to be learnt where that is no text: the class, the classes, the number, or the words' tags."""
    text: str | None = None
    """The rendered text, special tokens included."""
    tokens: list[TokenOut] | None = None
    """Its first 1,024 tokens."""
    token_count: int | None = None
    """Number of its tokens, after it was cut."""
    trained_tokens: int | None = None
    """Number of its tokens that the loss looks at; 0 where the whole text gets one label."""
    truncated: bool | None = None
    """Whether it was cut."""
    image: str | None = None
    """Name of the image's file."""
    pixels: list[int] | None = None
    """Channels, height and width of the image as the model gets it."""


class ExamplesOut(Out):
    """The first examples of a data set as a model will see them."""

    object: Literal["examples"] = "examples"
    """Always "examples"."""
    id: str
    """Id of the data set."""
    task: TaskName
    """The task that the examples were made for."""
    limit: int | None
    """Tokens per example: `max_length`, or less where the model takes less."""
    checked: int
    """Rows that were looked at, from the first one on."""
    over_length: int
    """Of these, examples that are longer than the limit."""
    left_out: dict[str, int]
    """Of these, rows that cannot be used, by reason."""
    examples: list[ExampleOut]
    """The first ones."""


def render(dataset: Dataset) -> DatasetOut:
    profile = dict(dataset.profile)
    repeated = profile.pop("repeated", {})
    columns = [column | {"repeated": repeated.get(column["name"])} for column in profile.pop("columns")]
    return DatasetOut.model_validate(
        profile
        | {
            "id": dataset.id,
            "name": dataset.name,
            "format": dataset.format,
            "rows": dataset.rows,
            "size_bytes": dataset.size_bytes,
            "sha256": dataset.sha256,
            "columns": columns,
            "created_at": dataset.created_at,
        }
    )

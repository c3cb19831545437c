"""Request and response bodies of data sets."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from adamss_core.spec import ProblemType, TaskName
from adamss_core.spec.job import MODEL_NAME, REVISION
from service.datasets.left_out import splits_of, suggest
from service.datasets.profiling import ColumnType
from service.datasets.rows import Format
from service.http.openapi import Out
from service.shared.database.tables import Dataset

HUB_WORD = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$"


class LengthOut(Out):
    """One bin of a column's length distribution."""

    up_to: int
    """Largest length in the bin; the bin begins above the previous bin's."""
    rows: int
    """Rows in the bin."""


class ColumnOut(Out):
    """Profile of a column."""

    name: str
    """Name of the column, as in the file."""
    type: ColumnType
    """The narrowest type that fits every value; "empty" for a column without values."""
    empty: int
    """Rows without a value."""
    distinct: int
    """Distinct values, counted up to 1,000."""
    distinct_capped: bool
    """Whether the column has more distinct values than `distinct`."""
    min_length: int
    """Length of the shortest value: characters; for lists, entries; for chats, characters of all messages."""
    max_length: int
    """Length of the longest value."""
    mean_length: float
    """Mean length of a value."""
    lengths: list[LengthOut] = Field(default=[])
    """Distribution of the lengths, in bins that double."""
    repeated: int | None = None
    """Rows whose text in this column repeats an earlier row's; null where not counted."""
    values: dict[str, int] | None
    """Rows per value (for lists, per entry), if the column has at most 50 values, all short; null otherwise."""
    parts: dict[str, int] | None = None
    """For chats with more than questions and answers in turn, rows per part: a system message, thoughts (`<think>`),
    keys of messages such as `name` and `tool_calls`, "two turns of one role in a row", "assistant first", "user last";
    null otherwise."""


class RowProblemOut(Out):
    """A fault of a row."""

    row: int
    """Number of the row, from 1; the header of a CSV file is not counted. In a zip of images, number of the file."""
    line: int | None
    """Line of the file at which the row ends, in formats with lines."""
    column: str | None
    """Column at fault; null where the whole row is."""
    message: str
    """Fault and remedy."""
    left_out: bool = True
    """Whether the row was left out; otherwise only the cell counts as empty."""
    file: str | None = None
    """The file at fault, in a zip of images."""


class ProblemGroupOut(Out):
    """Rows with one fault."""

    message: str
    """Fault and remedy, of the first row; those of the others differ in numbers and quoted values at most."""
    column: str | None
    """Column at fault; null where the whole row is."""
    left_out: bool
    """True where the rows were left out; otherwise only their cells count as empty."""
    rows: int
    """Number of all rows with the fault."""
    first: list[int]
    """Numbers of the first 5 rows, as in problems."""
    files: list[str]
    """The first files at fault, or rows of files, in an archive."""
    line: int | None
    """Line of the file at which the first row ends, in formats with lines."""


class NoticeOut(Out):
    """A remark on the data as a whole."""

    code: str
    """Machine-readable kind of the notice."""
    column: str | None
    """Column concerned; null where the whole data set is."""
    message: str
    """The remark, with a remedy where one exists."""


class DuplicateOut(Out):
    """A duplicate row."""

    row: int
    """Number of the row, as in problems."""
    repeats: int
    """Number of the earlier, equal row."""


class DuplicatesOut(Out):
    """Rows equal to an earlier row in every column; for images, in the image's content."""

    rows: int = 0
    """Number of duplicate rows; they are not left out."""
    examples: list[DuplicateOut] = Field(default=[])
    """The first 20 duplicate rows."""


class SuggestionOut(Out):
    """A job that the data set would do for; a job that leaves out task or columns takes them from here."""

    task: TaskName
    """The job's `task`."""
    problem_type: ProblemType | None
    """The job's `problem_type`."""
    dataset: dict[str, str | list[str]]
    """Fields of the job's `dataset` block, with the column of this data set that each names, or the columns; and `eval`
    and `test` with the ids of the data sets that were uploaded with this one."""
    confidence: Literal["certain", "likely"]
    """"certain" where names and types of the columns leave no doubt. A job that relies on a "likely" one gets a
    warning."""
    reason: str
    """By what it was found."""


class DatasetOut(Out):
    """A data set."""

    object: Literal["dataset"] = "dataset"
    """Always "dataset"."""
    id: str
    """Id of the data set, as named in a job."""
    name: str
    """Name of the uploaded file."""
    format: Format
    """Format of the uploaded file."""
    rows: int
    """Usable rows."""
    size_bytes: int
    """Size of the stored rows, images included."""
    sha256: str
    """Hash of the stored rows."""
    columns: list[ColumnOut]
    """The columns, in the file's order."""
    problem_count: int
    """Number of all problems."""
    problems: list[RowProblemOut]
    """The first 100 problems, by row."""
    problem_groups: list[ProblemGroupOut] = Field(default=[])
    """All problems, those of one fault and column together; empty for data sets of older versions."""
    left_out: int = 0
    """Rows left out because of a problem."""
    empty_rows: int = 0
    """Rows without any value, also left out."""
    duplicates: DuplicatesOut = DuplicatesOut()
    """Duplicate rows."""
    notices: list[NoticeOut] = Field(default=[])
    """Remarks on the data as a whole, such as its encoding or columns that are unsuitable as labels."""
    image_modes: dict[str, int] = Field(default={})
    """Images by how they hold their colours, in Pillow's words: RGB, RGBA, L (grey), I;16 (16 bits of grey), P, LA."""
    splits: dict[str, str] = Field(default={})
    """Of an archive with several splits: split -> id of its data set, the one to train on first."""
    suggestion: SuggestionOut | None = None
    """Suggestion of a job on this data set; null where it could be anything."""
    created_at: datetime
    """Time of the upload."""


class HubDatasetIn(Out):
    """A split of a data set on the hub."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")

    hub_id: Annotated[str, Field(pattern=MODEL_NAME)]
    """Id on the hub, such as stanfordnlp/sst2."""
    revision: Annotated[str, Field(pattern=REVISION)] = "main"
    """A branch, a tag or a commit."""
    config: Annotated[str, Field(pattern=HUB_WORD)] | None = None
    """The configuration, if the data set has several: a folder of its files."""
    split: Annotated[str, Field(pattern=HUB_WORD)] = "train"
    """The split: train, validation, test, or a name used by the data set."""


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
    """Id in the tokenizer's vocabulary."""
    token: str
    """Piece, as the tokenizer's vocabulary writes it."""
    text: str
    """Text that the token adds to what stands before it; empty where its character ends in a later token."""
    trained: bool
    """Whether the loss includes the token."""


class ExampleOut(Out):
    """A row as the model will see it."""

    row: int
    """Position of the row, from 1; several examples may be of one row."""
    target: Any = None
    """The training target, unless it is text: the class, the classes, the number, or the words' tags."""
    words: list[str] | None = None
    """The row's words, for a target of a tag each."""
    text: str | None = None
    """The rendered text, special tokens included."""
    tokens: list[TokenOut] | None = None
    """The first 1,024 tokens."""
    token_count: int | None = None
    """Number of tokens after truncation."""
    trained_tokens: int | None = None
    """Number of tokens that the loss includes; 0 where the whole text gets one label."""
    truncated: bool | None = None
    """Whether the example was truncated."""
    image: str | None = None
    """Name of the image's file."""
    pixels: list[int] | None = None
    """Channels, height and width of the model's input."""


class RemarkOut(Out):
    """Fact about encoded rows that their user may not expect."""

    code: str
    """Machine-readable kind of the remark; also the type of the event that a training run reports."""
    message: str
    """The remark."""


class ExamplesOut(Out):
    """The first examples of a data set as a model will see them."""

    object: Literal["examples"] = "examples"
    """Always "examples"."""
    id: str
    """Id of the data set."""
    task: TaskName
    """The task that the examples are encoded for."""
    limit: int | None
    """Maximum tokens per example: `max_length`, or the model's limit if that is lower."""
    checked: int
    """Number of rows examined, from the first."""
    over_length: int
    """Examined rows whose examples exceed the limit."""
    left_out: dict[str, int]
    """Examined rows that cannot be used, by reason."""
    remarks: list[RemarkOut] = Field(default=[])
    """Remarks on the examined rows, such as parts of chats that the model's chat template does not show."""
    examples: list[ExampleOut]
    """The first examples."""


def render(dataset: Dataset) -> DatasetOut:
    profile = dict(dataset.profile)
    repeated = profile.pop("repeated", {})
    columns = [column | {"repeated": repeated.get(column["name"])} for column in profile.pop("columns")]
    suggested = suggest(dataset)
    suggestion = SuggestionOut.model_validate(suggested[0], from_attributes=True) if suggested else None
    if suggestion is not None:
        suggestion = suggestion.model_copy(update={"dataset": suggestion.dataset | splits_of(dataset)})
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
            "suggestion": suggestion,
            "created_at": dataset.created_at,
        }
    )

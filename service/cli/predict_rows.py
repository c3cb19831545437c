"""Rows of a file to predict: read by the service as training data are, or from a table that names image files."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.cli.datasets import forget
from service.cli.output import CliError
from service.cli.terminal import put

if TYPE_CHECKING:
    from adamss_core.spec import JobSpec
    from adamss_core.spec.tasks.base import FieldKind
    from service.client import Client
    from service.client.types import DatasetJson

Row = dict[str, Any]
NO_ANSWER = "no_answer"  # column of the reason


def is_uploaded(spec: JobSpec, file: Path) -> bool:
    """Return whether the service reads a file: all but a table that names image files beside it."""
    from adamss_core.spec import record_of

    kinds = {record_of(spec).field_kinds[field] for field in record_of(spec).input_fields(spec)}
    if "image" not in kinds:
        return True
    if file.suffix.lower() in (".csv", ".tsv", ".jsonl", ".ndjson"):
        return False
    raise CliError(f"--file: for images, give their files, or a CSV with a column of their paths; {file} is neither.")


@contextmanager
def uploaded(client: Client, file: Path) -> Iterator[Callable[[], Iterator[tuple[str, Row]]]]:
    """Let the service read a file as it reads training data; delete it at the end, unless it had been there before.

    Yields:
        Reader of the rows, each after its place in words.
    """
    dataset = client.upload_dataset(file)
    try:
        if splits := dataset.get("splits"):
            raise CliError(f"{file} holds {len(splits)} data sets ({', '.join(splits)}). Give the file of one of them.")
        put(*(f"no answer {line}" for line in unread(dataset)), err=True)
        if nothing := dataset.get("empty_rows"):
            put(
                f"no answer {nothing:,} row{'s' * (nothing != 1)} without any value: there is no line for them.",
                err=True,
            )
        places = places_of(dataset)
        yield lambda: ((places(number), row) for number, row in enumerate(client.rows(dataset["id"]), start=1))
    finally:
        forget(client, dataset)


def places_of(dataset: DatasetJson) -> Callable[[int], str]:
    """Return a function: number of a row that was read in, its place in the file in words out."""
    problems = [problem for problem in dataset.get("problems", []) if problem.get("left_out", True)]
    left_out = sorted(problem["row"] for problem in problems if problem.get("row"))
    is_known = dataset.get("problem_count", 0) == len(dataset.get("problems", [])) and not dataset.get("empty_rows")

    def place(number: int) -> str:
        if not is_known:
            return f"row {number} of those that can be read"
        for row in left_out:
            number += row <= number
        return f"row {number}"

    return place


def unread(dataset: DatasetJson) -> list[str]:
    """List the rows of a file that cannot be read, by their numbers in it."""
    problems = [problem for problem in dataset.get("problems", []) if problem.get("left_out", True)]
    lines = [f"{problem.get('file') or 'row {row}'.format_map(problem)} {problem['message']}" for problem in problems]
    more = dataset.get("problem_count", 0) - len(dataset.get("problems", []))
    return [*lines, f"and {more} more rows"] if more > 0 else lines


def from_rows(spec: JobSpec, rows: Iterable[tuple[str, Row]], file: Path) -> Iterator[tuple[Row, Row]]:
    """Yield each row of a file as read, with a chat's own answer as `given`, and as sent.

    A row with an empty input is sent as nothing, and says why under NO_ANSWER.

    Raises:
        CliError: an input column is missing.
    """
    from adamss_core.spec import record_of
    from adamss_core.spec.instructions import join_texts
    from adamss_core.spec.tasks.base import named_columns

    record = record_of(spec)
    needed, optional = record.input_fields(spec), record.optional_inputs(spec)
    columns = {field: dict(named_columns(field, getattr(spec.dataset, field))) for field in (*needed, *optional)}
    for place, row in rows:
        sent: Row = {}
        given: Row = {}
        for field, names in columns.items():
            for name in names.values():
                if name not in row:
                    raise CliError(f"{file} has no column '{name}', an input of the job. Columns: {', '.join(row)}.")
            filled = [row[name] for name in names.values() if row[name] is not None and str(row[name]).strip()]
            if not filled and field in needed:
                given = {NO_ANSWER: f"{place}: column '{next(iter(names.values()))}' is empty"}
                sent = {}
                break
            if filled:
                cell = join_texts(filled) if len(names) > 1 else filled[0]
                sent[field] = cell_of(record.kind_of(field), cell, file.parent)
                if field in needed and record.kind_of(field) == "chat":
                    sent[field], given = asked(sent[field])
        yield row | given, sent


def asked(messages: Any) -> tuple[Any, Row]:
    """Return a chat up to its last turn of the user or a tool, and the answer that it has to it."""
    turns = list(messages) if isinstance(messages, list) else []
    while turns and isinstance(turns[-1], dict) and turns[-1].get("role") == "assistant":
        turns.pop()
    if not turns or len(turns) == len(messages):
        return messages, {}
    return turns, {"given": messages[len(turns)].get("content")}


def columns_of(rows: Iterable[tuple[Row, Row]]) -> list[str]:
    """Return the names of all columns, after validating every row; print how many rows get no answer.

    Raises:
        CliError: see `from_rows`.
    """
    names: dict[str, None] = {}
    empty = 0
    for row, _ in rows:
        names |= dict.fromkeys(row)
        empty += NO_ANSWER in row
    if empty:
        put(
            f"no answer {empty:,} row{'s' * (empty != 1)} with an empty input: a line each says why under {NO_ANSWER}.",
            err=True,
        )
    return list(names)


def numbered(file: Path) -> Iterator[tuple[str, Row]]:
    return ((f"row {number}", row) for number, row in enumerate(read_rows(file), start=1))


def read_rows(file: Path) -> Iterator[Row]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            if file.suffix.lower() in (".jsonl", ".ndjson"):
                yield from (json.loads(line) for line in lines if line.strip())
            else:
                yield from csv.DictReader(lines, delimiter="\t" if file.suffix.lower() == ".tsv" else ",")
    except UnicodeDecodeError as error:
        raise CliError(f"{file} is not UTF-8. Save it as UTF-8.") from error
    except ValueError as error:
        raise CliError(f"{file} is not JSONL: {error}.") from error


def cell_of(kind: FieldKind, value: Any, folder: Path) -> Any:
    """Convert a cell to the form that the service takes."""
    if kind == "image":
        return base64.b64encode((folder / str(value)).read_bytes()).decode()
    if kind == "chat":
        return chat_of(value) if isinstance(value, str) and value.startswith("[") else as_chat(value)
    return value if isinstance(value, list) else str(value)


def chat_of(text: str) -> Any:
    """Parse a chat written as JSON; treat other text as one user message."""
    try:
        return json.loads(text)
    except ValueError:
        return as_chat(text)


def as_chat(value: Any) -> Any:
    return [{"role": "user", "content": value}] if isinstance(value, str) else value

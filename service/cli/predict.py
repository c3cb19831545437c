"""Command `adamss predict`: predictions of a finished job's model for a few inputs, or for a file of rows."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.csv_output import GuardedWriter
from service.cli.datasets import forget
from service.cli.output import CliError, Json, connect, examples, print_table
from service.cli.terminal import data_output, put, put_json

if TYPE_CHECKING:
    from adamss_core.spec import JobSpec
    from adamss_core.spec.tasks.answer import AnswerColumn
    from adamss_core.spec.tasks.base import FieldKind
    from service.client import Client
    from service.client.types import DatasetJson

EXAMPLES = examples(
    'adamss predict JOB "A joy." "A bore."              one line per text',
    "adamss predict JOB --file new.csv --csv out.csv    the file's rows with predictions",
    "adamss predict JOB cat.png dog.jpg                 image files, for image classification",
    'adamss predict sentiment@live "A joy."                a registered model',
    'adamss predict JOB "Write a haiku." --max-new-tokens 60',
)
BATCH = 16  # inputs of one request
BATCH_BYTES = 4_000_000
Row = dict[str, Any]


def predict(
    job: Annotated[
        str, typer.Argument(metavar="JOB|NAME", help="A job's id, or a registered model, such as sentiment@live.")
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[INPUT]…", help="Texts, prompts or image files; the texts of a pair in turn."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="A file such as is uploaded to train on, with the input columns of the training data.",
        ),
    ] = None,
    as_csv: Annotated[
        Path | None, typer.Option("--csv", help="With --file: CSV for rows and predictions; - for standard output.")
    ] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Maximum tokens of a generated text.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, help="0 for greedy decoding, above 0 to sample.")] = None,
    checkpoint: Annotated[
        int | None, typer.Option(min=1, help="Step of a checkpoint whose model predicts; the job need not have ended.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Predict with the model of a succeeded job, with a registered model, or with a checkpoint."""
    if bool(inputs) == (file is not None):
        raise CliError("Give inputs, or a file of rows with --file.")
    if as_csv is not None and file is None:
        raise CliError("--csv needs --file.")
    given = {"max_new_tokens": max_new_tokens, "temperature": temperature, "checkpoint": checkpoint}
    options = {name: value for name, value in given.items() if value is not None}
    with connect() as client:
        if not job.startswith("job_"):
            job = client.job_of_model(job)  # of one version, also for a long file
        spec = spec_of(client, job)
        parts = answer_columns(spec)
        with ExitStack() as stack:
            names: list[str] = []
            if file is None:
                rows: Iterable[tuple[Row, Row]] = from_arguments(spec, inputs or [])
            else:
                read = (
                    stack.enter_context(uploaded(client, file)) if is_uploaded(spec, file) else partial(numbered, file)
                )
                names = columns_of(from_rows(spec, read(), file))  # validates every row before the first request
                rows = from_rows(spec, read(), file)
            predicted = predictions(client, job, rows, options)
            if as_json:
                put_json([prediction for _, prediction in predicted])
            elif as_csv is not None:
                write_csv(as_csv, predicted, names, parts)
            else:
                lines = [[shown(row), *(part.text(prediction) for part in parts)] for row, prediction in predicted]
                print_table(["INPUT", *(part.title.upper() for part in parts)], lines, "No rows.")


def spec_of(client: Client, job: str) -> JobSpec:
    """Return the job's resolved spec.

    Raises:
        CliError: this version does not know the task, or another part of the spec.
    """
    from pydantic import ValidationError

    from adamss_core.spec import JobSpec

    details = client.get_job(job)
    try:
        return JobSpec.model_validate(details["resolved"].get("spec") or details["spec"])
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise CliError(
            f"This version of adamss cannot read the job's spec ({where}: {problem['msg']}). Install the version that "
            "the service runs."
        ) from error


def answer_columns(spec: JobSpec) -> Sequence[AnswerColumn]:
    """Return the parts of a prediction to print, as the record of the job's task declares them."""
    from adamss_core.spec import record_of

    return record_of(spec).answer_columns


def from_arguments(spec: JobSpec, given: Sequence[str]) -> list[tuple[Row, Row]]:
    """Return each input as typed and as sent."""
    from adamss_core.spec import record_of

    fields = record_of(spec).input_fields(spec)
    if len(given) % len(fields):
        raise CliError(f"Each input needs {' and '.join(fields)}, in turn; {len(given)} arguments are incomplete.")
    groups = [given[start : start + len(fields)] for start in range(0, len(given), len(fields))]
    rows = [dict(zip(fields, group, strict=True)) for group in groups]
    kinds = record_of(spec).field_kinds
    return [(row, {name: cell_of(kinds[name], text, Path()) for name, text in row.items()}) for row in rows]


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
        places = places_of(dataset)
        yield lambda: ((places(number), row) for number, row in enumerate(client.rows(dataset["id"]), start=1))
    finally:
        forget(client, dataset)


def places_of(dataset: DatasetJson) -> Callable[[int], str]:
    """Return a function: number of a row that was read in, its place in the file in words out."""
    problems = [problem for problem in dataset.get("problems", []) if problem.get("left_out", True)]
    left_out = sorted(problem["row"] for problem in problems if problem.get("row"))
    is_known = dataset.get("problem_count", 0) == len(dataset.get("problems", []))

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

    Raises:
        CliError: an input column is missing, or has an empty cell.
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
                raise CliError(f"{file}, {place}: column '{next(iter(names.values()))}' is empty.")
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
    """Return the names of all columns, after validating every row.

    Raises:
        CliError: see `from_rows`.
    """
    return list(dict.fromkeys(name for row, _ in rows for name in row))


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


def predictions(client: Client, job: str, rows: Iterable[tuple[Row, Row]], options: Row) -> Iterator[tuple[Row, Row]]:
    """Yield each row with its prediction, batch by batch."""
    for batch in batches(rows):
        predicted = client.predict(job, [sent for _, sent in batch], **options)
        yield from ((row, prediction) for (row, _), prediction in zip(batch, predicted, strict=True))


def batches(rows: Iterable[tuple[Row, Row]]) -> Iterator[list[tuple[Row, Row]]]:
    """Group rows into requests of at most BATCH rows and about BATCH_BYTES."""
    batch: list[tuple[Row, Row]] = []
    size = 0
    for row, sent in rows:
        own = len(json.dumps(sent))
        if batch and (len(batch) == BATCH or size + own > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((row, sent))
        size += own
    if batch:
        yield batch


def shown(row: Row) -> str:
    return " | ".join(str(value) for value in row.values())


def write_csv(
    path: Path, predicted: Iterable[tuple[Row, Row]], columns: Sequence[str], parts: Sequence[AnswerColumn]
) -> None:
    """Write the rows with their predictions in further columns named `predicted_...`.

    Each row is flushed as soon as its prediction arrives, so that a later error loses none.
    """
    with data_output() if str(path) == "-" else path.open("w", encoding="utf-8", newline="") as out:
        writer: GuardedWriter | None = None
        for row, prediction in predicted:
            cells = {part.csv_name: part.text(prediction) for part in parts}
            if writer is None:
                writer = GuardedWriter(out, [*columns, *cells])
            writer.write_fields({name: as_cell(value) for name, value in (row | cells).items()})
            out.flush()


def as_cell(value: object) -> object:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value

"""Command `adamss predict`: predictions of a finished job's model for a few inputs, or for a file of rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.csv_output import GuardedWriter
from service.cli.output import CliError, Json, connect, examples, print_table
from service.cli.predict_rows import NO_ANSWER, Row, cell_of, columns_of, from_rows, is_uploaded, numbered, uploaded
from service.cli.terminal import data_output, put, put_json, put_piece

if TYPE_CHECKING:
    from adamss_core.spec import JobSpec
    from adamss_core.spec.tasks.answer import AnswerColumn
    from service.client import Client

EXAMPLES = examples(
    'adamss predict JOB "A joy." "A bore."              one line per text',
    "adamss predict JOB --file new.csv --csv out.csv    the file's rows with predictions",
    "adamss predict JOB cat.png dog.jpg                 image files, for image classification",
    'adamss predict sentiment@live "A joy."                a registered model',
    'adamss predict JOB "Write a haiku." --max-new-tokens 60 --stream',
    'adamss predict JOB "Write a haiku." --base        beside the answer of the base model',
)
BATCH = 16  # inputs of one request
BATCH_BYTES = 4_000_000


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
    base: Annotated[bool, typer.Option("--base", help="Let the base model alone answer, too.")] = False,
    system: Annotated[str | None, typer.Option(help="System message before each chat.")] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print the text of one prompt while it is written.")] = False,
    as_json: Json = False,
) -> None:
    """Predict with the model of a succeeded job, with a registered model, or with a checkpoint."""
    if bool(inputs) == (file is not None):
        raise CliError("Give inputs, or a file of rows with --file.")
    if as_csv is not None and file is None:
        raise CliError("--csv needs --file.")
    if stream and (file is not None or as_json):
        raise CliError("--stream prints the text of one prompt: leave out --file and --json.")
    given = {"max_new_tokens": max_new_tokens, "temperature": temperature, "checkpoint": checkpoint}
    options: Row = {name: value for name, value in given.items() if value is not None}
    options |= {"with_base": True} if base else {}
    with connect() as client:
        if not job.startswith("job_"):
            job = client.job_of_model(job)  # of one version, also for a long file
        spec = spec_of(client, job)
        with ExitStack() as stack:
            rows, names = rows_of(client, spec, inputs or [], file, stack)
            if system is not None:
                rows = ((row, with_system(sent, system) if sent else sent) for row, sent in rows)
            if stream:
                print_streamed(client, job, list(rows), options)
                return
            predicted = predictions(client, job, rows, options)
            if as_json:
                put_json([prediction or {NO_ANSWER: row[NO_ANSWER]} for row, prediction in predicted])
                return
            parts = beside_base(answer_columns(spec)) if base else answer_columns(spec)
            flat = ((row, flattened(prediction)) for row, prediction in predicted)
            if as_csv is not None:
                write_csv(as_csv, flat, names, parts)
            else:
                lines = [[shown(row), *(part.text(prediction) for part in parts)] for row, prediction in flat]
                print_table(["INPUT", *(part.title.upper() for part in parts)], lines, "No rows.")


def rows_of(
    client: Client, spec: JobSpec, inputs: Sequence[str], file: Path | None, stack: ExitStack
) -> tuple[Iterable[tuple[Row, Row]], list[str]]:
    """Return the rows to predict, as read and as sent, and the names of a file's columns."""
    if file is None:
        return from_arguments(spec, inputs), []
    read = stack.enter_context(uploaded(client, file)) if is_uploaded(spec, file) else partial(numbered, file)
    names = columns_of(from_rows(spec, read(), file))  # validates every row before the first request
    return from_rows(spec, read(), file), names


def print_streamed(client: Client, job: str, rows: Sequence[tuple[Row, Row]], options: Row) -> None:
    """Print the text of one prompt while it is written, and that of the base model under a line of its own."""
    if len(rows) > 1:
        raise CliError("--stream prints the text of one prompt.")
    writer = "trained"
    for piece in client.predict_stream(job, rows[0][1], **options):
        if piece["of"] != writer:
            writer = piece["of"]
            put("", "base model:")
        put_piece(piece.get("text", ""))
    put("")


def with_system(sent: Row, text: str) -> Row:
    """Begin the chat of an input with a system message.

    Raises:
        CliError: the job takes no chats.
    """
    if "messages" not in sent:
        raise CliError("--system: the job was not trained on chats.")
    return sent | {"messages": [{"role": "system", "content": text}, *sent["messages"]]}


def beside_base(parts: Sequence[AnswerColumn]) -> list[AnswerColumn]:
    """Return the parts of a prediction, and those of the base model's answer after them, as `flattened` names them."""
    return [*parts, *(replace(part, key=f"base_{part.key}", title=f"base {part.title}") for part in parts)]


def flattened(prediction: Row) -> Row:
    """Return a prediction with the parts of the base model's answer under names of their own."""
    return prediction | {f"base_{name}": value for name, value in prediction.get("base", {}).items()}


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


def predictions(client: Client, job: str, rows: Iterable[tuple[Row, Row]], options: Row) -> Iterator[tuple[Row, Row]]:
    """Yield each row with its prediction, batch by batch; one that is sent as nothing with an empty one."""
    for batch in batches(rows):
        inputs = [sent for _, sent in batch if sent]
        predicted = iter(client.predict(job, inputs, **options) if inputs else ())
        yield from ((row, next(predicted) if sent else {}) for row, sent in batch)


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
            cells = {part.csv_name: part.text(prediction) if prediction else "" for part in parts}
            if writer is None:
                writer = GuardedWriter(out, [*columns, *cells])
            writer.write_fields({name: as_cell(value) for name, value in (row | cells).items()})
            out.flush()


def as_cell(value: object) -> object:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value

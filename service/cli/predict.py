"""`adamss predict`: a finished job's model on a few inputs, or on a file of rows."""

from __future__ import annotations

import base64
import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.output import CliError, JobId, Json, connect, examples, print_json, print_table

if TYPE_CHECKING:
    from adamss_core.spec import JobSpec
    from adamss_core.spec.tasks.base import FieldKind
    from service.client import Client

EXAMPLES = examples(
    'adamss predict JOB "A joy." "A bore."              a line for each text',
    "adamss predict JOB --file new.csv --csv out.csv    the file's rows with what the model says",
    "adamss predict JOB cat.png dog.jpg                 image files, where the job classifies images",
    'adamss predict JOB "Write a haiku." --max-new-tokens 60',
)
BATCH = 16  # inputs of one request
BATCH_BYTES = 4_000_000
Row = dict[str, Any]


def predict(
    job: JobId,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[INPUT]…", help="Texts, prompts or image files; of pairs, one after the other."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="CSV, TSV or JSONL with the columns that the job was trained on."
        ),
    ] = None,
    as_csv: Annotated[
        Path | None, typer.Option("--csv", help="With --file: where its rows and the answers go; - prints them.")
    ] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Longest text that a model writes.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, help="0 for the likeliest text, more to draw.")] = None,
    as_json: Json = False,
) -> None:
    """Try the model of a job that has succeeded."""
    if bool(inputs) == (file is not None):
        raise CliError("Give inputs, or a file of rows with --file.")
    if as_csv is not None and file is None:
        raise CliError("--csv goes with --file.")
    names: list[str] = []
    given = {"max_new_tokens": max_new_tokens, "temperature": temperature}
    options = {name: value for name, value in given.items() if value is not None}
    with connect() as client:
        spec = spec_of(client, job)
        if file is not None:
            names = columns_of(spec, file)  # every row is looked at before the first is asked
            rows: Iterable[tuple[Row, Row]] = from_file(spec, file)
        else:
            rows = from_arguments(spec, inputs or [])
        answered = answers(client, job, rows, options)
        if as_json:
            print_json([answer for _, answer in answered])
        elif as_csv is not None:
            write_csv(as_csv, answered, names)
        else:
            lines = [[shown(row), *answer_cells(answer).values()] for row, answer in answered]
            print_table(["INPUT", "ANSWER", "SCORE"][: max(map(len, lines), default=2)], lines, "No rows.")


def spec_of(client: Client, job: str) -> JobSpec:
    from adamss_core.spec import JobSpec

    found = client.get_job(job)
    return JobSpec.model_validate(found["resolved"].get("spec") or found["spec"])


def from_arguments(spec: JobSpec, given: Sequence[str]) -> list[tuple[Row, Row]]:
    """Return each input as it was typed, and as it is sent."""
    from adamss_core.spec import record_of

    fields = record_of(spec).input_fields(spec)
    if len(given) % len(fields):
        raise CliError(f"The job takes {' and '.join(fields)}: give them one after the other, for each input.")
    groups = [given[start : start + len(fields)] for start in range(0, len(given), len(fields))]
    rows = [dict(zip(fields, group, strict=True)) for group in groups]
    kinds = record_of(spec).field_kinds
    return [(row, {name: cell_of(kinds[name], text, Path()) for name, text in row.items()}) for row in rows]


def from_file(spec: JobSpec, file: Path) -> Iterator[tuple[Row, Row]]:
    """The rows of a file, and what is sent for each.

    Raises:
        CliError: a column is missing, or a cell of it empty.
    """
    from adamss_core.spec import record_of

    kinds = record_of(spec).field_kinds
    columns = {field: str(getattr(spec.dataset, field)) for field in record_of(spec).input_fields(spec)}
    for number, row in enumerate(read_rows(file), start=1):
        for name in columns.values():
            if name not in row:
                raise CliError(f"{file} has no column '{name}', which the job was trained on. It has {', '.join(row)}.")
            if row[name] is None or not str(row[name]).strip():
                raise CliError(f"{file}, row {number}: column '{name}' is empty.")
        yield row, {field: cell_of(kinds[field], row[name], file.parent) for field, name in columns.items()}


def columns_of(spec: JobSpec, file: Path) -> list[str]:
    """The names of all columns, once every row was looked at.

    Raises:
        CliError: as `from_file`.
    """
    return list(dict.fromkeys(name for row, _ in from_file(spec, file) for name in row))


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
    """A chat that is written as JSON; what only begins like one is what a user says."""
    try:
        return json.loads(text)
    except ValueError:
        return as_chat(text)


def as_chat(value: Any) -> Any:
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


def answers(client: Client, job: str, rows: Iterable[tuple[Row, Row]], options: Row) -> Iterator[tuple[Row, Row]]:
    """Each row with its answer, as they come."""
    for batch in batches(rows):
        answer = client.predict(job, [sent for _, sent in batch], **options)
        yield from ((row, one) for (row, _), one in zip(batch, answer, strict=True))


def batches(rows: Iterable[tuple[Row, Row]]) -> Iterator[list[tuple[Row, Row]]]:
    """What goes into one request: a few rows, of images perhaps a single one."""
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


def answer_cells(answer: Row) -> dict[str, object]:
    """What fits into a table, in the order of columns."""
    if "labels" in answer:
        return {"labels": ", ".join(answer["labels"])}
    if "label" in answer:
        return {"label": answer["label"], "score": f"{answer['score']:.4f}"}
    if "value" in answer:
        return {"value": f"{answer['value']:.5g}"}
    if "tags" in answer:
        return {"tags": " ".join(tag or "-" for tag in answer["tags"])}
    return {"generated": answer["text"]}


def shown(row: Row) -> str:
    return " | ".join(str(value) for value in row.values())


def write_csv(path: Path, answered: Iterable[tuple[Row, Row]], columns: Sequence[str]) -> None:
    """The rows with the answers as further columns, which begin with `predicted_`; each is in the file as soon as it is
    known, so that whatever goes wrong later takes none of them along."""
    with nullcontext(sys.stdout) if str(path) == "-" else path.open("w", encoding="utf-8", newline="") as out:
        writer: csv.DictWriter[str] | None = None
        for row, one in answered:
            cells = {f"predicted_{name}": cell for name, cell in answer_cells(one).items()}
            if writer is None:
                writer = csv.DictWriter(out, [*columns, *cells], lineterminator="\n")
                writer.writeheader()
            writer.writerow({name: as_cell(value) for name, value in (row | cells).items()})
            out.flush()


def as_cell(value: object) -> object:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value

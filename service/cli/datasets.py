"""Commands of `adamss datasets`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.output import CliError, Json, connect, examples, print_fields, print_rest, print_table, size, when
from service.cli.terminal import put, put_json

if TYPE_CHECKING:
    from service.client import Client
    from service.client.types import DatasetJson

app = typer.Typer(help="Upload, list, show, preview and delete data sets.", no_args_is_help=True)
DatasetId = Annotated[str, typer.Argument(metavar="DATASET", help="The data set's id, such as ds_4k7…")]
NESTED_FIELDS = (*("object", "columns", "problems", "problem_groups", "notices", "duplicates", "suggestion", "splits"),)


@app.command(
    epilog=examples(
        "adamss datasets upload reviews.csv",
        "adamss datasets upload pets.zip --json",
        "adamss datasets upload hub:org/name",
    )
)
def upload(
    file: Annotated[
        str,
        typer.Argument(
            help="A table (CSV, JSON, Excel, Parquet, Arrow), text, CoNLL, an archive, zipped images; or hub:org/name."
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Name in lists. Default: the file's name.")] = None,
    split: Annotated[str, typer.Option(help="Split of a hub data set.")] = "train",
    new: Annotated[
        bool, typer.Option("--new", help="Make a data set also where the project has one of the same file.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Upload a data set; print its id, and on standard error what it would do for, its notices and problems.

    A file that was uploaded before is not stored twice: its data set is shown.
    """
    if not file.startswith("hub:") and not Path(file).is_file():
        raise CliError(f"File {file} does not exist.")
    with connect() as client:
        if file.startswith("hub:"):
            hub_id, _, revision = file.removeprefix("hub:").partition("@")
            dataset = client.hub_dataset(hub_id, split, **({"revision": revision} if revision else {}))
        else:
            dataset = client.upload_dataset(file, name, new=new)
    if as_json:
        put_json(dataset)
        return
    put_remarks(dataset)
    put(dataset["id"])


@app.command(name="list")
def list_datasets(
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of data sets.")] = 50, as_json: Json = False
) -> None:
    """List the data sets, newest first."""
    with connect() as client:
        datasets = client.datasets(limit)
    if as_json:
        put_json(datasets)
        return
    rows = [[d["id"], d["name"], d["rows"], size(d["size_bytes"]), when(d["created_at"])] for d in datasets]
    print_table(
        ["ID", "NAME", "ROWS", "SIZE", "UPLOADED"], rows, "No data sets. Upload one: adamss datasets upload FILE"
    )
    print_rest(datasets)


@app.command()
def show(dataset: DatasetId, as_json: Json = False) -> None:
    """Show a data set: its columns, notices and problems."""
    with connect() as client:
        details = client.dataset(dataset)
    if as_json:
        put_json(details)
        return
    print_fields({name: value for name, value in details.items() if name not in NESTED_FIELDS and value != {}})
    titles = ["COLUMN", "TYPE", "EMPTY", "DISTINCT", "LENGTH", "VALUES"]
    print_table(titles, [_column(column) for column in details.get("columns", [])], "No columns.")
    put(*remarks(details))


@app.command(epilog=examples("adamss datasets preview ds_4k7…", "adamss datasets preview ds_4k7… --spec job.yaml"))
def preview(
    dataset: DatasetId,
    spec: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A job spec: show the examples as its model will see them."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A base model: show the examples as it will see them by default.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Task to show them for. Default: what the data set suggests.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the first rows; with a spec or model, as it will see them: a bar between tokens, trained ones in [ ]."""
    if task is not None and spec is None and model is None:
        raise CliError("--task needs --model or --spec: the examples are shown as a model will see them.")
    body = _spec(spec, model, task)
    with connect() as client:
        first = client.preview(dataset, body)
    if as_json:
        put_json(first)
    elif body is None:
        for row in first["rows"]:
            put_json(row, indent=None)
    else:
        print_examples(first)


@app.command()
def delete(dataset: DatasetId) -> None:
    """Delete a data set."""
    with connect() as client:
        client.delete_dataset(dataset)
    put(f"Deleted {dataset}.")


def forget(client: Client, dataset: DatasetJson) -> None:
    """Delete what an upload has made, with all splits, unless it had been there before."""
    if dataset.get("created"):
        for one in dict.fromkeys([dataset["id"], *dataset.get("splits", {}).values()]):
            client.delete_dataset(one)


def put_remarks(dataset: DatasetJson) -> None:
    """Print what an upload says on standard error, where it is in no script's way."""
    if dataset.get("created") is False:
        put(
            f"notice    This file was uploaded {when(dataset['created_at'])} as {dataset['name']}: here it is.",
            err=True,
        )
    put(*remarks(dataset), err=True)


def remarks(dataset: Any) -> list[str]:
    """List what a data set would do for, its notices and its problems, one line each."""
    lines = [
        *_suggestion(dataset),
        *_splits(dataset),
        *(f"notice    {notice['message']}" for notice in dataset.get("notices", [])),
    ]
    if repeated := dataset.get("duplicates", {}).get("rows"):
        lines.append(f"notice    {repeated} rows repeat an earlier row.")
    groups = dataset.get("problem_groups")
    return [*lines, *(map(_problem_group, groups) if groups else _problems(dataset))]


def _problem_group(group: Any) -> str:
    first = ", ".join(group["files"] or map(str, group["first"]))
    position = f"first {first}" if group["rows"] > len(group["first"]) else first
    column = f", column {group['column']!r}" if group["column"] else ""
    return f"problem   {group['rows']} row{'s' * (group['rows'] != 1)} ({position}{column}): {group['message']}"


def _problems(dataset: Any) -> list[str]:
    """List the problems one by one, of a service that does not group them."""
    lines = []
    problems = dataset.get("problems", [])
    for problem in problems:
        position = problem.get("file") or f"row {problem['row']}"
        column = f", column {problem['column']!r}" if problem.get("column") else ""
        lines.append(f"problem   {position}{column}: {problem['message']}")
    if (more := dataset.get("problem_count", 0) - len(problems)) > 0:
        lines.append(f"problem   ... and {more} more")
    return lines


def _splits(dataset: Any) -> list[str]:
    splits = dataset.get("splits") or {}
    return [f"splits    {', '.join(f'{name} {one}' for name, one in splits.items())}"] if splits else []


def _suggestion(dataset: Any) -> list[str]:
    found = dataset.get("suggestion")
    if found is None:
        return []
    kind = found["task"] if found["problem_type"] is None else f"{found['task']} ({found['problem_type']})"
    named = {field: [column] if isinstance(column, str) else column for field, column in found["dataset"].items()}
    columns = ", ".join(f"{field}: {' + '.join(names)}" for field, names in named.items())
    return [f"suggests  {kind} with {columns} ({found['confidence']}: {found['reason']})"]


def _column(column: dict[str, Any]) -> list[object]:
    distinct = f"{column['distinct']}{'+' if column['distinct_capped'] else ''}"
    length = f"{column['min_length']}-{column['max_length']}, mean {column['mean_length']:g}"
    values = ", ".join(f"{value} ({count})" for value, count in list((column["values"] or {}).items())[:10])
    return [column["name"], column["type"], column["empty"], distinct, length, values]


def _spec(file: Path | None, model: str | None, task: str | None) -> dict[str, Any] | None:
    given = {name: value for name, value in (("base_model", model), ("task", task)) if value is not None}
    if file is None:
        return given or None
    from service.cli.job_spec import read_spec

    return read_spec(file) | given


def _marked(tokens: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the texts of tokens, each run of trained ones in brackets."""
    for trained, run in groupby((token for token in tokens if token["text"]), key=lambda token: token["trained"]):
        text = "|".join(token["text"] for token in run)
        yield f"[{text}]" if trained else text


def print_examples(preview: dict[str, Any]) -> None:
    for example in preview["examples"]:
        target = "" if example["target"] is None else f" -> {json.dumps(example['target'], ensure_ascii=False)}"
        if words := example.get("words"):
            target = f": {' '.join(f'{word}/{tag}' for word, tag in zip(words, example['target'], strict=True))}"
        if example["tokens"] is None:
            put(f"row {example['row']}: {example['image']}, {'x'.join(map(str, example['pixels']))}{target}")
            continue
        truncated = ", truncated" if example["truncated"] else ""
        put(f"row {example['row']}: {example['token_count']} tokens{truncated}{target}")
        put("|".join(_marked(example["tokens"])))
    put(f"{preview['over_length']} of the first {preview['checked']} rows exceed {preview['limit']} tokens.")
    for reason, count in preview["left_out"].items():
        put(f"{count} of the first {preview['checked']} rows cannot be used: {reason}.")
    for remark in preview.get("remarks", []):
        put(remark["message"])

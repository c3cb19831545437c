"""`adamss datasets`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli.output import Json, connect, examples, print_fields, print_json, print_table, size, when

app = typer.Typer(help="Upload, list, show and delete data sets.", no_args_is_help=True)
DatasetId = Annotated[str, typer.Argument(metavar="DATASET", help="The data set's id, such as ds_4k7…")]


@app.command(epilog=examples("adamss datasets upload reviews.csv", "adamss datasets upload reviews.jsonl --json"))
def upload(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A CSV or JSONL file.")],
    name: Annotated[str | None, typer.Option(help="What it is listed as. Default: the file's name.")] = None,
    as_json: Json = False,
) -> None:
    """Upload a data set; prints its id."""
    with connect() as client:
        dataset = client.upload_dataset(file, name)
    if as_json:
        print_json(dataset)
    else:
        print(dataset["id"])


@app.command(name="list")
def list_datasets(
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 50, as_json: Json = False
) -> None:
    """List the data sets, the newest first."""
    with connect() as client:
        found = client.datasets(limit)
    if as_json:
        print_json(found)
        return
    rows = [[d["id"], d["name"], d["rows"], size(d["size_bytes"]), when(d["created_at"])] for d in found]
    print_table(
        ["ID", "NAME", "ROWS", "SIZE", "UPLOADED"], rows, "No data sets. Upload one: adamss datasets upload FILE"
    )


@app.command()
def show(dataset: DatasetId, as_json: Json = False) -> None:
    """Show a data set: its columns, and what is wrong with its rows."""
    with connect() as client:
        found = client.dataset(dataset)
    if as_json:
        print_json(found)
        return
    print_fields(
        {name: value for name, value in found.items() if name not in ("object", "columns", "problems", "preview")}
    )
    for column in found.get("columns", []):
        print(f"column    {column}")
    for problem in found.get("problems", []):
        print(f"problem   {problem}")


@app.command()
def delete(dataset: DatasetId) -> None:
    """Delete a data set."""
    with connect() as client:
        client.delete_dataset(dataset)
    print(f"{dataset} is deleted.")

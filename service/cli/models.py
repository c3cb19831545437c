"""Commands of `adamss models`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.output import CliError, Json, connect, examples, print_fields, print_table, size, when
from service.cli.terminal import on_terminal, put, put_json

if TYPE_CHECKING:
    from service.client.model_types import BaseModelJson

app = typer.Typer(
    help="List, add and delete base models; serve trained models under a name.",
    epilog=examples("adamss models", "adamss models add ./minilm", "adamss models show minilm"),
)
Name = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name, as jobs name it in base_model.")]
ADD = examples(
    "adamss models add ./minilm",
    "adamss models add my-model.zip --name team/my-model",
    "adamss models add sentence-transformers/all-MiniLM-L6-v2 --revision main --name minilm",
)
TENTHS = 10


@app.callback(invoke_without_command=True)
def models(context: typer.Context, as_json: Json = False) -> None:
    """List the base models that jobs may use; `adamss models COMMAND --help` says more of the others."""
    if context.invoked_subcommand is None:
        _list(as_json)


@app.command(name="list")
def list_models(as_json: Json = False) -> None:
    """List the base models that jobs may use."""
    _list(as_json)


@app.command(epilog=ADD)
def add(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER|FILE|HUB_ID", help="A model's folder, a zip or tar of one, or an id on the hub."
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="Name for jobs to use; by default that of the folder, or the hub id.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub; main by default.")] = None,
    wait: Annotated[bool, typer.Option(help="Wait until a model of the hub is fetched.")] = True,
    as_json: Json = False,
) -> None:
    """Add a base model to the project.

    A folder is packed while it is sent; pickles, code and whatever else a model is not loaded from stay behind. A hub
    id is fetched by the service itself, where its operator allows that.
    """
    path = Path(source)
    report = _reporter()
    with connect() as client:
        if path.exists():
            if revision is not None:
                raise CliError("--revision is about models of the hub, and the argument is a path.")
            model = client.add_model(path, name, on_progress=report)
        elif "/" not in source.strip("./") or source.startswith((".", "/", "~")):
            raise CliError(f"There is no folder or file {source}, and an id on the hub has the form ORGANISATION/NAME.")
        else:
            model = client.add_hub_model(source, revision or "main", name)
            if wait and model["status"] == "fetching":
                model = client.wait_for_model(model["name"], on_progress=report)
    if as_json:
        put_json(model)
    else:
        put(*_added(model))


@app.command()
def show(name: Name, as_json: Json = False) -> None:
    """Show a base model: size, origin, files, and the jobs that use it."""
    with connect() as client:
        model = client.model(name)
    if as_json:
        put_json(model)
        return
    fields: dict[str, object] = {
        "name": model["name"],
        "source": _source(model),
        "status": _status(model),
        "type": model["model_type"],
        "parameters": _count(model["parameters"]),
        "size": _size(model),
        "tasks": ", ".join(model["tasks"]),
        "problem": model["problem"],
        "added": when(model.get("created_at")),
        "used by": ", ".join(model["used_by"]["unfinished"] + model["used_by"]["finished"]) or None,
    }
    print_fields(fields)
    put(*(f"file       {file['name']}  {size(file['size_bytes'])}  {file['sha256']}" for file in model["files"]))


@app.command()
def delete(
    name: Name,
    force: Annotated[bool, typer.Option(help="Also where adapters of finished jobs need it to predict.")] = False,
) -> None:
    """Delete a base model that this project has added, or stop fetching it."""
    with connect() as client:
        client.delete_model(name, force=force)
    put(f"deleted {name}")


def _list(as_json: bool) -> None:
    with connect() as client:
        base_models = client.models()
    if as_json:
        put_json(base_models)
        return
    rows = [
        [
            model["name"],
            model.get("model_type"),
            _count(model.get("parameters")),
            _size(model),
            _source(model),
            ", ".join(model.get("tasks") or []),
            model.get("problem") or "",
        ]
        for model in base_models
    ]
    empty = "No base models. Add one: adamss models add FOLDER."
    print_table(["NAME", "TYPE", "PARAMETERS", "SIZE", "SOURCE", "TASKS", "PROBLEM"], rows, empty)


def _added(model: BaseModelJson) -> list[str]:
    verb = "is being fetched" if model["status"] == "fetching" else "added" if model.get("created", True) else "is here"
    lines = [f"{model['name']} {verb}: {_size(model)}, {', '.join(model['tasks']) or _source(model)}"]
    if left_out := model.get("left_out"):
        lines.append(f"left out: {', '.join(left_out)}")
    return lines


def _reporter() -> Callable[[int, int], None]:
    """Return a function that prints each tenth of a transfer on stderr, on a terminal alone."""
    shown = 0

    def report(done: int, total: int) -> None:
        nonlocal shown
        tenth = TENTHS * done // max(1, total)
        if tenth > shown and on_terminal():
            put(f"{size(done)} of {size(total)}", err=True)
        shown = max(shown, tenth)

    return report


def _source(model: BaseModelJson) -> str:
    source = model.get("source") or "folder"
    return f"{model.get('hub_id')} at {str(model.get('revision'))[:12]}" if source == "hub" else source


def _status(model: BaseModelJson) -> str:
    progress = model.get("progress")
    done = f" ({size(progress['done_bytes'])} of {size(progress['total_bytes'])})" if progress else ""
    return f"{model.get('status', 'ready')}{done}"


def _size(model: BaseModelJson) -> str | None:
    number = model.get("size_bytes")
    return None if number is None else size(number)


def _count(number: int | None) -> str | None:
    return f"{number:,}" if number else None

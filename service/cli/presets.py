"""The commands `adamss presets`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.job_spec import set_value
from service.cli.output import Json, connect, examples, number, print_fields, print_table, when
from service.cli.terminal import put, put_json

if TYPE_CHECKING:
    from service.client.preset_types import PresetJson

app = typer.Typer(help="Save good values under a name; `preset: NAME` in a spec chooses them.", no_args_is_help=True)

SAVE = examples(
    "adamss presets save reviews --sweep SWEEP           the best trial's values",
    "adamss presets save reviews --job JOB --replace",
    "adamss presets save small --set training.learning_rate=0.008 --set adamss.r=50",
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a preset, such as reviews.")]


@app.command(name="list")
def list_presets(as_json: Json = False) -> None:
    """List the project's own presets, and those of each kind of job."""
    with connect() as client:
        found = client.presets()
    if as_json:
        put_json(found)
        return
    own_first = sorted(found, key=lambda preset: not preset["own"])
    rows = [
        [one["name"], one["task"], _fields(one), when(one["created_at"]) if one["own"] else "-"] for one in own_first
    ]
    print_table(["NAME", "TASK", "FIELDS", "SAVED"], rows, "No presets.")


@app.command()
def show(name: Name, as_json: Json = False) -> None:
    """Show a preset: its values, and where they come from."""
    with connect() as client:
        _show(client.get_preset(name), as_json)


@app.command(epilog=SAVE)
def save(
    name: Name,
    job: Annotated[str | None, typer.Option(metavar="JOB", help="Take the values that this job's spec sets.")] = None,
    sweep: Annotated[str | None, typer.Option(metavar="SWEEP", help="Take those of this sweep's best trial.")] = None,
    trial: Annotated[int | None, typer.Option(min=1, help="Take another trial of the sweep.")] = None,
    field: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="A value; may be given several times.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="Task of values that are --set. Default: as in a spec.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the project's preset of this name.")] = False,
    as_json: Json = False,
) -> None:
    """Save a preset from a job, from a sweep, or of given values."""
    fields = dict(map(_pair, field)) if field else None
    with connect() as client:
        saved = client.save_preset(name, job=job, sweep=sweep, trial=trial, fields=fields, task=task, replace=replace)
        _show(saved, as_json)


@app.command()
def delete(name: Name) -> None:
    """Delete one of the project's own presets; jobs that were submitted with it keep their values."""
    with connect() as client:
        client.delete_preset(name)
    put(f"Deleted the preset {name}.")


def _pair(text: str) -> tuple[str, Any]:
    """Split PATH=VALUE; the value is YAML, as in a spec."""
    path, has_value, value = text.partition("=")
    if not has_value:
        raise typer.BadParameter(f"'{text}' is not PATH=VALUE, such as adamss.r=50.", param_hint="--set")
    return path.strip(), set_value(value)


def _show(preset: PresetJson, as_json: bool) -> None:
    if as_json:
        put_json(preset)
        return
    own = {"name": preset["name"], "task": preset["task"], "from": preset["reason"]}
    print_fields({**own, **_values(preset)})


def _values(preset: PresetJson) -> dict[str, object]:
    blocks = {"adamss": preset["adamss"], "training": preset["training"]}
    return {f"{block}.{name}": number(value) for block, values in blocks.items() for name, value in values.items()}


def _fields(preset: PresetJson) -> str:
    return ", ".join(f"{path.partition('.')[2]}={value}" for path, value in _values(preset).items())

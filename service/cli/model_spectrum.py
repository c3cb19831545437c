"""Command `adamss inspect`: singular values of a base model, and where a data set's energy lies in it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.job_spec import id_of, uploaded
from service.cli.jobs import watch_to_end
from service.cli.output import CliError, Json, connect, examples, print_table
from service.cli.terminal import on_terminal, put, put_json

if TYPE_CHECKING:
    from service.client import Client
    from service.client.model_types import SpectrumJson

EXAMPLES = examples(
    "adamss inspect minilm",
    "adamss inspect minilm --dataset reviews.csv",
    "adamss inspect minilm --dataset ds_... --column text=review --column label=stars",
    "adamss inspect minilm --dataset ds_... --json > spectrum.json",
)
SPARKS = "▁▂▃▄▅▆▇█"
BASES = ("weights", "inputs", "gradient")


def inspect(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A base model, as jobs name it.")],
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Rows to measure inputs and gradients on: the id of a data set, or a file to upload.",
            metavar="ID|FILE",
        ),
    ] = None,
    task: Annotated[str | None, typer.Option(help="Task of the rows; by default the data set's suggestion.")] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="Column of a field, such as text=review; by default the data set's suggestion.", metavar="FIELD=NAME"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show a base model's spectrum before a run: singular values, and settings to begin with.

    With a data set also the share of the energy of inputs and gradients that the leading r directions of each basis
    catch; a worker measures it, once.
    """
    if dataset is None and (task or column):
        raise CliError("--task and --column are about a data set: name one with --dataset.")
    with connect() as client:
        found = _of_weights(client, model, as_json) if dataset is None else None
        if dataset is not None:
            columns = {"train": id_of(uploaded(client, dataset), dataset), **_columns(column or [])}
            found = _on_rows(client, model, columns, task, as_json)
    assert found is not None
    if as_json:
        put_json(found)
    else:
        _print(found["report"] or {})


def _of_weights(client: Client, model: str, as_json: bool) -> SpectrumJson:
    """Wait until the spectrum of the weights is measured."""
    found, said = client.spectrum(model), False
    while found["status"] != "ready":
        if not said and not as_json:
            put("Measuring singular values; a model of 1B takes minutes.", err=True)
        said = True
        time.sleep(1)
        found = client.spectrum(model)
    return found


def _on_rows(client: Client, model: str, columns: dict[str, Any], task: str | None, as_json: bool) -> SpectrumJson:
    """Follow the job that measures the spectrum, where nothing is kept yet."""
    found = client.measure_spectrum(model, columns, task=task)
    if (job := found["job"]) is not None:
        if as_json:
            client.wait(job)
        else:
            watch_to_end(client, job, as_json=False)
        found = client.measure_spectrum(model, columns, task=task)
    if found["status"] != "ready":
        raise CliError(f"The spectrum was not measured. adamss jobs show {job} says why.")
    return found


def _columns(given: list[str]) -> dict[str, str]:
    pairs = dict(one.partition("=")[::2] for one in given)
    if "" in pairs.values():
        raise CliError("--column takes FIELD=NAME, such as --column text=review.")
    return pairs


def _print(report: dict[str, Any]) -> None:
    suggestion, modules = report["suggestion"], report["modules"]
    on_rows = report["basis_rows"] is not None
    titles = ["MODULE", "SHAPE", "LARGEST", "STABLE RANK", "ENERGY OF W"]
    if on_rows:
        titles += ["GRADIENT", "INPUTS W/I/G", "GRADIENT W/I/G"]
    r = suggestion["r"]
    print_table(
        titles, [_row(module, r, on_rows) for module in modules], "No linear layer of this model can be adapted."
    )
    widths = "r of 1, 2, 4 and so on"
    notes = ["", f"ENERGY OF W: share of the weight's energy in its leading directions, for {widths}."]
    if on_rows:
        notes.append(
            f"GRADIENT: part of all modules' gradient energy. W/I/G: percent that the leading {_measured(modules, r)} "
            "directions of the bases weights, inputs and gradient catch of the energy of inputs and gradient, on "
            f"{report['measured_rows']} rows that the bases did not see."
        )
    targets = ", ".join(suggestion["targets"] or []) or "none known for this model type: name target_modules"
    notes += [
        "",
        f"Measured: basis {suggestion['basis']}, r {r}, num_subspaces {suggestion['num_subspaces']}, targets "
        f"{targets}. {suggestion['measured']}",
        *(f"A hint: {hint}" for hint in suggestion["hints"]),
    ]
    put(*notes, err=not on_terminal())  # a pipe gets rows only


def _measured(modules: list[dict[str, Any]], r: int) -> int:
    """Return the largest r up to the suggested one that was measured."""
    return max((rank for module in modules for rank in module["ranks"] if rank <= r), default=r)


def _row(module: dict[str, Any], r: int, on_rows: bool) -> list[object]:
    row: list[object] = [
        module["name"],
        f"{module['out_features']}x{module['in_features']}",
        f"{module['singular_values'][0]:.3g}",
        f"{module['stable_rank']:.1f}",
        _spark(module["energy"]),
    ]
    if not on_rows:
        return row
    share = module["gradient_share"]
    row.append("" if share is None else f"{share:.1%}")
    place = sum(rank <= r for rank in module["ranks"]) - 1
    for energy in ("inputs", "gradient"):
        caught = module[energy]
        row.append("" if caught is None else "/".join(f"{100 * caught[basis][place]:.0f}" for basis in BASES))
    return row


def _spark(shares: list[float]) -> str:
    return "".join(SPARKS[min(len(SPARKS) - 1, int(share * len(SPARKS)))] for share in shares)

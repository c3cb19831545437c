"""The commands `adamss sweep` and `adamss sweeps`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.job_spec import dataset_while, id_of, read_spec, trained_on, uploaded
from service.cli.output import (
    CliError,
    Exit,
    Json,
    connect,
    duration,
    examples,
    number,
    print_fields,
    print_table,
    when,
)
from service.cli.terminal import put, put_json

if TYPE_CHECKING:
    from service.client import Client
    from service.client.sweep_types import SweepJson, SweepSummaryJson, TrialJson

app = typer.Typer(help="Follow, pause and stop sweeps: the best of many runs of a spec.", no_args_is_help=True)

SWEEP = examples(
    "adamss sweep spec.yaml --dry-run                    show the trials, create nothing",
    "adamss sweep spec.yaml --dataset reviews.csv --watch",
    "adamss sweep sweep.yaml                             a file with `spec:`, `space:` and other fields of a sweep",
)
SweepId = Annotated[str, typer.Argument(metavar="SWEEP", help="The sweep's id, such as sweep_4k7…")]


def sweep(
    spec: Annotated[
        Path, typer.Argument(help="A job spec, or a sweep with `spec` and `space`; - reads it from standard input.")
    ],
    dataset: Annotated[
        list[str] | None,
        typer.Option(help="Training data, in the place of the spec's; may be given several times.", metavar="ID|FILE"),
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="A ready space of the task: quick (default) or thorough.", metavar="NAME")
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Choices to try; 12 by default.")] = None,
    parallel: Annotated[int | None, typer.Option(min=1, help="Trials at a time; 2 by default.")] = None,
    objective: Annotated[str | None, typer.Option(help="Evaluation metric that ranks.")] = None,
    seed: Annotated[
        list[int] | None, typer.Option(help="Run each choice with this seed; several: the mean ranks.")
    ] = None,
    keep: Annotated[int | None, typer.Option(min=1, help="Best trials that keep artifacts; 1 by default.")] = None,
    time_limit: Annotated[
        float | None, typer.Option(help="Seconds after which no trial goes on.", metavar="SECONDS")
    ] = None,
    device_hours: Annotated[float | None, typer.Option(help="Device hours after which no trial goes on.")] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow the sweep until it ends.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only choose and check the trials. A FILE is not kept.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Look for the best of many runs of a job spec; print the sweep's id."""
    fields = read_spec(spec)
    wanted = fields if "spec" in fields else {"spec": fields}
    given = {
        "space": space,
        "trials": trials,
        "parallel": parallel,
        "objective": objective,
        "seeds": seed or None,
        "keep": keep,
        "time_limit_seconds": time_limit,
        "device_hours": device_hours,
    }
    wanted = wanted | {name: value for name, value in given.items() if value is not None}
    with connect() as client:
        if dry_run:
            with ExitStack() as stack:
                ids = [stack.enter_context(dataset_while(client, one)) for one in dataset or []]
                _show_plan(client, _on(wanted, ids), as_json)
            return
        ids = [id_of(uploaded(client, one), one) for one in dataset or []]
        made = client.sweep(**_on(wanted, ids))
        if watch:
            made = client.wait_sweep(made["id"], on_update=None if as_json else _progress)
            _show(client, made, as_json)
            if not made["best"]:
                raise CliError(made["no_best"] or "No trial is the best.", Exit.JOB_FAILED)
        elif as_json:
            put_json(made)
        else:
            put(made["id"])


@app.command(name="list")
def list_sweeps(
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of sweeps.")] = 50, as_json: Json = False
) -> None:
    """List the sweeps, newest first."""
    with connect() as client:
        found = client.list_sweeps(limit)
    if as_json:
        put_json(found)
        return
    rows = [[one["id"], one["name"], one["status"], _counts(one), _best(one), when(one["created_at"])] for one in found]
    print_table(["ID", "NAME", "STATUS", "TRIALS", "BEST", "CREATED"], rows, "No sweeps. Begin with: adamss sweep SPEC")


@app.command()
def show(sweep: SweepId, as_json: Json = False) -> None:
    """Show a sweep: its trials, the best first, and how much each field mattered."""
    with connect() as client:
        _show(client, client.get_sweep(sweep), as_json)


@app.command()
def watch(sweep: SweepId, as_json: Json = False) -> None:
    """Follow a sweep until it ends; Ctrl-C stops following, not the sweep."""
    with connect() as client:
        _show(client, client.wait_sweep(sweep, on_update=None if as_json else _progress), as_json)


@app.command()
def cancel(sweep: SweepId, as_json: Json = False) -> None:
    """Cancel a sweep with all trials that have not ended."""
    with connect() as client:
        _moved(client.cancel_sweep(sweep), as_json)


@app.command()
def pause(sweep: SweepId, as_json: Json = False) -> None:
    """Pause a sweep: running trials write a checkpoint, and no other starts."""
    with connect() as client:
        _moved(client.pause_sweep(sweep), as_json)


@app.command()
def resume(sweep: SweepId, as_json: Json = False) -> None:
    """Resume a paused sweep."""
    with connect() as client:
        _moved(client.resume_sweep(sweep), as_json)


@app.command()
def delete(sweep: SweepId) -> None:
    """Delete an ended sweep; its jobs stay, as jobs of their own."""
    with connect() as client:
        client.delete_sweep(sweep)
    put(f"Deleted {sweep}; its jobs are in the list of jobs now.")


def _on(wanted: dict[str, Any], ids: list[str]) -> dict[str, Any]:
    return wanted | {"spec": trained_on(wanted["spec"], ids)}


def _show_plan(client: Client, wanted: dict[str, Any], as_json: bool) -> None:
    plan = client.dry_run_sweep(**wanted)
    if as_json:
        put_json(plan)
        return
    print_fields(
        {
            "trials": f"{plan['trials']}, {plan['refused']} refused",
            "jobs": plan["jobs"],
            "objective": f"{plan['objective']} ({plan['direction']})",
            "at most": duration(plan["seconds"]),
        }
    )
    _print_trials(plan["planned"])
    put(*(f"warning: {warning}" for warning in plan["warnings"]), err=True)


def _show(client: Client, found: SweepJson, as_json: bool) -> None:
    if as_json:
        put_json(found)
        return
    own = {"id": found["id"], "name": found["name"], "status": found["status"]}
    print_fields(
        {
            **own,
            "objective": f"{found['objective']} ({found['direction']})",
            "trials": _counts(found),
            "best": _best(found),
            "device time": duration(found["device_seconds"]),
        }
    )
    _print_trials(_ranked(found))
    if found["no_best"]:
        put(found["no_best"], err=True)
    mattered = client.sweep_importance(found["id"])["importance"]
    if mattered:
        put("Importance: " + ", ".join(f"{path} {share:.0%}" for path, share in mattered.items()))


def _ranked(found: SweepJson) -> list[TrialJson]:
    """Sort complete trials first, and each kind by the objective."""
    sign = -1.0 if found["direction"] == "max" else 1.0

    def place(trial: TrialJson) -> tuple[bool, bool, float]:
        return trial["state"] != "complete", trial["value"] is None, sign * (trial["value"] or 0.0)

    return sorted(found["trials"], key=place)


def _print_trials(trials: list[TrialJson]) -> None:
    paths = list({path: None for trial in trials for path in trial["params"]})
    rows = [
        [
            *(trial["number"], _state(trial), _value(trial)),
            *(number(trial["params"].get(path, "-")) for path in paths),
            trial["refusal"]["message"] if trial["refusal"] else ", ".join(trial["jobs"]),
        ]
        for trial in trials
    ]
    print_table(["TRIAL", "STATE", "VALUE", *paths, "JOBS"], rows, "No trials.")


def _state(trial: TrialJson) -> str:
    judged = trial["stopped_after"]
    return trial["state"] + (f" at step {trial['step']}, by evaluation {judged}" if judged else "")


def _value(trial: TrialJson) -> str:
    if trial["value"] is None:
        return "-"
    error = "" if trial["error"] is None else f" ± {trial['error']:.2g}"
    return f"{trial['value']:.5g}{error}"


def _best(found: SweepSummaryJson) -> str:
    best = found["best"]
    if best is None:
        return "-"
    chosen = ", ".join(f"{path}={number(value)}" for path, value in best["params"].items())
    return f"{_value(best)} (trial {best['number']}: {chosen})"


def _counts(found: SweepSummaryJson) -> str:
    return ", ".join(f"{count} {state}" for state, count in found["counts"].items())


def _progress(found: SweepJson) -> None:
    put(f"{found['status']}: {_counts(found)}; best {_best(found)}", err=True)


def _moved(found: SweepJson, as_json: bool) -> None:
    if as_json:
        put_json(found)
    else:
        put(f"{found['id']} is {found['status']}: {_counts(found)}.")

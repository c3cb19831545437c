"""Commands of `adamss workers`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.output import Json, connect, examples, print_table, size, when
from service.cli.terminal import put, put_json

if TYPE_CHECKING:
    from service.client.fleet_types import DeviceJson, WorkerJson, WorkersJson

app = typer.Typer(help="Look at the workers, and let a host rest.", invoke_without_command=True)
Host = Annotated[str, typer.Argument(help="A host, as `adamss workers` names it.")]


@app.callback(epilog=examples("adamss workers", "adamss workers drain HOST --move", "adamss workers undrain HOST"))
def workers(context: typer.Context, as_json: Json = False) -> None:
    """List the workers that live: host, devices with kind, memory and the job on each, and what is free."""
    if context.invoked_subcommand is None:
        with connect() as client:
            _show(client.workers(), as_json)


@app.command()
def drain(
    host: Host,
    move: Annotated[
        bool, typer.Option("--move", help="Have running jobs write a checkpoint and go on elsewhere.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Let a host's workers start nothing new, also after a restart; running jobs end, or move. Needs an admin's key."""
    with connect() as client:
        _show(client.drain(host, move=move), as_json)


@app.command()
def undrain(host: Host, as_json: Json = False) -> None:
    """Let a drained host's workers work again. Needs an admin's key."""
    with connect() as client:
        _show(client.undrain(host), as_json)


def _show(found: WorkersJson, as_json: bool) -> None:
    if as_json:
        put_json(found)
        return
    titles = ["HOST", "WORKER", "DEVICES", "MEMORY", "RUNS", "FREE", "SEEN", "SPEC"]
    rows = [_row(worker) for worker in found["data"]]
    print_table(titles, rows, "No worker lives: adamss worker starts one, and adamss up everything.")
    live = {worker["host"] for worker in found["data"]}
    for drain in found["drained"]:
        rests = "its jobs leave" if drain["move"] else "its jobs run to their end"
        there = "" if drain["host"] in live else "; no worker lives there"
        put(f"{drain['host']} is drained since {when(drain['since'])}: {rests}{there}.", err=True)
    if found["queued"]:
        put(f"{found['queued']:,} jobs wait.", err=True)


def _row(worker: WorkerJson) -> list[object]:
    running = [job["id"] or "a job of another project" for job in worker["jobs"]]
    memory = worker["memory_bytes"]
    free: object = "drained" if worker["drained"] else "" if worker["free"] is None else worker["free"]
    facts: list[object] = [worker["host"], worker["id"], ", ".join(map(_device, worker["devices"]))]
    facts += ["" if memory is None else size(memory), ", ".join(running)]
    return [*facts, free, when(worker["seen_at"]), worker["spec_version"]]


def _device(device: DeviceJson) -> str:
    """Describe a device: its name, its kind where the name does not say it, its memory, and the jobs that have it."""
    facts = [] if device["kind"] in (None, device["name"].partition(":")[0]) else [str(device["kind"])]
    if device["memory_bytes"] is not None and device["kind"] != "cpu":
        facts.append(size(device["memory_bytes"]))
    sharing, most, left = device.get("jobs", []), device.get("most_jobs", 1), device.get("left_bytes")
    if most > 1 and device["job"] is None:
        facts.append(f"{len(sharing)} of {most} jobs")
    holders = [*([] if device["job"] is None else [device["job"]]), *sharing]
    facts += [holder["id"] or "taken" for holder in holders] or ["taken"] * (not device["free"])
    if left is not None:
        facts.append(f"{size(max(0, left))} left")
    return f"{device['name']} ({', '.join(facts)})" if facts else device["name"]

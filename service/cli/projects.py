"""Commands of `adamss projects`: usage and quotas, directly in the database."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import Annotated

import typer

from service.cli.keys import database
from service.cli.output import CliError, Json, examples, print_table
from service.cli.terminal import put, put_json

DEFAULT = "default"
LARGEST, SMALLEST_WEIGHT = 1e9, 0.001

app = typer.Typer(
    help="List projects and set their quotas. Run on the machine of the service's database (ADAMSS_HOME, "
    "ADAMSS_DATABASE_URL).",
    no_args_is_help=True,
)
Number = Annotated[str | None, typer.Option(metavar="N", help="A number, or `default` for the settings'.")]


@app.command(name="list")
def list_projects(as_json: Json = False) -> None:
    """List projects with their usage and quotas."""
    from service.projects.service import list_projects as read_projects
    from service.shared.settings import Settings

    with database() as db, db.read() as session:
        projects = read_projects(session, Settings())
    if as_json:
        put_json([asdict(project) for project in projects])
        return
    rows = [
        [
            project.name,
            _of(project.queued_jobs, project.quotas.queued_jobs),
            f"{project.weight:g}",
            _of(project.running_jobs, project.quotas.running_jobs),
            _of(project.running_devices, project.quotas.running_devices),
            _of(project.device_hours, project.quotas.device_hours),
            _of(project.storage_bytes, project.quotas.storage_bytes),
            _of(None, project.quotas.upload_bytes),
        ]
        for project in projects
    ]
    titles = ["PROJECT", "QUEUED", "WEIGHT", "RUNNING", "DEVICES", "DEVICE HOURS", "STORAGE BYTES", "UPLOAD BYTES"]
    print_table(titles, rows, "No projects yet.")


@app.command(epilog=examples("adamss projects quota vision --running-jobs 2 --storage-bytes 50000000000"))
def quota(
    project: Annotated[str, typer.Argument(help="The project's name.")],
    queued_jobs: Number = None,
    running_jobs: Number = None,
    running_devices: Number = None,
    device_hours: Annotated[
        str | None, typer.Option(metavar="HOURS", help="Hours of one device in a month, or `default` for no limit.")
    ] = None,
    weight: Annotated[
        str | None,
        typer.Option(metavar="W", help="Its share of the devices beside other projects' weights; `default` is 1."),
    ] = None,
    storage_bytes: Number = None,
    upload_bytes: Number = None,
) -> None:
    """Set a project's quotas and weight, with immediate effect."""
    from service.audit.service import record_command
    from service.projects.service import find_project, set_quotas

    given = {
        "queued_jobs": queued_jobs,
        "running_jobs": running_jobs,
        "running_devices": running_devices,
        "device_hours": device_hours,
        "weight": weight,
        "storage_bytes": storage_bytes,
        "upload_bytes": upload_bytes,
    }
    changes = {name: _number(name, text) for name, text in given.items() if text is not None}
    if not changes:
        raise CliError("Name a quota, such as --running-jobs 2.")
    with database() as db, db.write() as session:
        set_quotas(session, project, changes)
        shown = " ".join(f"{name}={'default' if value is None else value}" for name, value in changes.items())
        record_command(session, f"projects quota {shown}", project, find_project(session, project).id)
    put(f"{project}: {shown}")


def _number(name: str, text: str) -> float | None:
    if text == DEFAULT:
        return None
    if name in ("device_hours", "weight"):
        return _fraction(name, text)
    if not text.isascii() or not text.isdigit() or int(text) >= 2**31 + (2**62 if "bytes" in name else 0):
        raise CliError(f"--{name.replace('_', '-')} must be a whole number, or `default`, but is '{text}'.")
    return int(text)


def _fraction(name: str, text: str) -> float:
    """Read hours, which may be 0, or a weight, which may not."""
    with suppress(ValueError):
        value = float(text)
        if 0 <= value <= LARGEST and (value >= SMALLEST_WEIGHT or name != "weight"):
            return value
    least = f"{SMALLEST_WEIGHT:g}" if name == "weight" else "0"
    bounds = f"from {least} to {LARGEST:,.0f}"
    raise CliError(f"--{name.replace('_', '-')} must be a number {bounds}, or `default`, but is '{text}'.")


def _of(used: float | None, limit: float | None) -> str:
    maximum = "no limit" if limit is None else _grouped(limit)
    return maximum if used is None else f"{_grouped(used)} of {maximum}"


def _grouped(value: float) -> str:
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"

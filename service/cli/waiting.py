"""Commands `adamss queue` and `adamss usage`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.csv_output import GuardedWriter
from service.cli.output import Json, connect, examples, print_table, when
from service.cli.terminal import data_output, put, put_json

if TYPE_CHECKING:
    from service.client.fleet_types import QueuePlaceJson, ShareJson

QUEUE = examples("adamss queue", "adamss jobs edit JOB --priority -10    let others pass")
USAGE = examples("adamss usage", "adamss usage --month 2026-10 --csv > october.csv")


def queue(as_json: Json = False) -> None:
    """List the jobs that wait, in the order of their expected starts: place, why each waits, and when it may start."""
    with connect() as client:
        found = client.queue()
    if as_json:
        put_json(found)
        return
    titles = ["PLACE", "ID", "NAME", "OWNER", "PRIORITY", "STARTS", "WAITS BECAUSE"]
    rows = [
        [job["place"] or "", job["id"], job["name"], job["owner"] or "", job["priority"], start(job), job["reason"]]
        for job in found["data"]
    ]
    print_table(titles, rows, "No job waits.")
    others = found["waiting"] - len(rows)
    if others > 0:
        put(f"{others:,} jobs of other projects wait too.", err=True)


def start(place: QueuePlaceJson) -> str:
    """Format when a job is expected to start; empty where that is not known."""
    if place["expected_start"] is None:
        return ""
    return f"{when(place['expected_start'])} ({when(place['earliest_start'])} to {when(place['latest_start'])})"


def usage(
    month: Annotated[str | None, typer.Option(metavar="MONTH", help="Such as 2026-11; this month by default.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: Json = False,
) -> None:
    """Show the device hours of a month by project and owner, and what the project may use."""
    with connect() as client:
        found = client.usage(month)
    if as_json:
        put_json(found)
        return
    titles = ["month", "project", "owner", "device_hours", "attempts", *(["cost"] if found["currency"] else [])]
    rows = [{"month": found["month"], **row, "owner": row["owner"] or ""} for row in found["data"]]
    if as_csv:
        with data_output() as out:
            writer = GuardedWriter(out, titles)
            for row in rows:
                writer.write_fields(row)
        return
    shown = [title.replace("_", " ").upper() for title in titles[1:]]
    if found["currency"]:
        shown[-1] = found["currency"]
    print_table(shown, [[row.get(title, "") for title in titles[1:]] for row in rows], f"No use in {found['month']}.")
    put(_share(found["project"]), err=True)


def _share(project: ShareJson) -> str:
    """Describe what a project runs and has used, beside its limits."""
    used = [
        _of("running jobs", project["running_jobs"], project["max_running_jobs"]),
        _of("devices", project["running_devices"], project["max_running_devices"]),
        _of("device hours of this month", project["device_hours"], project["max_device_hours"]),
    ]
    return f"{project['name']} has weight {project['weight']:g}: {', '.join(used)}."


def _of(what: str, used: float, limit: float | None) -> str:
    return f"{used:,.4g} {what}" if limit is None else f"{used:,.4g} of {limit:,.4g} {what}"

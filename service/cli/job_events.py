"""Command `adamss jobs events`: what a job has reported so far, or while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.output import Exit, JobId, Json, connect, examples, print_table, when
from service.cli.terminal import on_terminal, put, put_cells, put_json

if TYPE_CHECKING:
    from service.client.types import EventJson

EVENTS = examples(
    "adamss jobs events JOB",
    "adamss jobs events JOB --follow",
    "adamss jobs events JOB --type samples --json > samples.json",
)
TITLES = ["TIME", "TYPE", "MESSAGE"]


def events(
    job: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Follow until the job ends.")] = False,
    types: Annotated[
        list[str] | None, typer.Option("--type", help="Only events of this type; may be given several times.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List a job's events, oldest first; with --follow and --json, each is a line of JSON."""
    with connect() as client:
        found = (event for event in client.iter_events(job, follow) if not types or event["type"] in types)
        if not follow:
            listed = list(found)
            if as_json:
                put_json(listed)
            else:
                print_table(TITLES, [_cells(event) for event in listed], "No events.")
            return
        try:
            for event in found:
                _put_line(event, as_json)
        except KeyboardInterrupt:
            raise typer.Exit(Exit.INTERRUPTED) from None


def _put_line(event: EventJson, as_json: bool) -> None:
    """Print an event as it comes, so without the widths of a table."""
    if as_json:
        put_json(event, indent=None)
    elif on_terminal():
        put("  ".join(_cells(event)))
    else:
        put_cells(_cells(event))


def _cells(event: EventJson) -> list[str]:
    return [when(event["time"], seconds=True), event["type"], event["message"]]

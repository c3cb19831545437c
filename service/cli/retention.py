"""Command `adamss retention`."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import Annotated, Any

import typer

from service.cli.output import Json, print_table, size, when
from service.cli.terminal import put, put_json

All = Annotated[bool, typer.Option("--all", help="List also what is kept longer.")]


def retention(show_all: All = False, as_json: Json = False) -> None:
    """List what is kept no longer by ADAMSS_RETAIN_... and the jobs' own `retention`; remove nothing.

    A worker moves it to the home folder's trash within the hour, but what queued or running jobs need. Run on the
    service's machine, with the service's settings.
    """
    from service.shared.database.engine import Database
    from service.shared.database.tables import now
    from service.shared.expiries import expiries
    from service.shared.settings import Settings

    settings, moment = Settings(), now()
    with closing(Database(settings.resolved_database_url)) as db, db.read() as session:
        found = sorted(expiries(settings, session), key=lambda one: one.until)
    listed = [one for one in found if show_all or one.until <= moment]
    if as_json:
        put_json([asdict(one) | {"until": one.until.isoformat(), "over": one.until <= moment} for one in listed])
        return
    rows: list[list[Any]] = [
        [one.kind, one.id, one.name, when(one.until.isoformat()), size(one.size_bytes)] for one in listed
    ]
    print_table(["WHAT", "ID", "NAME", "KEPT UNTIL", "SIZE"], rows, "Nothing is to be removed.")
    if rows:
        put(f"{size(sum(one.size_bytes for one in listed if one.until <= moment))} are to be removed.", err=True)

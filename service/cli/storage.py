"""Command group `adamss storage`: files in a store that hosts share."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from service.cli.output import CliError, size
from service.cli.terminal import put

app = typer.Typer(no_args_is_help=True, help="Move files between this host's home folder and the store of all hosts.")

Back = Annotated[bool, typer.Option("--back", help="Fetch everything into the home folder, and empty the store.")]


@app.callback()
def group() -> None:
    """Move files between this host's home folder and the store of all hosts."""


@app.command()
def move(back: Back = False) -> None:
    """Put files into the store (ADAMSS_STORAGE_URL) that the database names and the store lacks.

    Running jobs are left out, so run it again after their end. May be interrupted and repeated. Run on the service's
    machine, with the service's settings.
    """
    from service.operations.move_files import move_back, move_to_store
    from service.shared.errors import ServiceError, StartRefused
    from service.shared.settings import Settings
    from service.shared.storage.pairing import open_database

    settings = Settings()
    try:
        with closing(open_database(settings)) as db:
            moved = (move_back if back else move_to_store)(settings, db)
    except (StartRefused, ServiceError) as error:
        raise CliError(str(error)) from error
    place = settings.resolved_home if back else settings.storage_url
    put(f"{moved.files} files, {size(moved.size_bytes)}, moved to {place}.")

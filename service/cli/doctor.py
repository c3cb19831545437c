"""Command `adamss doctor`."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer

from service.cli.output import Exit, Json
from service.cli.terminal import put, put_json

_MARKS = {"ok": "ok", "warning": "!!", "problem": "XX"}


EmptyTrash = Annotated[bool, typer.Option("--empty-trash", help="Remove first what lies in the home folder's trash.")]


def doctor(as_json: Json = False, empty_trash: EmptyTrash = False) -> None:
    """Check versions, disk, database, workers, broker and devices; report problems with remedies.

    Exits with 1 if a check reports a problem. Run on the service's machine, with the service's settings.
    """
    from service.operations.doctor import examine
    from service.shared.settings import Settings
    from service.shared.storage.trash import Trash

    settings = Settings()
    if empty_trash and settings.resolved_home.is_dir():
        freed = Trash(settings.files).empty(kept=timedelta())
        put(f"{freed / 1e6:,.1f} MB removed from the trash.", err=True)
    findings = examine(settings)
    if as_json:
        put_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            put(f"{_MARKS[finding.state]}  {finding.check:<11} {finding.message}")
            if finding.remedy:
                put(f"{'':16}{finding.remedy}")
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(Exit.JOB_FAILED)


def adopt() -> None:
    """Declare that the home folder and the database belong together, after one of them was replaced for good.

    The service refuses to start where their ids differ. Files that the database does not know are then moved to the
    home folder's trash, and removed after a day. Run with the service's settings (ADAMSS_HOME, ADAMSS_DATABASE_URL).
    """
    from service.shared.database.engine import Database
    from service.shared.database.migrate import upgrade
    from service.shared.settings import Settings
    from service.shared.storage import pairing

    settings = Settings()
    upgrade(settings)
    with closing(Database(settings.resolved_database_url)) as db:
        chosen = pairing.adopt(settings, db)
    put(f"{settings.resolved_home} and the database both have the id {chosen} now.")

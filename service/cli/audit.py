"""Command `adamss audit`: the audit log, read directly from the database."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli.keys import database
from service.cli.output import Json, print_table
from service.cli.terminal import put_json


def audit(
    project: Annotated[str | None, typer.Option(help="Only entries of this project.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Maximum number of entries, newest first.")] = 50,
    as_json: Json = False,
) -> None:
    """Show changes, deletions and downloads by key, newest first. Run on the machine of the service's database."""
    from service.audit import repository
    from service.audit.schemas import AuditOut
    from service.projects.service import find_project

    with database() as db, db.read() as session:
        project_id = None if project is None else find_project(session, project).id
        entries = [AuditOut.model_validate(row) for row in repository.page(session, project_id, None, limit)]
    if as_json:
        put_json([entry.model_dump(mode="json") for entry in entries])
        return
    rows = [
        [
            f"{entry.time:%Y-%m-%d %H:%M:%S}",
            entry.key_name,
            entry.key_id or "",
            entry.action,
            entry.path,
            "" if entry.status is None else str(entry.status),
            entry.address or "",
        ]
        for entry in entries
    ]
    print_table(["TIME", "KEY NAME", "KEY ID", "ACTION", "PATH", "STATUS", "ADDRESS"], rows, "No audit entries yet.")

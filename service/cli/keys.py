"""`adamss keys`: made and revoked in the database itself, by whoever operates the service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.output import Json, examples, print_json, print_table

if TYPE_CHECKING:
    from service.db import Database

app = typer.Typer(
    help="Create, list and revoke keys. Run it where the service's database is (ADAMSS_HOME, ADAMSS_DATABASE_URL).",
    no_args_is_help=True,
)


@app.command(epilog=examples("adamss keys create laptop", "adamss keys create ci --project vision"))
def create(
    name: Annotated[str, typer.Argument(help="What it is listed as, such as the person or machine that uses it.")],
    project: Annotated[
        str, typer.Option(help="Its jobs, data sets and artifacts are this project's; made if it is new.")
    ] = "default",
    as_json: Json = False,
) -> None:
    """Create a key. It is shown this once: only its hash is kept."""
    from service.keys.service import create_key

    with database() as db, db.write() as session:
        key = create_key(session, name, project)
    if as_json:
        print_json(asdict(key))
        return
    print(key.key)
    typer.echo(f"This key ({key.id}, project {key.project}) is shown once. Use it as ADAMSS_API_KEY.", err=True)


@app.command(name="list")
def list_keys(as_json: Json = False) -> None:
    """List the keys, revoked ones too; the keys themselves are not kept."""
    from service.keys.service import list_keys as read_keys

    with database() as db, db.read() as session:
        found = read_keys(session)
    if as_json:
        times = [
            {"created_at": key.created_at.isoformat(), "revoked_at": key.revoked_at and key.revoked_at.isoformat()}
            for key in found
        ]
        print_json([asdict(key) | time for key, time in zip(found, times, strict=True)])
        return
    rows = [
        [
            key.id,
            key.name,
            key.project,
            f"{key.created_at:%Y-%m-%d}",
            f"{key.revoked_at:%Y-%m-%d}" if key.revoked_at else "",
        ]
        for key in found
    ]
    print_table(["ID", "NAME", "PROJECT", "CREATED", "REVOKED"], rows, "No keys. Make one: adamss keys create NAME")


@app.command()
def revoke(key: Annotated[str, typer.Argument(metavar="KEY_ID", help="The key's id, such as key_4k7…")]) -> None:
    """Revoke a key: from now on it opens nothing."""
    from service.keys.service import revoke_key

    with database() as db, db.write() as session:
        revoke_key(session, key)
    print(f"{key} is revoked.")


@contextmanager
def database() -> Iterator[Database]:
    """The service's database, with its tables."""
    from service.db import Database
    from service.migrate import upgrade
    from service.settings import Settings

    settings = Settings()
    upgrade(settings)
    db = Database(settings.resolved_database_url)
    try:
        yield db
    finally:
        db.close()

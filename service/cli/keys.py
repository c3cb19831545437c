"""`adamss keys`: made and revoked in the database itself, by whoever operates the service."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.output import CliError, Json, examples, print_json, print_table

if TYPE_CHECKING:
    from service.shared.database.engine import Database

app = typer.Typer(
    help="Create, list and revoke keys. Run it where the service's database is (ADAMSS_HOME, ADAMSS_DATABASE_URL).",
    no_args_is_help=True,
)


class RoleName(StrEnum):
    """As `service.shared.database.tables.Role`, which would cost the command line half a second at each start."""

    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"


_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@app.command(
    epilog=examples("adamss keys create laptop", "adamss keys create ci --project vision --role read --expires 30d")
)
def create(
    name: Annotated[str, typer.Argument(help="What it is listed as, such as the person or machine that uses it.")],
    project: Annotated[
        str, typer.Option(help="Its jobs, data sets and artifacts are this project's; made if it is new.")
    ] = "default",
    role: Annotated[
        RoleName,
        typer.Option(help="read: look and download. submit: also upload, submit, cancel, delete. admin: also audit."),
    ] = RoleName.SUBMIT,
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="After how long it ends, such as 12h, 30d or 8w. Default: never.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Create a key. It is shown this once: only its hash is kept."""
    from service.audit.service import record_command
    from service.keys.service import create_key
    from service.projects.service import find_project
    from service.shared.database.tables import Role

    lifetime = None if expires is None else parse_lifetime(expires)
    with database() as db, db.write() as session:
        key = create_key(session, name, project, Role(role.value), lifetime)
        record_command(session, f"keys create {name}", key.id, find_project(session, project).id)
    if as_json:
        print_json(asdict(key) | {"expires_at": key.expires_at and key.expires_at.isoformat()})
        return
    print(key.key)
    until = "" if key.expires_at is None else f", until {key.expires_at:%Y-%m-%d %H:%M} UTC"
    typer.echo(
        f"This key ({key.id}, project {key.project}, {key.role.value}{until}) is shown once. Use it as ADAMSS_API_KEY.",
        err=True,
    )


@app.command(name="list")
def list_keys(as_json: Json = False) -> None:
    """List the keys, revoked ones too; the keys themselves are not kept."""
    from pydantic import TypeAdapter

    from service.keys.service import KeyInfo
    from service.keys.service import list_keys as read_keys

    with database() as db, db.read() as session:
        found = read_keys(session)
    if as_json:
        print_json([TypeAdapter(KeyInfo).dump_python(key, mode="json") for key in found])
        return
    rows = [
        [
            key.id,
            key.name,
            key.project,
            key.role.value,
            f"{key.created_at:%Y-%m-%d}",
            f"{key.expires_at:%Y-%m-%d %H:%M}" if key.expires_at else "",
            f"{key.revoked_at:%Y-%m-%d}" if key.revoked_at else "",
        ]
        for key in found
    ]
    print_table(
        ["ID", "NAME", "PROJECT", "ROLE", "CREATED", "EXPIRES", "REVOKED"],
        rows,
        "No keys. Make one: adamss keys create NAME",
    )


@app.command()
def revoke(key: Annotated[str, typer.Argument(metavar="KEY_ID", help="The key's id, such as key_4k7…")]) -> None:
    """Revoke a key: from now on it opens nothing."""
    from service.audit.service import record_command
    from service.keys.service import revoke_key

    with database() as db, db.write() as session:
        project_id = revoke_key(session, key)
        record_command(session, "keys revoke", key, project_id)
    print(f"{key} is revoked.")


def parse_lifetime(text: str) -> timedelta:
    """Such as 12h, 30d or 8w."""
    found = re.fullmatch(r"([1-9][0-9]{0,4})([mhdw])", text)
    if found is None:
        raise CliError(f"--expires must be a number and m, h, d or w, such as 30d, but is '{text}'.")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


@contextmanager
def database() -> Iterator[Database]:
    """The service's database, with its tables."""
    from service.shared.database.engine import Database
    from service.shared.database.migrate import upgrade
    from service.shared.settings import Settings

    settings = Settings()
    upgrade(settings)
    db = Database(settings.resolved_database_url)
    try:
        yield db
    finally:
        db.close()

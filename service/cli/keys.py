"""Commands of `adamss keys`: the operator creates and revokes keys directly in the database."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.output import CliError, Json, examples, print_table
from service.cli.terminal import put, put_json

if TYPE_CHECKING:
    from service.shared.database.engine import Database

app = typer.Typer(
    help="Create, list and revoke keys. Run on the machine of the service's database (ADAMSS_HOME, "
    "ADAMSS_DATABASE_URL).",
    no_args_is_help=True,
)


class RoleName(StrEnum):
    """Copy of `service.shared.database.tables.Role`, whose import would delay each start by half a second."""

    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"


_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@app.command(
    epilog=examples("adamss keys create laptop", "adamss keys create ci --project vision --role read --expires 30d")
)
def create(
    name: Annotated[str, typer.Argument(help="Name in lists, such as the key's user or machine.")],
    project: Annotated[
        str, typer.Option(help="Project of the key's jobs, data sets and artifacts; created if it is new.")
    ] = "default",
    role: Annotated[
        RoleName,
        typer.Option(help="read: look and download. submit: also upload, submit, cancel, delete. admin: also audit."),
    ] = RoleName.SUBMIT,
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="Lifetime, such as 12h, 30d or 8w. Default: unlimited.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Create a key. The key is printed once: the service stores only its hash."""
    from service.audit.service import record_command
    from service.keys.service import create_key
    from service.projects.service import find_project
    from service.shared.database.tables import Role

    lifetime = None if expires is None else parse_lifetime(expires)
    with database() as db, db.write() as session:
        key = create_key(session, name, project, Role(role.value), lifetime)
        record_command(session, f"keys create {name}", key.id, find_project(session, project).id)
    if as_json:
        put_json(asdict(key) | {"expires_at": key.expires_at and key.expires_at.isoformat()})
        return
    put(key.key)
    until = "" if key.expires_at is None else f", until {key.expires_at:%Y-%m-%d %H:%M} UTC"
    put(
        f"Key {key.id} (project {key.project}, {key.role.value}{until}) is printed once. Use it as ADAMSS_API_KEY.",
        err=True,
    )


@app.command(name="list")
def list_keys(as_json: Json = False) -> None:
    """List the keys' records, revoked ones included; the keys themselves are not stored."""
    from pydantic import TypeAdapter

    from service.keys.service import KeyInfo
    from service.keys.service import list_keys as read_keys

    with database() as db, db.read() as session:
        keys = read_keys(session)
    if as_json:
        put_json([TypeAdapter(KeyInfo).dump_python(key, mode="json") for key in keys])
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
        for key in keys
    ]
    print_table(
        ["ID", "NAME", "PROJECT", "ROLE", "CREATED", "EXPIRES", "REVOKED"],
        rows,
        "No keys. Create one: adamss keys create NAME",
    )


@app.command()
def revoke(key: Annotated[str, typer.Argument(metavar="KEY_ID", help="The key's id, such as key_4k7…")]) -> None:
    """Revoke a key, with immediate effect."""
    from service.audit.service import record_command
    from service.keys.service import revoke_key

    with database() as db, db.write() as session:
        project_id = revoke_key(session, key)
        record_command(session, "keys revoke", key, project_id)
    put(f"Revoked {key}.")


def parse_lifetime(text: str) -> timedelta:
    """Parse a lifetime such as 12h, 30d or 8w."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})([mhdw])", text)
    if match is None:
        raise CliError(f"--expires must be a number and m, h, d or w, such as 30d, but is '{text}'.")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


@contextmanager
def database() -> Iterator[Database]:
    """Open the service's database, migrated to the newest schema."""
    from service.shared.errors import StartRefused
    from service.shared.settings import Settings
    from service.shared.storage.pairing import open_database
    from service.shared.storage.permissions import keep_private

    settings = Settings()
    keep_private(settings.resolved_home)
    try:
        db = open_database(settings)
    except StartRefused as error:
        raise CliError(str(error)) from error
    with closing(db):
        yield db

"""Compare the database's schema with the newest that this release knows.

A revision is called `NNNN`, or `M.NNNN` from major M = 2 on. Migrations of one major only add what older releases do
not miss, so a process starts on any newer schema of its major. A migration that takes something away begins the next
major, and no older process starts on it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from service.shared.database.engine import Database
from service.shared.errors import StartRefused

_REVISION = re.compile(r'^(revision|down_revision) = "([^"]+)"$', re.MULTILINE)


class SchemaState(StrEnum):
    """The database's schema, seen from this release."""

    CURRENT = "current"
    OLDER = "older"  # migrations are missing
    NEWER = "newer"  # a later release has added something; this one works on it
    UNKNOWN = "unknown"  # a later release has taken something away


def migrations_folder() -> Path:
    """Find the folder of the installed package `migrations`, without importing it."""
    package = find_spec("migrations")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("the package `migrations` is missing beside `service`")
    return Path(next(iter(package.submodule_search_locations)))


@cache
def known_revisions() -> tuple[str, ...]:
    """Return the revisions that this release knows, the newest first.

    Read from the texts of the migrations: Alembic would import itself and each of them, half a second of the start of
    every process.
    """
    after: dict[str | None, str] = {}
    for path in (migrations_folder() / "versions").glob("*.py"):
        own = dict(_REVISION.findall(path.read_text()))
        after[own.get("down_revision")] = own["revision"]
    found: list[str] = []
    while (revision := after.get(found[0] if found else None)) is not None:
        found.insert(0, revision)
    return tuple(found)


@dataclass(frozen=True)
class MissingRevision:
    """A migration that a database lacks.

    Attributes:
        removes: whether it begins a major: older releases miss what it takes away.
    """

    revision: str
    summary: str
    removes: bool


def missing_revisions(found: str | None) -> tuple[MissingRevision, ...]:
    """Return the migrations that a database with this revision lacks, the oldest first."""
    if state_of(found) is not SchemaState.OLDER:
        return ()
    from alembic.script import ScriptDirectory

    missing: list[MissingRevision] = []
    for script in ScriptDirectory(str(migrations_folder())).walk_revisions():
        if script.revision == found:
            break
        removes = found is not None and major_of(script.revision) > major_of(found)
        missing.append(MissingRevision(script.revision, (script.doc or "").strip().partition("\n")[0], removes))
    return tuple(reversed(missing))


def major_of(revision: str) -> int:
    """Return the major of a revision: 1 without a dot."""
    major, dot, _ = revision.partition(".")
    return int(major) if dot else 1


def current_revision(connection: Connection) -> str | None:
    """Return the revision of a database; None before its first migration."""
    if not inspect(connection).has_table("alembic_version"):  # Alembic's own look writes two lines to the log
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return revision


def state_of(revision: str | None) -> SchemaState:
    """Judge a database's revision."""
    newest, *older = known_revisions()
    if revision == newest:
        return SchemaState.CURRENT
    if revision is None or revision in older:
        return SchemaState.OLDER
    return SchemaState.NEWER if major_of(revision) <= major_of(newest) else SchemaState.UNKNOWN


def schema_state(db: Database) -> SchemaState:
    """Look at the database's schema.

    Raises:
        SQLAlchemyError: the database does not answer.
    """
    with db.read() as session:
        return state_of(current_revision(session.connection()))


def refuse_unknown(revision: str | None) -> None:
    """Raise StartRefused if a later release has taken something away that this one needs."""
    if state_of(revision) is SchemaState.UNKNOWN:
        raise StartRefused(
            f"The database has the schema {revision}, and this release knows {known_revisions()[0]} at most: a later "
            "release has removed what this one needs. Nothing was changed. Install that release on this machine too, "
            "or restore a backup from before its first start."
        )

"""Migrate the database ahead of the processes that need it, and say beforehand what that does."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from service.shared.database.engine import Database
from service.shared.database.migrate import upgrade
from service.shared.database.schema import MissingRevision, SchemaState, current_revision, missing_revisions, state_of
from service.shared.settings import Settings
from service.shared.storage.pairing import database_exists, refuse_mismatch


@dataclass(frozen=True)
class MigrationPlan:
    """What a migration would do.

    Attributes:
        found: the database's schema; None before its first migration.
        state: of that schema, seen from this release.
        missing: migrations, the oldest first.
    """

    found: str | None
    state: SchemaState
    missing: tuple[MissingRevision, ...]


def plan(settings: Settings) -> MigrationPlan:
    """Compare the database with this release; change nothing.

    Raises:
        StartRefused: home folder and database do not belong together.
        StorageUnavailable: a store would have to tell whether they do, and does not answer.
        SQLAlchemyError: the database does not answer.
    """
    found = None
    with closing(Database(settings.resolved_database_url)) as db:
        refuse_mismatch(settings, db)
        if database_exists(settings):
            with db.read() as session:
                found = current_revision(session.connection())
    return MigrationPlan(found, state_of(found), missing_revisions(found))


def migrate(settings: Settings) -> MigrationPlan:
    """Run what is missing, beside processes that go on; return what was.

    Raises:
        StartRefused: see `plan`; or a later release has removed something. Nothing was changed.
        OperationalError: a lock was not to be had for ten minutes. What was committed until then stays.
    """
    planned = plan(settings)
    upgrade(settings)
    return planned

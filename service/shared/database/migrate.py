"""Migration of the database to the newest schema, while other processes go on reading and writing.

One process migrates at a time, each migration in a transaction of its own. It waits only briefly for a lock, because
every other process waits behind it, and is tried again; `migrations/online.py` has the steps that take long.
"""

from __future__ import annotations

import fcntl
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from service.shared.database.engine import make_engine
from service.shared.database.schema import (
    SchemaState,
    current_revision,
    migrations_folder,
    refuse_unknown,
    state_of,
)
from service.shared.settings import Settings

if TYPE_CHECKING:
    from alembic.config import Config

logger = logging.getLogger(__name__)

ADVISORY_LOCK = 7_241_508_311  # arbitrary, but the same in every version
LOCK_MILLISECONDS = 1_000  # longest wait for a lock, and so for writes behind a migration
RETRY_SECONDS, TRY_SECONDS = 0.5, 600.0
_LOCK_NOT_AVAILABLE = "55P03"  # PostgreSQL's SQLSTATE


def upgrade(settings: Settings, revision: str = "head") -> None:
    """Run the missing migrations, one process at a time; leave a schema alone that a later release has extended.

    Raises:
        StartRefused: a later release has taken something away.
        OperationalError: a lock was not to be had for ten minutes.
    """
    with open_for_migration(settings) as connection:
        found = current_revision(connection)
        connection.rollback()
        refuse_unknown(found)
        if state_of(found) is SchemaState.NEWER:
            logger.info("the database has the schema %s of a later release; this one works on it", found)
            return
        if revision == "head" and state_of(found) is SchemaState.CURRENT:
            return
        from alembic import command  # half a second, which a start without migrations is spared

        until = monotonic() + TRY_SECONDS
        while True:
            try:
                command.upgrade(config_for(connection), revision)
                return
            except OperationalError as error:
                if not _is_locked(error) or monotonic() > until:
                    raise
                logger.warning("a migration waits for a lock; it is tried again")
                connection.rollback()
                sleep(RETRY_SECONDS)


@contextmanager
def open_for_migration(settings: Settings) -> Iterator[Connection]:
    """Open a connection while no other process changes the schema."""
    engine = make_engine(settings.resolved_database_url)
    try:
        if engine.dialect.name == "sqlite":
            with _file_lock(settings), engine.execution_options(adamss_write=True).connect() as connection:
                yield connection
        else:
            with _advisory_lock(engine), engine.connect() as connection:
                connection.execute(text(f"SET lock_timeout = {LOCK_MILLISECONDS}"))
                connection.commit()
                yield connection
    finally:
        engine.dispose()


def config_for(connection: Connection) -> Config:
    """Configure Alembic to migrate on this connection."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _is_locked(error: OperationalError) -> bool:
    code = getattr(error.orig, "sqlite_errorcode", None)
    return code == sqlite3.SQLITE_BUSY or getattr(error.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE


@contextmanager
def _advisory_lock(engine: Engine) -> Iterator[None]:
    """Hold PostgreSQL's lock of migrations on a connection of its own.

    Asks again and again instead of waiting: a statement that waits is a transaction, and a concurrent index waits for
    all of those.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        key = {"key": ADVISORY_LOCK}
        while not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), key).scalar_one():
            sleep(RETRY_SECONDS / 5)
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), key)


@contextmanager
def _file_lock(settings: Settings) -> Iterator[None]:
    with settings.files.migration_lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

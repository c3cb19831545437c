"""Migration of the database to the newest schema, safe when several processes start at once."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from service.shared.database.engine import make_engine
from service.shared.settings import Settings

ADVISORY_LOCK = 7_241_508_311  # arbitrary, but the same in every version


def upgrade(settings: Settings, revision: str = "head") -> None:
    """Run the missing migrations in one transaction, one process at a time."""
    with open_for_migration(settings) as connection:
        command.upgrade(_config(settings, connection), revision)


@contextmanager
def open_for_migration(settings: Settings) -> Iterator[Connection]:
    """Open a transaction in which this process alone changes the schema."""
    engine = make_engine(settings.resolved_database_url)
    try:
        if engine.dialect.name == "sqlite":
            with _file_lock(settings), engine.execution_options(adamss_write=True).begin() as connection:
                yield connection
        else:
            with engine.begin() as connection:
                # Wait without limit: another process may be migrating.
                connection.execute(text("SET LOCAL lock_timeout = 0"))
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
                yield connection
    finally:
        engine.dispose()


def _config(settings: Settings, connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def migrations_folder() -> Path:
    """Find the folder of the installed package `migrations`, without importing it."""
    package = find_spec("migrations")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("the package `migrations` is missing beside `service`")
    return Path(next(iter(package.submodule_search_locations)))


@contextmanager
def _file_lock(settings: Settings) -> Iterator[None]:
    with settings.files.migration_lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

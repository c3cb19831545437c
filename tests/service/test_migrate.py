"""Models and migrations agree; many processes may start at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from service.db import Base, Database, make_engine
from service.migrate import _config, upgrade
from service.settings import Settings


@pytest.fixture(params=["sqlite", "postgresql"])
def any_settings(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    if request.param == "postgresql":
        return settings.model_copy(update={"database_url": request.getfixturevalue("postgres_url")})
    return settings


def test_models_and_migrations_agree(any_settings: Settings) -> None:
    upgrade(any_settings)
    db = Database(any_settings.resolved_database_url)
    with db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []
    db.close()


def test_many_may_start_at_once(any_settings: Settings) -> None:
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: upgrade(any_settings), range(6)))
    db = Database(any_settings.resolved_database_url)
    assert set(Base.metadata.tables) < set(inspect(db.engine).get_table_names())
    db.close()


def test_the_way_back_leaves_nothing(any_settings: Settings) -> None:
    upgrade(any_settings)
    engine = make_engine(any_settings.resolved_database_url)
    with engine.execution_options(adamss_write=True).begin() as connection:
        command.downgrade(_config(any_settings, connection), "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]
    engine.dispose()

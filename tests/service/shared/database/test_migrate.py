"""Models and migrations agree; many processes may start at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Column, inspect, select, table

from service.shared.database.engine import Database, make_engine
from service.shared.database.migrate import _config, upgrade
from service.shared.database.tables import Base, MetricRow, now
from service.shared.settings import Settings


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


def test_metrics_of_an_older_database_keep_their_numbers(any_settings: Settings) -> None:
    """What 0007 copies out of the JSON, rows without it and values that were no number among them."""
    upgrade(any_settings)
    engine = make_engine(any_settings.resolved_database_url)
    own = {"job_id": "job_1", "attempt": 1, "kind": "train", "epoch": 0.0, "time": now()}
    logged: list[dict[str, float | None]] = [{"loss": 0.5, "grad_norm": 2.0}, {"loss": None}, {"loss": 1}]
    rows = [own | {"seq": step, "step": step, "values": values} for step, values in enumerate(logged)]
    with engine.execution_options(adamss_write=True).begin() as connection:
        command.downgrade(_config(any_settings, connection), "0006")
        connection.execute(Base.metadata.tables["projects"].insert(), {"id": "p", "name": "p", "created_at": now()})
        job = {"id": "job_1", "project_id": "p", "name": "j", "status": "running", "spec": {}, "resolved": {}}
        times = {"created_at": now(), "queued_at": now()}
        connection.execute(Base.metadata.tables["jobs"].insert(), job | times | {"retries": 0, "total_steps": 3})
        before = [column for column in MetricRow.__table__.columns if column.name not in ("loss", "grad_norm")]
        older = table("metrics", *(Column(column.name, column.type) for column in before))
        connection.execute(older.insert(), rows)
        command.upgrade(_config(any_settings, connection), "head")
        found = connection.execute(select(MetricRow.loss, MetricRow.grad_norm).order_by(MetricRow.seq)).all()
    assert [tuple(row) for row in found] == [(0.5, 2.0), (None, None), (1.0, None)]
    engine.dispose()

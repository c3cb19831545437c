"""Models and migrations agree; many processes may start at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from time import sleep

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Column, column, inspect, select, table, text
from typer.testing import CliRunner

from migrations import online
from service.cli.app import app
from service.shared.database import schema
from service.shared.database.engine import Database
from service.shared.database.migrate import config_for, open_for_migration, upgrade
from service.shared.database.schema import (
    SchemaState,
    current_revision,
    known_revisions,
    major_of,
    missing_revisions,
    state_of,
)
from service.shared.database.tables import Base, MetricRow, now
from service.shared.errors import StartRefused
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
    with open_for_migration(any_settings) as connection:
        command.downgrade(config_for(connection), "base")
        assert inspect(connection).get_table_names() == ["alembic_version"]


def test_metrics_of_an_older_database_keep_their_numbers(any_settings: Settings) -> None:
    """What 0007 copies out of the JSON, rows without it and values that were no number among them."""
    upgrade(any_settings)
    own = {"job_id": "job_1", "attempt": 1, "kind": "train", "epoch": 0.0, "time": now()}
    logged: list[dict[str, float | None]] = [{"loss": 0.5, "grad_norm": 2.0}, {"loss": None}, {"loss": 1}]
    rows = [own | {"seq": step, "step": step, "values": values} for step, values in enumerate(logged)]
    with open_for_migration(any_settings) as connection:
        command.downgrade(config_for(connection), "0006")
        connection.execute(Base.metadata.tables["projects"].insert(), {"id": "p", "name": "p", "created_at": now()})
        job = {"id": "job_1", "project_id": "p", "name": "j", "status": "running", "spec": {}, "resolved": {}}
        times = {"created_at": now(), "queued_at": now()}
        connection.execute(Base.metadata.tables["jobs"].insert(), job | times | {"retries": 0, "total_steps": 3})
        before = [column for column in MetricRow.__table__.columns if column.name not in ("loss", "grad_norm")]
        older = table("metrics", *(Column(column.name, column.type) for column in before))
        connection.execute(older.insert(), rows)
        connection.commit()
        command.upgrade(config_for(connection), "head")
        found = connection.execute(select(MetricRow.loss, MetricRow.grad_norm).order_by(MetricRow.seq)).all()
    assert [tuple(row) for row in found] == [(0.5, 2.0), (None, None), (1.0, None)]


def set_revision(settings: Settings, revision: str) -> None:
    db = Database(settings.resolved_database_url)
    with db.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
    db.close()


def test_a_schema_that_a_later_release_has_extended_is_left_alone(any_settings: Settings) -> None:
    upgrade(any_settings)
    set_revision(any_settings, "9999")
    upgrade(any_settings)
    with open_for_migration(any_settings) as connection:
        assert state_of(current_revision(connection)) is SchemaState.NEWER


def test_a_schema_that_a_later_release_has_reduced_is_refused(any_settings: Settings) -> None:
    upgrade(any_settings)
    set_revision(any_settings, "9.9999")
    with pytest.raises(StartRefused, match=r"schema 9\.9999.*Install that release"):
        upgrade(any_settings)


def test_the_command_lists_what_is_missing_and_runs_it(any_settings: Settings) -> None:
    def run(*options: str) -> str:
        url = any_settings.resolved_database_url
        environment = {"ADAMSS_HOME": str(any_settings.resolved_home), "ADAMSS_DATABASE_URL": url}
        result = CliRunner().invoke(app, ["migrate", *options], env=environment)
        return result.output if result.exception is None else str(result.exception)

    newest, *older = known_revisions()
    listed = run("--dry-run")
    assert f"{len(older) + 1} migrations are missing, from nothing." in listed
    assert listed.splitlines()[0] == "0001     expand    Initial tables."
    upgrade(any_settings, older[0])
    summary = missing_revisions(older[0])[0].summary
    assert run() == f"{newest:<8} expand    {summary}\n1 migration was run, from {older[0]}.\n"
    assert run() == f"The database has the newest schema, {newest}.\n"
    set_revision(any_settings, "9999")
    assert "of a later release; this one works on it" in run()
    set_revision(any_settings, "9.9999")
    assert "a later release has removed what this one needs" in run()


def test_a_migration_that_removes_something_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    newest, before, *_ = known_revisions()
    monkeypatch.setattr(schema, "major_of", lambda revision: 2 if revision == newest else 1)
    assert [one.removes for one in missing_revisions(before)] == [True]


def test_revisions_count_up_and_majors_never_go_back() -> None:
    revisions = list(reversed(known_revisions()))
    assert sorted(int(revision.rpartition(".")[2]) for revision in revisions) == list(range(1, len(revisions) + 1))
    majors = [major_of(revision) for revision in revisions]
    assert majors == sorted(majors)
    assert majors[0] == 1


def test_a_migration_tries_again_for_a_lock_and_lets_writers_pass(settings: Settings, postgres_url: str) -> None:
    """A reader's open transaction holds `jobs`; a writer that comes later must not wait for the migration behind it."""
    settings = settings.model_copy(update={"database_url": postgres_url})
    upgrade(settings)
    with open_for_migration(settings) as connection:
        command.downgrade(config_for(connection), "0014")
    db = Database(settings.resolved_database_url)
    with ThreadPoolExecutor(1) as pool:
        with db.read() as reader:
            reader.execute(text("SELECT count(*) FROM jobs"))
            migration = pool.submit(upgrade, settings)
            for _ in range(30):  # some of these meet the migration while it waits
                with db.write() as session:
                    session.execute(text("SET LOCAL lock_timeout = '2s'"))  # longer than the migration's own
                    session.execute(text("UPDATE jobs SET step = 1"))
                sleep(0.05)
            assert not migration.done()
        migration.result(timeout=60)
    db.close()


def test_backfills_and_indexes_are_built_beside_writers(any_settings: Settings) -> None:
    """A writer with short patience goes on during each step, and rows of several batches are all filled."""
    upgrade(any_settings)
    db = Database(any_settings.resolved_database_url)
    with db.write() as session:
        session.execute(text("CREATE TABLE filled (a INTEGER, b INTEGER, c INTEGER, PRIMARY KEY (a, b))"))
        session.execute(table("filled", column("a"), column("b")).insert(), [{"a": n // 7, "b": n} for n in range(50)])
    filled = table("filled", column("a"), column("b"), column("c"))
    with open_for_migration(any_settings) as connection:
        context = MigrationContext.configure(connection, opts={"transaction_per_migration": True})
        with Operations.context(context), context.begin_transaction(_per_migration=True):
            online.backfill(filled, ["a", "b"], {"c": filled.c.a + filled.c.b}, batch=8)
            online.create_index("ix_filled_c", "filled", ["c"])
            online.create_index("ix_filled_c", "filled", ["c"])
    with db.read() as session:
        rows = session.execute(select(filled.c.a, filled.c.b, filled.c.c)).all()
        assert len(rows) == 50
        assert all(c == a + b for a, b, c in rows)
        assert [index["name"] for index in inspect(session.connection()).get_indexes("filled")] == ["ix_filled_c"]
    db.close()

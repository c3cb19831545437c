"""Sessions that read: nothing of theirs is written, and what the driver has prepared outlives them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, text

from service.shared.database.engine import Database
from service.shared.database.migrate import upgrade
from service.shared.database.tables import Project, now
from service.shared.settings import Settings

PREPARED_AFTER = 5  # executions of one statement, by psycopg's default


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        settings = Settings(home=tmp_path / "home")
        upgrade(settings)
        url = settings.resolved_database_url
    else:
        url = request.getfixturevalue("migrated_postgres_url")
    db = Database(url, connections=2)
    with db.write() as session:
        session.merge(Project(id="proj_sessions", name="before", created_at=now()))
    yield db
    db.close()


def test_a_change_in_a_reading_session_is_not_written(db: Database) -> None:
    with db.read() as session:
        session.get_one(Project, "proj_sessions").name = "after"
    with db.read() as session:
        assert session.get_one(Project, "proj_sessions").name == "before"


def test_statements_stay_prepared_on_postgresql(db: Database) -> None:
    """Seen to fail: with sessions that end with a rollback, at which psycopg forgets them."""
    if db.is_sqlite:
        pytest.skip("its driver keeps statements by itself")
    for _ in range(PREPARED_AFTER + 2):
        with db.read() as session:
            session.scalars(select(Project.id).where(Project.name == "x")).all()
    with db.read() as session:
        prepared = session.scalars(text("SELECT statement FROM pg_prepared_statements")).all()
    assert any("FROM projects" in statement for statement in prepared)

"""Alembic entry point: uses the connection of `migrate`, or opens one from the settings on the command line."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from service.shared.database.engine import make_engine
from service.shared.database.tables import Base
from service.shared.settings import get_settings


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,  # SQLite alters a table by copying it
        transaction_per_migration=False,
    )
    with context.begin_transaction():
        context.run_migrations()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    engine = make_engine(get_settings().resolved_database_url)
    with engine.execution_options(adamss_write=True).begin() as opened:
        run(opened)
    engine.dispose()

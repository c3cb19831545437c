"""Alembic's entry point, on the connection of `migrate`, or from Alembic's command line on one from the settings."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from service.shared.database.migrate import open_for_migration
from service.shared.database.tables import Base
from service.shared.settings import get_settings


def run(connection: Connection) -> None:
    """Run the migrations on a connection."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,  # SQLite alters a table by copying it
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


connection_of_migrate: Connection | None = context.config.attributes.get("connection")
if connection_of_migrate is not None:
    run(connection_of_migrate)
else:
    with open_for_migration(get_settings()) as own_connection:
        run(own_connection)

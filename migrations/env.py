"""What Alembic runs: `service.migrate` hands it a connection; on the command line it opens one by the settings."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from service.db import make_engine
from service.settings import get_settings
from service.tables import Base


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

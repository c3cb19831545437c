"""Alembic migrations of the tables in `service.shared.database.tables`."""

"""Alembic migrations of the database in `service.tables`."""

"""Alembic migrations of the database in `service.shared.database.tables`."""

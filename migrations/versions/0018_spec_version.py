"""Versions of the spec: what a job needs, what a worker understands, and a trigger between the two.

Workers of releases before this one claim every queued job, whatever it needs. The trigger makes a claim change no row
where the worker, by its own row, does not understand the job; for such workers, another worker was quicker.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

NAME = "jobs_spec_version"
CLAIM = "NEW.status = 'running' AND OLD.status = 'queued' AND NEW.spec_version > 1"
UNDERSTOOD = "SELECT 1 FROM workers WHERE workers.id = NEW.worker AND workers.spec_version >= NEW.spec_version"
SQLITE = f"""
CREATE TRIGGER {NAME} BEFORE UPDATE OF status ON jobs FOR EACH ROW WHEN {CLAIM} AND NOT EXISTS ({UNDERSTOOD})
BEGIN SELECT RAISE(IGNORE); END
"""
POSTGRESQL = (
    f"""
    CREATE FUNCTION {NAME}() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS ({UNDERSTOOD}) THEN RETURN NEW; END IF;
        RETURN NULL;  -- leaves the row as it is
    END $$
    """,
    f"""
    CREATE TRIGGER {NAME} BEFORE UPDATE OF status ON jobs FOR EACH ROW WHEN ({CLAIM}) EXECUTE FUNCTION {NAME}()
    """,
)


def upgrade() -> None:
    for table in ("jobs", "workers"):
        op.add_column(table, sa.Column("spec_version", sa.Integer(), nullable=False, server_default="1"))
    for statement in [SQLITE] if op.get_bind().dialect.name == "sqlite" else POSTGRESQL:
        op.execute(statement)


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute(f"DROP TRIGGER {NAME}")
    else:
        op.execute(f"DROP TRIGGER {NAME} ON jobs")
        op.execute(f"DROP FUNCTION {NAME}()")
    for table in ("jobs", "workers"):
        op.drop_column(table, "spec_version")

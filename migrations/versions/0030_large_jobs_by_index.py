"""An index for the waiting jobs that take several devices."""

from __future__ import annotations

from alembic import op

from migrations.online import create_index

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

INDEX = "ix_jobs_status_devices"


def upgrade() -> None:
    create_index(INDEX, "jobs", ["status", "devices"])


def downgrade() -> None:
    op.drop_index(INDEX, "jobs")

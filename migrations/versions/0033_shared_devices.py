"""Jobs that share a device, and an index for what waiting jobs need."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from migrations.online import create_index

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

INDEX = "ix_jobs_status_needs"


def upgrade() -> None:
    create_index(INDEX, "jobs", ["status", "devices", "device_kind", "device_memory"])  # first: it commits by itself
    op.add_column("devices", sa.Column("shares", sa.JSON(), nullable=True))
    op.add_column("devices", sa.Column("most_jobs", sa.Integer(), nullable=False, server_default="1"))


def downgrade() -> None:
    op.drop_column("devices", "most_jobs")
    op.drop_column("devices", "shares")
    op.drop_index(INDEX, "jobs")

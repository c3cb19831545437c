"""The turns in which projects start jobs, and the index that finds each project's next one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("projects", sa.Column("last_turn", sa.BigInteger(), server_default="0", nullable=False))
    op.create_index("ix_jobs_project_waiting", "jobs", ["project_id", "status", "queued_at"])


def downgrade() -> None:
    op.drop_index("ix_jobs_project_waiting", "jobs")
    op.drop_column("projects", "last_turn")

"""An index that tells the highest priority that waits."""

from __future__ import annotations

from alembic import op

from migrations.online import create_index

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

INDEX = "ix_jobs_status_rank"


def upgrade() -> None:
    create_index(INDEX, "jobs", ["status", "rank"])


def downgrade() -> None:
    op.drop_index(INDEX, "jobs")

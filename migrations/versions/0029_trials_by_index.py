"""Index for the trials of a sweep."""

from __future__ import annotations

from alembic import op

from migrations.online import create_index

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

NAME = "ix_jobs_sweep"


def upgrade() -> None:
    create_index(NAME, "jobs", ["sweep_id", "trial"])


def downgrade() -> None:
    op.drop_index(NAME, "jobs")

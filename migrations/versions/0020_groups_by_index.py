"""Index for lists of jobs by group."""

from __future__ import annotations

from alembic import op

from migrations.online import create_index

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

NAME = "ix_jobs_project_group_created"


def upgrade() -> None:
    create_index(NAME, "jobs", ["project_id", "group_name", "created_at", "id"])


def downgrade() -> None:
    op.drop_index(NAME, "jobs")

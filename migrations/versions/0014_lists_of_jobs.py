"""Indexes for lists of jobs by status and by name."""

from __future__ import annotations

from alembic import op

from migrations.online import create_index

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_jobs_project_status_created": ["project_id", "status", "created_at", "id"],
    "ix_jobs_project_name_created": ["project_id", "name", "created_at", "id"],
}


def upgrade() -> None:
    for name, columns in INDEXES.items():
        create_index(name, "jobs", columns)


def downgrade() -> None:
    for name in INDEXES:
        op.drop_index(name, "jobs")

"""Indexes for the choice of the next job, and for lists of jobs by owner."""

from __future__ import annotations

from alembic import op

from migrations.online import create_index

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_jobs_project_next": ["project_id", "status", "rank", "queued_at", "id"],
    "ix_jobs_project_owner_created": ["project_id", "owner", "created_at", "id"],
    "ix_jobs_reserved_for": ["reserved_for"],
}


def upgrade() -> None:
    for name, columns in INDEXES.items():
        create_index(name, "jobs", columns)


def downgrade() -> None:
    for name in INDEXES:
        op.drop_index(name, "jobs")

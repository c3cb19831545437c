"""When the metric rows of an ended job were moved to its artifact."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("metrics_archived_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_jobs_archived_ended", "jobs", ["metrics_archived_at", "ended_at", "id"])


def downgrade() -> None:
    op.drop_index("ix_jobs_archived_ended", "jobs")
    op.drop_column("jobs", "metrics_archived_at")

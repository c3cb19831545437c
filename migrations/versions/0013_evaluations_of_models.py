"""The job whose model a job evaluates."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("evaluates", sa.String(40), nullable=True))
    op.create_index("ix_jobs_evaluates", "jobs", ["evaluates"])


def downgrade() -> None:
    op.drop_index("ix_jobs_evaluates", "jobs")
    op.drop_column("jobs", "evaluates")

"""Tags, notes and groups of jobs."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

COLUMNS: dict[str, sa.types.TypeEngine[Any]] = {"tags": sa.JSON(), "notes": sa.Text(), "group_name": sa.String(120)}


def upgrade() -> None:
    for name, kind in COLUMNS.items():
        op.add_column("jobs", sa.Column(name, kind, nullable=True))
    op.create_table(
        "job_tags",
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("tag", sa.String(40), nullable=False),
        sa.Column("project_id", sa.String(40), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_tags_job_id_jobs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "tag", name="pk_job_tags"),
    )
    op.create_index("ix_job_tags_project_tag", "job_tags", ["project_id", "tag", "job_id"])


def downgrade() -> None:
    op.drop_table("job_tags")
    for name in COLUMNS:
        op.drop_column("jobs", name)

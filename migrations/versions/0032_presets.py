"""Presets, baselines, and the number of evaluations that a trial will make."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.shared.database.tables import Utc

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sweep_trials", sa.Column("planned_evaluations", sa.Integer(), nullable=True))
    op.create_table(
        "presets",
        sa.Column("project_id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(80), nullable=False),
        sa.Column("task", sa.String(40), nullable=False),
        sa.Column("fields", sa.JSON(), nullable=False),
        sa.Column("job_id", sa.String(40), nullable=True),
        sa.Column("created_at", Utc(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_presets_project_id_projects"),
        sa.PrimaryKeyConstraint("project_id", "name", name="pk_presets"),
    )
    op.create_table(
        "baselines",
        sa.Column("project_id", sa.String(40), nullable=False),
        sa.Column("group_name", sa.String(120), nullable=False),
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_baselines_project_id_projects"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_baselines_job_id_jobs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("project_id", "group_name", name="pk_baselines"),
    )
    op.create_index("ix_baselines_job_id", "baselines", ["job_id"])


def downgrade() -> None:
    op.drop_table("baselines")
    op.drop_table("presets")
    op.drop_column("sweep_trials", "planned_evaluations")

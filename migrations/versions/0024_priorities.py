"""Priorities and owners of jobs; weights, limits and use of projects."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from service.shared.database.tables import Utc

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

OF_JOBS: dict[str, sa.types.TypeEngine[Any]] = {
    "preempted_by": sa.String(40),
    "reserved_for": sa.String(200),
    "metered_at": Utc(),
    "owner": sa.String(120),
}
OF_PROJECTS: dict[str, sa.types.TypeEngine[Any]] = {
    "max_running_devices": sa.Integer(),
    "max_device_hours": sa.Double(),
}


def upgrade() -> None:
    op.add_column("jobs", sa.Column("rank", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("preemptible", sa.Boolean(), nullable=False, server_default=sa.true()))
    for name, kind in OF_JOBS.items():
        op.add_column("jobs", sa.Column(name, kind, nullable=True))
    for name, kind in OF_PROJECTS.items():
        op.add_column("projects", sa.Column(name, kind, nullable=True))
    op.add_column("projects", sa.Column("weight", sa.Float(), nullable=False, server_default="1"))
    op.add_column("projects", sa.Column("standing", sa.Double(), nullable=False, server_default="0"))
    op.create_table(
        "device_use",
        sa.Column("project_id", sa.String(40), nullable=False),
        sa.Column("month", sa.String(7), nullable=False),
        sa.Column("owner", sa.String(120), nullable=False),
        sa.Column("device_seconds", sa.Double(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "month", "owner", name="pk_device_use"),
    )


def downgrade() -> None:
    op.drop_table("device_use")
    for name in ("standing", "weight", *OF_PROJECTS):
        op.drop_column("projects", name)
    for name in (*OF_JOBS, "preemptible", "rank"):
        op.drop_column("jobs", name)

"""Devices of workers, and what a job needs of them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

NEEDS: dict[str, sa.types.TypeEngine[Any]] = {"device_kind": sa.String(40), "device_memory": sa.BigInteger()}


def upgrade() -> None:
    op.add_column("jobs", sa.Column("devices", sa.Integer(), nullable=False, server_default="1"))
    for name, kind in NEEDS.items():
        op.add_column("jobs", sa.Column(name, kind, nullable=True))
    op.create_table(
        "devices",
        sa.Column("worker_id", sa.String(200), nullable=False),
        sa.Column("name", sa.String(80), nullable=False),
        sa.Column("key", sa.String(300), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=True),
        sa.Column("free_bytes", sa.BigInteger(), nullable=True),
        sa.Column("job_id", sa.String(40), nullable=True),
        sa.ForeignKeyConstraint(["worker_id"], ["workers.id"], name="fk_devices_worker_id_workers", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("worker_id", "name", name="pk_devices"),
    )
    op.create_index("ix_devices_key", "devices", ["key"])
    op.create_index("ix_devices_job_id", "devices", ["job_id"])


def downgrade() -> None:
    op.drop_table("devices")
    for name in ("devices", *NEEDS):
        op.drop_column("jobs", name)

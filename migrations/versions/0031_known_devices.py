"""The most devices that any worker has registered, and the devices that a job runs on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("runs_on", sa.JSON(), nullable=True))
    op.create_table(
        "known_devices",
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("devices", sa.Integer(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("kind", name="pk_known_devices"),
    )


def downgrade() -> None:
    op.drop_table("known_devices")
    op.drop_column("jobs", "runs_on")

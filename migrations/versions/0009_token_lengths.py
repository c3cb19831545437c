"""Token lengths of data sets, and the memory and abilities of workers, for the estimate of a job."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "token_lengths",
        sa.Column("dataset_id", sa.String(40), nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("revision", sa.String(100), nullable=False),
        sa.Column("columns", sa.String(64), nullable=False),
        sa.Column("lengths", sa.JSON(), nullable=False),
        sa.Column("measured_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["datasets.id"], name="fk_token_lengths_dataset_id_datasets", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("dataset_id", "model", "revision", "columns", name="pk_token_lengths"),
    )
    op.add_column("workers", sa.Column("resources", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("workers", "resources")
    op.drop_table("token_lengths")

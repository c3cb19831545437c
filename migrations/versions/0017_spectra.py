"""Spectra of base models, and the jobs that measure them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.shared.database.tables import Utc

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "spectra",
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("revision", sa.String(100), nullable=False),
        sa.Column("dataset_id", sa.String(40), nullable=True),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.Column("measured_at", Utc(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_spectra"),
    )
    op.create_index("ix_spectra_model", "spectra", ["model"])
    op.create_index("ix_spectra_dataset_id", "spectra", ["dataset_id"])
    op.add_column("jobs", sa.Column("inspects", sa.String(64), nullable=True))
    op.create_index("ix_jobs_inspects", "jobs", ["inspects"])


def downgrade() -> None:
    op.drop_index("ix_jobs_inspects", "jobs")
    op.drop_column("jobs", "inspects")
    op.drop_table("spectra")

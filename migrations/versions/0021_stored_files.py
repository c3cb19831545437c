"""Files that a store outside the home folder has, by their names below it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.shared.database.tables import Utc

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "stored_files",
        sa.Column("name", sa.String(300), nullable=False),
        sa.Column("owner", sa.String(250), nullable=False),
        sa.Column("key", sa.String(500), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("is_folder", sa.Boolean(), nullable=False),
        sa.Column("created_at", Utc(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_stored_files"),
        sa.UniqueConstraint("key", name="uq_stored_files_key"),
    )
    op.create_index("ix_stored_files_owner", "stored_files", ["owner"])


def downgrade() -> None:
    op.drop_index("ix_stored_files_owner", table_name="stored_files")
    op.drop_table("stored_files")

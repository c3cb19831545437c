"""Base models that came through the API."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.shared.database.tables import Utc

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

PRESENT = sa.text("deleted_at IS NULL")


def upgrade() -> None:
    op.create_table(
        "added_models",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("project_id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("status", sa.String(12), nullable=False),
        sa.Column("hub_id", sa.String(200), nullable=True),
        sa.Column("revision", sa.String(100), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("done_bytes", sa.BigInteger(), nullable=False),
        sa.Column("files", sa.JSON(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=True),
        sa.Column("error", sa.JSON(), nullable=True),
        sa.Column("created_at", Utc(), nullable=False),
        sa.Column("seen_at", Utc(), nullable=True),
        sa.Column("deleted_at", Utc(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_added_models"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_added_models_project_id_projects"),
    )
    op.create_index(
        "ix_added_models_name",
        "added_models",
        ["project_id", "name"],
        unique=True,
        sqlite_where=PRESENT,
        postgresql_where=PRESENT,
    )


def downgrade() -> None:
    op.drop_table("added_models")

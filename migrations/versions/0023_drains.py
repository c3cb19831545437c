"""Hosts whose workers start nothing new."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.shared.database.tables import Utc

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "drains",
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("move", sa.Boolean(), nullable=False),
        sa.Column("since", Utc(), nullable=False),
        sa.PrimaryKeyConstraint("host", name="pk_drains"),
    )


def downgrade() -> None:
    op.drop_table("drains")

"""Columns of loss and gradient norm, copied from the JSON values, for the thinning of long histories."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

NAMES = ("loss", "grad_norm")


def upgrade() -> None:
    for name in NAMES:
        op.add_column("metrics", sa.Column(name, sa.Double(), nullable=True))
    metrics = sa.table("metrics", sa.column("values", sa.JSON()), *(sa.column(name, sa.Double()) for name in NAMES))
    op.execute(metrics.update().values({name: metrics.c["values"][name].as_float() for name in NAMES}))


def downgrade() -> None:
    for name in NAMES:
        op.drop_column("metrics", name)

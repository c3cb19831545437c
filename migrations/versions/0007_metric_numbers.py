"""Columns of loss and gradient norm, copied from the JSON values, for the thinning of long histories."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from migrations.online import backfill

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

NAMES = ("loss", "grad_norm")


def upgrade() -> None:
    known = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("metrics")}
    for name in NAMES:
        if name not in known:  # they are there where an earlier try was interrupted after them
            op.add_column("metrics", sa.Column(name, sa.Double(), nullable=True))
    numbers: list[sa.ColumnClause[Any]] = [sa.column(name, sa.Double()) for name in NAMES]
    key: list[sa.ColumnClause[Any]] = [sa.column("job_id", sa.String()), sa.column("seq", sa.Integer())]
    metrics = sa.table("metrics", *key, sa.column("values", sa.JSON()), *numbers)
    copied = {name: metrics.c["values"][name].as_float() for name in NAMES}
    backfill(metrics, ["job_id", "seq"], copied)


def downgrade() -> None:
    for name in NAMES:
        op.drop_column("metrics", name)

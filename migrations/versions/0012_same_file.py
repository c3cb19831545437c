"""The file that a data set was read from, so that the same file is not stored twice."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("datasets", sa.Column("source", sa.String(64), nullable=True))
    op.create_index("ix_datasets_project_source", "datasets", ["project_id", "source"])


def downgrade() -> None:
    op.drop_index("ix_datasets_project_source", "datasets")
    op.drop_column("datasets", "source")

"""Sequence numbers of subspace maps, shared with the job's metrics and events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0005"
branch_labels = None
depends_on = None

# Number existing maps after all other rows of their job, in the order of their steps.
NUMBER = """
UPDATE subspace_maps SET seq =
  (SELECT last_seq FROM jobs WHERE jobs.id = subspace_maps.job_id)
  + (SELECT count(*) FROM subspace_maps AS other
     WHERE other.job_id = subspace_maps.job_id AND other.step <= subspace_maps.step)
"""
ADVANCE = """
UPDATE jobs SET last_seq = last_seq + (SELECT count(*) FROM subspace_maps WHERE subspace_maps.job_id = jobs.id)
"""


def upgrade() -> None:
    op.add_column("subspace_maps", sa.Column("seq", sa.Integer(), nullable=False, server_default="0"))
    op.execute(NUMBER)
    op.execute(ADVANCE)
    with op.batch_alter_table("subspace_maps") as table:
        table.alter_column("seq", server_default=None)
    op.create_index("ix_subspace_maps_job_seq", "subspace_maps", ["job_id", "seq"])


def downgrade() -> None:
    op.drop_index("ix_subspace_maps_job_seq", table_name="subspace_maps")
    with op.batch_alter_table("subspace_maps") as table:
        table.drop_column("seq")

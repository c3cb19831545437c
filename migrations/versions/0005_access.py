"""Roles and expiry of keys, quotas of projects, and the audit log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0003"
branch_labels = None
depends_on = None

QUOTAS = {
    "max_queued_jobs": sa.Integer(),
    "max_running_jobs": sa.Integer(),
    "max_storage_bytes": sa.BigInteger(),
    "max_upload_bytes": sa.BigInteger(),
}


def upgrade() -> None:
    for name, kind in QUOTAS.items():
        op.add_column("projects", sa.Column(name, kind, nullable=True))
    op.add_column("api_keys", sa.Column("role", sa.String(length=10), server_default="submit", nullable=False))
    op.add_column("api_keys", sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True))
    # The key of a first start belongs to the operator.
    op.execute("UPDATE api_keys SET role = 'admin' WHERE name = 'first start'")
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("project_id", sa.String(length=40), nullable=True),
        sa.Column("key_id", sa.String(length=40), nullable=True),
        sa.Column("key_name", sa.String(length=120), nullable=False),
        sa.Column("action", sa.String(length=200), nullable=False),
        sa.Column("path", sa.String(length=500), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("request_id", sa.String(length=100), nullable=True),
        sa.Column("address", sa.String(length=100), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_project_id"), "audit", ["project_id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_audit_project_id"), table_name="audit")
    op.drop_table("audit")
    op.drop_column("api_keys", "expires_at")
    op.drop_column("api_keys", "role")
    for name in QUOTAS:
        op.drop_column("projects", name)

"""Operators have a role, and can be suspended. Those who are there could do everything: they are admins."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The table is made anew, so that neither column has a default: whoever makes an operator says what he may do."""
    op.execute("CREATE TABLE operators_kept AS SELECT * FROM operators")
    op.drop_table("operators")
    op.create_table(
        "operators",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("username_key", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), server_default="", nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("email_verified_at", sa.BigInteger(), nullable=True),
        sa.Column("second_factor", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.CheckConstraint("role IN ('support', 'finance', 'admin')", name=op.f("ck_operators_role")),
        sa.CheckConstraint("status IN ('active', 'suspended')", name=op.f("ck_operators_status")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operators")),
        sa.UniqueConstraint("username_key", name=op.f("uq_operators_username_key")),
    )
    op.create_index("ix_operators_email", "operators", [sa.text("lower(email)")], unique=False)
    op.execute(
        "INSERT INTO operators (id, username, username_key, email, password_hash, created_at, email_verified_at,"
        " second_factor, role, status) SELECT id, username, username_key, email, password_hash, created_at,"
        " email_verified_at, second_factor, 'admin', 'active' FROM operators_kept"
    )
    op.drop_table("operators_kept")

"""Listeners: deliveries of the sandbox that go to a developer's own machine."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("games", sa.Column("listener_id", sa.Text(), nullable=True))
    op.add_column("games", sa.Column("listener_by", sa.Text(), nullable=True))
    op.add_column("games", sa.Column("listener_until", sa.BigInteger(), nullable=True))
    op.create_table(
        "relays",
        sa.Column("delivery_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("copy", sa.BigInteger(), nullable=False),
        sa.Column("game_id", sa.Text(), nullable=False),
        sa.Column("listener_id", sa.Text(), nullable=False),
        sa.Column("headers", sa.Text(), nullable=False),
        sa.Column("authorization", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("handed_at", sa.BigInteger(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            'closed_at IS NULL OR "authorization" IS NULL', name=op.f("ck_relays_no_authorization_kept")
        ),
        sa.PrimaryKeyConstraint("delivery_id", "attempt", "copy", name=op.f("pk_relays")),
    )
    op.create_index("ix_relays_game", "relays", ["game_id"], unique=False)


def downgrade() -> None:
    op.drop_table("relays")
    for column in ("listener_until", "listener_by", "listener_id"):
        op.drop_column("games", column)

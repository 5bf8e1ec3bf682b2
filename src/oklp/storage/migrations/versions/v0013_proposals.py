"""What an operator proposes, for a second one to decide on."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "proposals",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("match_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("proposer_id", sa.Text(), nullable=False),
        sa.Column("proposer", sa.Text(), nullable=False),
        sa.Column("proposed_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("decider_id", sa.Text(), nullable=True),
        sa.Column("decider", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.Column("decision_reason", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "action IN ('match.settle', 'match.abort', 'held-winnings.release', 'held-winnings.confiscate')",
            name=op.f("ck_proposals_action"),
        ),
        sa.CheckConstraint("state IN ('waiting', 'approved', 'declined', 'expired')", name=op.f("ck_proposals_state")),
        sa.CheckConstraint(
            "(state IN ('approved', 'declined')) = (decider_id IS NOT NULL)",
            name=op.f("ck_proposals_decided_by_somebody"),
        ),
        sa.CheckConstraint("decider_id <> proposer_id", name=op.f("ck_proposals_two_persons")),
        sa.CheckConstraint("amount > 0", name=op.f("ck_proposals_amount_positive")),
        sa.ForeignKeyConstraint(["match_id"], ["matches.id"]),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_proposals")),
    )
    op.create_index("ix_proposals_order", "proposals", ["proposed_at", "id"], unique=False)
    op.create_index(
        "uq_proposals_waiting",
        "proposals",
        ["match_id", "user_id"],
        unique=True,
        postgresql_where=sa.text("state = 'waiting'"),
        sqlite_where=sa.text("state = 'waiting'"),
    )

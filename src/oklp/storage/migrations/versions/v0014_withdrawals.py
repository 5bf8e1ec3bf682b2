"""Whoever proposed something can withdraw it; what waits is found in its order."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

BEFORE = ("waiting", "approved", "declined", "expired")
AFTER = (*BEFORE, "withdrawn")
COLUMNS = (
    "id, action, match_id, user_id, request, amount, currency, reason, proposer_id, proposer, proposed_at, expires_at,"
    " state, decider_id, decider, decided_at, decision_reason"
)


def upgrade() -> None:
    _allow(AFTER)
    waits = sa.text("state = 'waiting'")
    columns = ["proposed_at", "id"]
    op.create_index("ix_proposals_waiting", "proposals", columns, postgresql_where=waits, sqlite_where=waits)


def _allow(states: tuple[str, ...]) -> None:
    """SQLite changes no CHECK of a table that is there: the table is made anew, with what is in it."""
    wanted = f"state IN ({', '.join(map(repr, states))})"
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint(op.f("ck_proposals_state"), "proposals", type_="check")
        op.create_check_constraint(op.f("ck_proposals_state"), "proposals", wanted)
        return
    op.execute("CREATE TABLE proposals_kept AS SELECT * FROM proposals")
    op.drop_table("proposals")
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
        sa.CheckConstraint(wanted, name=op.f("ck_proposals_state")),
        sa.CheckConstraint(
            "(state IN ('approved', 'declined')) = (decider_id IS NOT NULL)",
            name=op.f("ck_proposals_decided_by_somebody"),
        ),
        sa.CheckConstraint("decider_id <> proposer_id", name=op.f("ck_proposals_two_persons")),
        sa.CheckConstraint("amount > 0", name=op.f("ck_proposals_amount_positive")),
        sa.ForeignKeyConstraint(["match_id"], ["matches.id"]),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_proposals")),
    )
    op.execute(f"INSERT INTO proposals ({COLUMNS}) SELECT {COLUMNS} FROM proposals_kept")  # noqa: S608
    op.drop_table("proposals_kept")
    op.create_index("ix_proposals_order", "proposals", ["proposed_at", "id"], unique=False)
    waits = sa.text("state = 'waiting'")
    op.create_index("uq_proposals_waiting", "proposals", ["match_id", "user_id"], unique=True, sqlite_where=waits)


def downgrade() -> None:
    """What was withdrawn counts as expired: that is what it was before, without anybody's decision."""
    op.drop_index("ix_proposals_waiting", "proposals")
    op.execute("UPDATE proposals SET state = 'expired' WHERE state = 'withdrawn'")
    _allow(BEFORE)

"""Notifications of players, and that their streams tell of them."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

BEFORE = ("invitation", "match", "over", "wallet")
AFTER = ("invitation", "match", "notification", "over", "wallet")
COLUMNS = "seq, tx_number, kind, match_id, user_id, at"


def upgrade() -> None:
    op.create_table(
        "notices",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("occasion", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("match_id", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("read_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "kind IN ('invited', 'began', 'won', 'drawn', 'lost', 'held', 'released', 'refunded', 'called-off')",
            name=op.f("ck_notices_kind"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notices")),
        sa.UniqueConstraint("user_id", "occasion", name=op.f("uq_notices_user_id_occasion")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_notices_at", "notices", ["at"], unique=False)
    op.create_index("ix_notices_user", "notices", ["user_id", "id"], unique=False)
    unread = sa.text("read_at IS NULL")
    op.create_index("ix_notices_unread", "notices", ["user_id"], postgresql_where=unread, sqlite_where=unread)
    _allow(AFTER)


def _allow(kinds: tuple[str, ...]) -> None:
    """Of events. SQLite changes no CHECK of a table that is there: the table is made anew."""
    wanted = f"kind IN ({', '.join(map(repr, kinds))})"
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint(op.f("ck_events_kind"), "events", type_="check")
        op.create_check_constraint(op.f("ck_events_kind"), "events", wanted)
        return
    for index in ("match", "order", "user"):
        op.drop_index(f"ix_events_{index}", "events")
    op.rename_table("events", "events_before")
    op.create_table(
        "events",
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("tx_number", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("match_id", sa.Text(), nullable=True),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(wanted, name=op.f("ck_events_kind")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_events")),
        sqlite_autoincrement=True,
    )
    op.execute(f"INSERT INTO events ({COLUMNS}) SELECT {COLUMNS} FROM events_before")  # noqa: S608
    op.drop_table("events_before")
    op.create_index("ix_events_match", "events", ["match_id", "tx_number"], unique=False)
    op.create_index("ix_events_order", "events", ["tx_number", "seq"], unique=False)
    of_user = sa.text("user_id IS NOT NULL")
    op.create_index("ix_events_user", "events", ["user_id", "tx_number"], unique=False, sqlite_where=of_user)


def downgrade() -> None:
    op.execute("DELETE FROM events WHERE kind = 'notification'")
    _allow(BEFORE)
    op.drop_table("notices")

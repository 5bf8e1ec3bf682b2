"""Players are told of winnings that an operator did not pay out."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

BEFORE = ("invited", "began", "won", "drawn", "lost", "held", "released", "refunded", "called-off")
AFTER = ("invited", "began", "won", "drawn", "lost", "held", "released", "confiscated", "refunded", "called-off")
COLUMNS = "id, user_id, occasion, kind, match_id, amount, currency, reason, at, read_at, hidden"


def upgrade() -> None:
    _allow(AFTER)


def _allow(kinds: tuple[str, ...]) -> None:
    """SQLite changes no CHECK of a table that is there: the table is made anew, with what is in it."""
    wanted = f"kind IN ({', '.join(map(repr, kinds))})"
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint(op.f("ck_notices_kind"), "notices", type_="check")
        op.create_check_constraint(op.f("ck_notices_kind"), "notices", wanted)
        return
    for index in ("at", "user", "unread"):
        op.drop_index(f"ix_notices_{index}", "notices")
    op.rename_table("notices", "notices_before")
    op.create_table(
        "notices",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("occasion", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("match_id", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("read_at", sa.BigInteger(), nullable=True),
        sa.Column("hidden", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.CheckConstraint(wanted, name=op.f("ck_notices_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notices")),
        sa.UniqueConstraint("user_id", "occasion", name=op.f("uq_notices_user_id_occasion")),
        sqlite_autoincrement=True,
    )
    op.execute(f"INSERT INTO notices ({COLUMNS}) SELECT {COLUMNS} FROM notices_before")  # noqa: S608
    op.drop_table("notices_before")
    op.create_index("ix_notices_at", "notices", ["at"], unique=False)
    op.create_index("ix_notices_user", "notices", ["user_id", "id"], unique=False)
    op.create_index("ix_notices_unread", "notices", ["user_id"], sqlite_where=sa.text("read_at IS NULL"))


def downgrade() -> None:
    op.execute("DELETE FROM notices WHERE kind = 'confiscated'")
    _allow(BEFORE)

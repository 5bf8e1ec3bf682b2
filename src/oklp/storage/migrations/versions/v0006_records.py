"""What is kept about players: results, standings, money won; and whether others may see it."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "players", sa.Column("private_results", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.create_table(
        "followers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("tx_number", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_followers")),
    )
    op.create_table(
        "player_results",
        sa.Column("match_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("game_id", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("paid", sa.BigInteger(), nullable=False),
        sa.Column("won", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("verdict IN ('won', 'drawn', 'lost')", name=op.f("ck_player_results_verdict")),
        sa.PrimaryKeyConstraint("match_id", "user_id", name=op.f("pk_player_results")),
    )
    op.create_index("ix_player_results_user", "player_results", ["user_id", "at", "match_id"], unique=False)
    op.create_table(
        "standings",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("game_id", sa.Text(), nullable=False),
        sa.Column("matches", sa.BigInteger(), nullable=False),
        sa.Column("wins", sa.BigInteger(), nullable=False),
        sa.Column("draws", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("wins >= 0 AND draws >= 0 AND wins + draws <= matches", name=op.f("ck_standings_add_up")),
        sa.PrimaryKeyConstraint("user_id", "game_id", name=op.f("pk_standings")),
    )
    op.create_index(
        "ix_standings_best", "standings", ["game_id", sa.text("wins DESC"), "matches", "user_id"], unique=False
    )
    op.create_table(
        "player_money",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("paid", sa.BigInteger(), nullable=False),
        sa.Column("won", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "currency", name=op.f("pk_player_money")),
    )
    # Matches that ended before are counted as the first of the log, whose streams are long past them.
    op.execute(
        "INSERT INTO events (tx_number, kind, match_id, at)"
        " SELECT 0, 'match', id, finished_at FROM matches WHERE status = 'finished' ORDER BY id"
    )


def downgrade() -> None:
    op.drop_table("player_money")
    op.drop_table("standings")
    op.drop_table("player_results")
    op.drop_table("followers")
    op.drop_column("players", "private_results")

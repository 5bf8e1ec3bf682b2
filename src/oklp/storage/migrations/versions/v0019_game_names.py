"""A game is found by its name in any script, as a studio is."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("games", sa.Column("name_key", sa.Text(), nullable=False, server_default=""))
    there = op.get_bind()
    known = there.execute(sa.text("SELECT id, name FROM games"))
    keys = [{"key": row.name.casefold(), "game": row.id} for row in known]
    if keys:
        there.execute(sa.text("UPDATE games SET name_key = :key WHERE id = :game"), keys)
    op.create_index("ix_games_name", "games", ["name_key"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_games_name", table_name="games")
    op.drop_column("games", "name_key")

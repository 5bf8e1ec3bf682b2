"""A studio is found by its name, and the games in review are read in the order in which they were submitted."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_studios_name", "studios", [sa.text("lower(name)")], unique=False)
    op.create_index(
        "ix_games_in_review",
        "games",
        ["vetting_at", "id"],
        unique=False,
        postgresql_where=sa.text("vetting = 'in-review'"),
        sqlite_where=sa.text("vetting = 'in-review'"),
    )


def downgrade() -> None:
    op.drop_index("ix_games_in_review", table_name="games")
    op.drop_index("ix_studios_name", table_name="studios")

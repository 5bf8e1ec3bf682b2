"""What a wallet shows is found at once: the oldest match that is not over, from which on a player may have money in
escrow; and a player's payments by their time."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    still_open = sa.text("status IN ('pending', 'starting', 'live')")
    op.create_index("ix_matches_open", "matches", ["id"], postgresql_where=still_open, sqlite_where=still_open)
    op.create_index("ix_payments_user", "payments", ["user_id", "created_at", "id"])
    op.drop_index("ix_payments_user_id", "payments")


def downgrade() -> None:
    op.create_index("ix_payments_user_id", "payments", ["user_id"])
    op.drop_index("ix_payments_user", "payments")
    op.drop_index("ix_matches_open", "matches")

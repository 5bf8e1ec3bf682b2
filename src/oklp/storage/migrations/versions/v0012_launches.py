"""Who went to play which match, and when, is found by the match."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_match_tokens_match_id", "match_tokens", ["match_id"])


def downgrade() -> None:
    op.drop_index("ix_match_tokens_match_id", "match_tokens")

"""When a game first asked about a match-token stands with the token."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("match_tokens", sa.Column("asked_at", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("match_tokens", "asked_at")

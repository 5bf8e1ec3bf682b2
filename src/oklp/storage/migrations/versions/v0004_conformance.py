"""Reports of `oklp check` that studios hand in, for vetting."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("games", sa.Column("conformance", sa.Text(), nullable=True))
    op.create_table(
        "conformance_reports",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("game_id", sa.Text(), nullable=False),
        sa.Column("submitted_at", sa.BigInteger(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("report", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["game_id"], ["games.id"]),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_conformance_reports")),
    )
    op.create_index(
        "ix_conformance_reports_game", "conformance_reports", ["game_id", "submitted_at", "id"], unique=False
    )

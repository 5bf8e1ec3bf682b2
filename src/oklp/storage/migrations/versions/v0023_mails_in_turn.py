"""A mail knows whom it is about, where a later one may take it back (until now none does), and if it may have gone."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("mails", sa.Column("about", sa.Text(), nullable=True))
    op.add_column("mails", sa.Column("uncertain", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_index(
        "ix_mails_about",
        "mails",
        ["about"],
        unique=False,
        postgresql_where=sa.text("about IS NOT NULL"),
        sqlite_where=sa.text("about IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_mails_about", table_name="mails")
    op.drop_column("mails", "uncertain")
    op.drop_column("mails", "about")

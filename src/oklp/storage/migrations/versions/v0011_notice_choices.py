"""What players want to be told, and where: on the site, by mail, in which language."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

TOPICS = "topic IN ('invited', 'began', 'winnings', 'lost', 'refunded', 'held')"


def upgrade() -> None:
    op.create_table(
        "notice_choices",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("on_site", sa.Boolean(), nullable=False),
        sa.Column("by_mail", sa.Boolean(), nullable=False),
        sa.CheckConstraint(TOPICS, name=op.f("ck_notice_choices_topic")),
        sa.PrimaryKeyConstraint("user_id", "topic", name=op.f("pk_notice_choices")),
    )
    no = sa.text("false")
    op.add_column("notices", sa.Column("hidden", sa.Boolean(), nullable=False, server_default=no))
    op.add_column("players", sa.Column("language", sa.Text(), nullable=False, server_default="en"))


def downgrade() -> None:
    op.drop_column("players", "language")
    op.execute("DELETE FROM notices WHERE hidden")
    op.drop_column("notices", "hidden")
    op.drop_table("notice_choices")

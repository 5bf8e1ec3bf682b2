"""A studio is found by its name in any script: both databases compare what Python makes of it."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_studios_name", table_name="studios")
    op.add_column("studios", sa.Column("name_key", sa.Text(), nullable=False, server_default=""))
    there = op.get_bind()
    known = there.execute(sa.text("SELECT id, name FROM studios"))
    keys = [{"key": row.name.casefold(), "studio": row.id} for row in known]
    if keys:
        there.execute(sa.text("UPDATE studios SET name_key = :key WHERE id = :studio"), keys)
    op.create_index("ix_studios_name", "studios", ["name_key"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_studios_name", table_name="studios")
    op.drop_column("studios", "name_key")
    op.create_index("ix_studios_name", "studios", [sa.text("lower(name)")], unique=False)

"""People are found by their e-mail address in any script: both databases compare what Python makes of it.

The keys are not unique, as addresses are not (decision 0008): there are no rows that this could meet and not take.
"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

PEOPLE = ("players", "members", "operators")


def upgrade() -> None:
    there = op.get_bind()
    for name in PEOPLE:
        op.drop_index(f"ix_{name}_email", table_name=name)
        op.add_column(name, sa.Column("email_key", sa.Text(), nullable=False, server_default=""))
        people = sa.table(name, sa.column("id"), sa.column("email"), sa.column("email_key"))
        # Most addresses are their own keys, and the database copies those at once.
        there.execute(people.update().values(email_key=people.c.email))
        known = there.execute(sa.select(people.c.id, people.c.email))
        keys = [{"key": row.email.lower(), "person": row.id} for row in known if row.email.lower() != row.email]
        if keys:
            of_person = people.c.id == sa.bindparam("person")
            there.execute(people.update().where(of_person).values(email_key=sa.bindparam("key")), keys)
        op.create_index(f"ix_{name}_email", name, ["email_key"], unique=False)


def downgrade() -> None:
    for name in PEOPLE:
        op.drop_index(f"ix_{name}_email", table_name=name)
        op.drop_column(name, "email_key")
        op.create_index(f"ix_{name}_email", name, [sa.text("lower(email)")], unique=False)

"""The keys of e-mail addresses are folded letter by letter: of a whole word, `lower` makes a final sigma.

Addresses in ASCII keep the keys that they have, and their rows are not written.
"""

from collections.abc import Callable

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

PEOPLE = ("players", "members", "operators")
BATCH = 1_000


def _folded(email: str) -> str:
    return "".join(one if len(one := letter.casefold()) == 1 else letter.lower() for letter in email)


def _set_keys(key_of: Callable[[str], str]) -> None:
    there = op.get_bind()
    for name in PEOPLE:
        people = sa.table(name, sa.column("id"), sa.column("email", sa.Text()), sa.column("email_key"))
        octets = (
            sa.func.octet_length(people.c.email)
            if there.dialect.name == "postgresql"
            else sa.func.length(sa.cast(people.c.email, sa.LargeBinary()))
        )
        beyond_ascii = sa.select(people).where(octets != sa.func.length(people.c.email)).order_by(people.c.id)
        set_key = people.update().where(people.c.id == sa.bindparam("person")).values(email_key=sa.bindparam("key"))
        last = ""
        while some := there.execute(beyond_ascii.where(people.c.id > last).limit(BATCH)).all():
            last = some[-1].id
            keys = [{"person": row.id, "key": key_of(row.email)} for row in some]
            there.execute(set_key, keys)


def upgrade() -> None:
    _set_keys(_folded)


def downgrade() -> None:
    _set_keys(str.lower)

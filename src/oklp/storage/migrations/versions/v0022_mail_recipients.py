"""Mails are listed by whom they went to whatever the case of the address, as people are found by it."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

BATCH = 1_000


def _folded(email: str) -> str:
    return "".join(one if len(one := letter.casefold()) == 1 else letter.lower() for letter in email)


def upgrade() -> None:
    there = op.get_bind()
    op.add_column("mails", sa.Column("recipient_key", sa.Text(), nullable=False, server_default=""))
    mails = sa.table("mails", sa.column("id"), sa.column("recipient", sa.Text()), sa.column("recipient_key"))
    # Both databases make the keys of addresses in ASCII, which most are, and at once.
    there.execute(mails.update().values(recipient_key=sa.func.lower(mails.c.recipient)))
    octets = (
        sa.func.octet_length(mails.c.recipient)
        if there.dialect.name == "postgresql"
        else sa.func.length(sa.cast(mails.c.recipient, sa.LargeBinary()))
    )
    beyond_ascii = sa.select(mails).where(octets != sa.func.length(mails.c.recipient)).order_by(mails.c.id)
    set_key = mails.update().where(mails.c.id == sa.bindparam("mail")).values(recipient_key=sa.bindparam("key"))
    last = ""
    while some := there.execute(beyond_ascii.where(mails.c.id > last).limit(BATCH)).all():
        last = some[-1].id
        there.execute(set_key, [{"mail": row.id, "key": _folded(row.recipient)} for row in some])
    op.create_index("ix_mails_recipient", "mails", ["recipient_key"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_mails_recipient", table_name="mails")
    op.drop_column("mails", "recipient_key")

"""Second factors: authenticator apps, recovery codes, passkeys, and log-ins that wait for their second step."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

KINDS = "kind IN ('player', 'member', 'operator')"


def _tickets() -> None:
    """A further purpose. SQLite changes no constraint of a table, so that it is made anew, with what is in it."""
    op.execute("CREATE TABLE tickets_kept AS SELECT * FROM tickets")
    op.drop_table("tickets")
    op.create_table(
        "tickets",
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(KINDS, name=op.f("ck_tickets_kind")),
        sa.CheckConstraint(
            "purpose IN ('password-reset', 'email-verification', 'second-factor')", name=op.f("ck_tickets_purpose")
        ),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_tickets")),
    )
    op.create_index(op.f("ix_tickets_expires_at"), "tickets", ["expires_at"], unique=False)
    op.create_index("ix_tickets_subject", "tickets", ["subject_id"], unique=False)
    op.execute(
        "INSERT INTO tickets (token_hash, purpose, kind, subject_id, email, created_at, expires_at)"
        " SELECT token_hash, purpose, kind, subject_id, email, created_at, expires_at FROM tickets_kept"
    )
    op.drop_table("tickets_kept")


def upgrade() -> None:
    for table in ("players", "members", "operators"):
        op.add_column(table, sa.Column("second_factor", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    _tickets()
    op.create_table(
        "challenges",
        sa.Column("challenge_hash", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("person_id", sa.Text(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(KINDS, name=op.f("ck_challenges_kind")),
        sa.CheckConstraint("purpose IN ('registration', 'log-in', 'second-step')", name=op.f("ck_challenges_purpose")),
        sa.PrimaryKeyConstraint("challenge_hash", name=op.f("pk_challenges")),
    )
    op.create_index(op.f("ix_challenges_expires_at"), "challenges", ["expires_at"], unique=False)
    op.create_table(
        "passkeys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("person_id", sa.Text(), nullable=False),
        sa.Column("credential_id", sa.Text(), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(KINDS, name=op.f("ck_passkeys_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_passkeys")),
        sa.UniqueConstraint("credential_id", name=op.f("uq_passkeys_credential_id")),
    )
    op.create_index(op.f("ix_passkeys_person_id"), "passkeys", ["person_id"], unique=False)
    op.create_table(
        "recovery_codes",
        sa.Column("person_id", sa.Text(), nullable=False),
        sa.Column("code_hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("person_id", "code_hash", name=op.f("pk_recovery_codes")),
    )
    op.create_table(
        "totp",
        sa.Column("person_id", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        sa.Column("confirmed_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("person_id", name=op.f("pk_totp")),
    )

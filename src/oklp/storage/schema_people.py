"""The tables about people: who they are, how they prove it, and what they are written."""

from __future__ import annotations

import sqlalchemy as sa

from oklp.storage.schema_base import KINDS, Int, Serial, Text, metadata, one_of

members = sa.Table(
    "members",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("studio_id", Text, sa.ForeignKey("studios.id"), nullable=False, index=True),
    sa.Column("username", Text, nullable=False),
    sa.Column("username_key", Text, nullable=False, unique=True),
    sa.Column("email", Text, nullable=False),
    sa.Column("password_hash", Text, nullable=False),
    sa.Column("role", Text, nullable=False),
    sa.Column("created_at", Int, nullable=False),
    sa.Column("email_verified_at", Int),
    # True: a password alone opens no session. Kept true to the factors by whoever adds or removes one.
    sa.Column("second_factor", sa.Boolean, nullable=False, server_default=sa.text("false")),
    sa.Column("email_key", Text, nullable=False, server_default=""),
    one_of("role", "owner", "developer", "viewer"),
)

operators = sa.Table(
    "operators",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("username", Text, nullable=False),
    sa.Column("username_key", Text, nullable=False, unique=True),
    sa.Column("email", Text, nullable=False, server_default=""),
    sa.Column("password_hash", Text, nullable=False),
    sa.Column("created_at", Int, nullable=False),
    sa.Column("email_verified_at", Int),
    # True: a password alone opens no session. Kept true to the factors by whoever adds or removes one.
    sa.Column("second_factor", sa.Boolean, nullable=False, server_default=sa.text("false")),
    sa.Column("role", Text, nullable=False),
    sa.Column("status", Text, nullable=False),
    sa.Column("email_key", Text, nullable=False, server_default=""),
    one_of("role", "support", "finance", "admin"),
    one_of("status", "active", "suspended"),
)

players = sa.Table(
    "players",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("username", Text, nullable=False),
    sa.Column("username_key", Text, nullable=False, unique=True),
    sa.Column("email", Text, nullable=False),
    sa.Column("password_hash", Text, nullable=False),
    sa.Column("date_of_birth", Text, nullable=False),
    sa.Column("country", Text, nullable=False),
    sa.Column("status", Text, nullable=False),
    sa.Column("status_reason", Text),
    sa.Column("verified", sa.Boolean, nullable=False),
    sa.Column("created_at", Int, nullable=False),
    sa.Column("email_verified_at", Int),
    sa.Column("private_results", sa.Boolean, nullable=False, server_default=sa.text("false")),
    sa.Column("language", Text, nullable=False, server_default="en"),  # of mails
    # True: a password alone opens no session. Kept true to the factors by whoever adds or removes one.
    sa.Column("second_factor", sa.Boolean, nullable=False, server_default=sa.text("false")),
    sa.Column("email_key", Text, nullable=False, server_default=""),
    one_of("status", "active", "suspended"),
)
# Whoever forgot his name is found by his address, of which the case does not count: storage.players makes the key.
for _people in (players, members, operators):
    sa.Index(f"ix_{_people.name}_email", _people.c.email_key)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("token_hash", Text, primary_key=True),
    sa.Column("kind", Text, nullable=False),
    sa.Column("subject_id", Text, nullable=False),
    sa.Column("created_at", Int, nullable=False),
    sa.Column("expires_at", Int, nullable=False, index=True),
    # Where from and with what: for its owner, who looks for sessions that are not his.
    sa.Column("address", Text),
    sa.Column("user_agent", Text),
    one_of("kind", *KINDS),
    sa.Index("ix_sessions_subject", "subject_id"),
)

tickets = sa.Table(
    "tickets",
    metadata,
    sa.Column("token_hash", Text, primary_key=True),
    sa.Column("purpose", Text, nullable=False),
    sa.Column("kind", Text, nullable=False),
    sa.Column("subject_id", Text, nullable=False),
    sa.Column("email", Text),  # the address that whoever brings the token has proved to be his
    sa.Column("created_at", Int, nullable=False),
    sa.Column("expires_at", Int, nullable=False, index=True),
    one_of("purpose", "password-reset", "email-verification", "second-factor"),
    one_of("kind", *KINDS),
    sa.Index("ix_tickets_subject", "subject_id"),
)

totp = sa.Table(
    "totp",
    metadata,
    sa.Column("person_id", Text, primary_key=True),
    sa.Column("secret", Text, nullable=False),  # encrypted
    sa.Column("last_step", Int, nullable=False),  # of the last code that was used: none is taken twice
    sa.Column("confirmed_at", Int),
    sa.Column("created_at", Int, nullable=False),
)

recovery_codes = sa.Table(
    "recovery_codes",
    metadata,
    sa.Column("person_id", Text, primary_key=True),
    sa.Column("code_hash", Text, primary_key=True),
)

passkeys = sa.Table(
    "passkeys",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("kind", Text, nullable=False),
    sa.Column("person_id", Text, nullable=False, index=True),
    sa.Column("credential_id", Text, nullable=False, unique=True),
    sa.Column("public_key", Text, nullable=False),
    sa.Column("sign_count", Int, nullable=False),
    sa.Column("name", Text, nullable=False),
    sa.Column("created_at", Int, nullable=False),
    sa.Column("last_used_at", Int),
    one_of("kind", *KINDS),
)

challenges = sa.Table(
    "challenges",
    metadata,
    sa.Column("challenge_hash", Text, primary_key=True),
    sa.Column("purpose", Text, nullable=False),
    sa.Column("kind", Text, nullable=False),
    sa.Column("person_id", Text),
    sa.Column("expires_at", Int, nullable=False, index=True),
    one_of("purpose", "registration", "log-in", "second-step"),
    one_of("kind", *KINDS),
)

mails = sa.Table(
    "mails",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("kind", Text, nullable=False),
    sa.Column("recipient", Text, nullable=False),
    sa.Column("content", Text),  # encrypted JSON: it holds tokens. Gone once it is over, but in the sandbox
    sa.Column("state", Text, nullable=False),
    sa.Column("attempts", Int, nullable=False),
    sa.Column("next_attempt_at", Int),
    sa.Column("give_up_at", Int, nullable=False),
    sa.Column("created_at", Int, nullable=False),
    sa.Column("sent_at", Int),
    sa.Column("last_error", Text),
    sa.Column("recipient_key", Text, nullable=False, server_default=""),  # by which it is looked for: see players
    sa.Column("about", Text),  # a player, of mails about him that go in turn and may be withdrawn
    # True: an attempt ended without an answer, so that it may have been taken.
    sa.Column("uncertain", sa.Boolean, nullable=False, server_default=sa.text("false")),
    one_of("state", "asked", "waiting", "sent", "failed"),
    sa.CheckConstraint("(state IN ('asked', 'waiting')) = (next_attempt_at IS NOT NULL)", name="due_while_waiting"),
    sa.Index("ix_mails_order", "created_at", "id"),
    sa.Index("ix_mails_recipient", "recipient_key"),
)
sa.Index(
    "ix_mails_due",
    mails.c.next_attempt_at,
    postgresql_where=mails.c.next_attempt_at.is_not(None),
    sqlite_where=mails.c.next_attempt_at.is_not(None),
)
sa.Index(
    "ix_mails_about",
    mails.c.about,
    postgresql_where=mails.c.about.is_not(None),
    sqlite_where=mails.c.about.is_not(None),
)

login_failures = sa.Table(
    "login_failures",
    metadata,
    sa.Column("id", Serial, primary_key=True),
    sa.Column("key", Text, nullable=False),
    sa.Column("at", Int, nullable=False),
    sa.Index("ix_login_failures_key_at", "key", "at"),
)

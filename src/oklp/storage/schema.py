"""Every table, with the CHECKs and UNIQUEs that make a wrong row impossible.

Times (`*_at`, `*_until`) are integer milliseconds since the epoch, UTC. Money is integer minor units. JSON is text: it
is written and read whole, and never queried. `tx_number` orders rows by the commit that wrote them (see `engine`).
"""

from __future__ import annotations

import sqlalchemy as sa

from oklp.storage.schema_base import Int, Serial, Text, one_of
from oklp.storage.schema_base import metadata as metadata
from oklp.storage.schema_people import (
    challenges as challenges,
)
from oklp.storage.schema_people import (
    login_failures as login_failures,
)
from oklp.storage.schema_people import (
    mails as mails,
)
from oklp.storage.schema_people import (
    members as members,
)
from oklp.storage.schema_people import (
    operators as operators,
)
from oklp.storage.schema_people import (
    passkeys as passkeys,
)
from oklp.storage.schema_people import (
    players as players,
)
from oklp.storage.schema_people import (
    recovery_codes as recovery_codes,
)
from oklp.storage.schema_people import (
    sessions as sessions,
)
from oklp.storage.schema_people import (
    tickets as tickets,
)
from oklp.storage.schema_people import (
    totp as totp,
)

platform = sa.Table(
    "platform",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("sandbox", sa.Boolean, nullable=False),
    sa.Column("secret_check", Text),
    # Of the server that started last: what commands put into developer configs.
    sa.Column("public_url", Text),
    sa.Column("realm", Text),
    # For how long a token of any server so far is good at the most: a retired key verifies for that long.
    sa.Column("token_seconds", Int),
    sa.Column("tx_number_offset", Int, nullable=False, server_default="0"),
    sa.Column("created_at", Int, nullable=False),
    sa.CheckConstraint("id = 1", name="single"),
)

operations = sa.Table(
    "operations",
    metadata,
    sa.Column("number", Int, primary_key=True, autoincrement=False),
    sa.Column("id", Text, nullable=False, unique=True),
    sa.Column("at", Int, nullable=False),
)

studios = sa.Table(
    "studios",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("name", Text, nullable=False),
    sa.Column("created_at", Int, nullable=False),
    # Operators look for a studio by its name, of which the case does not count: SQLite knows that of ASCII alone.
    sa.Column("name_key", Text, nullable=False, server_default=""),
)
sa.Index("ix_studios_name", studios.c.name_key)

signing_keys = sa.Table(
    "signing_keys",
    metadata,
    sa.Column("kid", Text, primary_key=True),
    sa.Column("private_key", Text, nullable=False),  # encrypted PEM
    sa.Column("public_key", Text, nullable=False),  # base64 of the DER SubjectPublicKeyInfo
    sa.Column("created_at", Int, nullable=False),
    sa.Column("retired_at", Int),
    sa.Column("expires_at", Int),
)

games = sa.Table(
    "games",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("studio_id", Text, sa.ForeignKey("studios.id"), nullable=False, index=True),
    sa.Column("name", Text, nullable=False),
    sa.Column("webhook_url", Text),
    sa.Column("launch_urls", Text, nullable=False),  # JSON: platform → template
    sa.Column("settings", Text, nullable=False),  # JSON of contract.GameSettings
    sa.Column("vetting", Text, nullable=False),
    sa.Column("vetting_reason", Text),
    sa.Column("vetting_by", Text),
    sa.Column("vetting_at", Int),
    sa.Column("created_at", Int, nullable=False),
    # The sandbox: while somebody listens, deliveries are handed to that listener (services/listening.py).
    sa.Column("listener_id", Text),
    sa.Column("listener_by", Text),
    sa.Column("listener_until", Int),
    sa.Column("conformance", Text),  # JSON of contract.ConformanceSummary: the newest report
    sa.Column("name_key", Text, nullable=False, server_default=""),  # as that of a studio
    one_of("vetting", "draft", "in-review", "approved", "suspended"),
)
sa.Index("ix_games_name", games.c.name_key)
sa.Index(
    "ix_games_in_review",
    games.c.vetting_at,
    games.c.id,
    postgresql_where=games.c.vetting == "in-review",
    sqlite_where=games.c.vetting == "in-review",
)

conformance_reports = sa.Table(
    "conformance_reports",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("game_id", Text, sa.ForeignKey("games.id"), nullable=False),
    sa.Column("submitted_at", Int, nullable=False),
    sa.Column("summary", Text, nullable=False),  # JSON of contract.ConformanceSummary
    sa.Column("report", Text, nullable=False),  # JSON of contract.ConformanceReport
    sa.Index("ix_conformance_reports_game", "game_id", "submitted_at", "id"),
)

game_secrets = sa.Table(
    "game_secrets",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("game_id", Text, sa.ForeignKey("games.id"), nullable=False, index=True),
    sa.Column("kind", Text, nullable=False),
    sa.Column("value", Text, nullable=False),  # client: SHA-256; webhook: encrypted
    sa.Column("created_at", Int, nullable=False),
    sa.Column("expires_at", Int),  # set by a rotation: the end of the overlap
    one_of("kind", "client", "webhook"),
)

matches = sa.Table(
    "matches",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("game_id", Text, sa.ForeignKey("games.id"), nullable=False),
    sa.Column("studio_id", Text, nullable=False),
    sa.Column("status", Text, nullable=False),
    sa.Column("visibility", Text, nullable=False),
    sa.Column("join_code", Text),
    # The rules are those of the game when the match was made: what players agreed to stays.
    sa.Column("mode", Text, nullable=False),
    sa.Column("score_order", Text, nullable=False),
    sa.Column("discovery", Text, nullable=False),
    sa.Column("currency", Text, nullable=False),
    sa.Column("entry_fee", Int, nullable=False),
    sa.Column("fee_bps", Int, nullable=False),
    sa.Column("studio_share_bps", Int, nullable=False),
    sa.Column("prize_shares_bps", Text),  # JSON list
    sa.Column("team_ids", Text, nullable=False),  # JSON list, in team order
    sa.Column("team_size", Int, nullable=False),
    sa.Column("results_due_seconds", Int, nullable=False),
    sa.Column("start_retries", Int, nullable=False),
    sa.Column("start_backoff_seconds", Int, nullable=False),
    sa.Column("created_by", Text, nullable=False),
    sa.Column("created_at", Int, nullable=False),
    sa.Column("starts_by", Int, nullable=False),
    sa.Column("started_at", Int),
    sa.Column("results_due_at", Int),
    sa.Column("finished_at", Int),
    sa.Column("start_delivery_id", Text),
    # Frozen at the last confirmation: [[team_id, [[user_id, seat_id], …]], …].
    sa.Column("roster", Text),
    sa.Column("escrow", Int, nullable=False, server_default="0"),
    sa.Column("result_hash", Text),  # of the accepted result of a synchronous game
    sa.Column("outcome", Text),  # JSON: teams' scores, rankings, forfeits; players' scores; winnings
    sa.Column("abort_reason", Text),
    sa.Column("abort_detail", Text),
    one_of("status", "pending", "starting", "live", "finished", "aborted"),
    one_of("visibility", "private", "public"),
    sa.CheckConstraint("entry_fee >= 0", name="entry_fee_not_negative"),
    sa.CheckConstraint("escrow >= 0", name="escrow_not_negative"),
    sa.CheckConstraint("status NOT IN ('finished', 'aborted') OR escrow = 0", name="escrow_empty_when_over"),
    sa.Index("ix_matches_game", "game_id", "created_at", "id"),
    sa.Index("ix_matches_status", "status", "created_at", "id"),
)
# The oldest of those that are not over: before it, nobody has money in escrow.
sa.Index(
    "ix_matches_open",
    matches.c.id,
    postgresql_where=matches.c.status.in_(["pending", "starting", "live"]),
    sqlite_where=matches.c.status.in_(["pending", "starting", "live"]),
)
sa.Index(
    "ix_matches_starts_by",
    matches.c.starts_by,
    postgresql_where=matches.c.status == "pending",
    sqlite_where=matches.c.status == "pending",
)
sa.Index(
    "ix_matches_results_due_at",
    matches.c.results_due_at,
    postgresql_where=matches.c.status == "live",
    sqlite_where=matches.c.status == "live",
)

seats = sa.Table(
    "seats",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("match_id", Text, sa.ForeignKey("matches.id"), nullable=False),
    sa.Column("user_id", Text, nullable=False),
    sa.Column("team_id", Text, nullable=False),
    sa.Column("slot", Int),  # 0 … team_size - 1 while the seat is taken
    sa.Column("state", Text, nullable=False),
    sa.Column("position", Int, nullable=False),  # order of arrival in the match
    sa.Column("updated_at", Int, nullable=False),
    one_of("state", "invited", "joined", "confirmed", "declined", "left"),
    sa.CheckConstraint("(state IN ('joined', 'confirmed')) = (slot IS NOT NULL)", name="slot_while_taken"),
    sa.UniqueConstraint("match_id", "position"),
    sa.Index("ix_seats_user", "user_id", "match_id"),
)
# The last seat cannot be taken twice, nor two seats by one player, whatever the code above believes.
sa.Index(
    "uq_seats_slot",
    seats.c.match_id,
    seats.c.team_id,
    seats.c.slot,
    unique=True,
    postgresql_where=seats.c.slot.is_not(None),
    sqlite_where=seats.c.slot.is_not(None),
)
sa.Index(
    "uq_seats_active",
    seats.c.match_id,
    seats.c.user_id,
    unique=True,
    postgresql_where=seats.c.state.in_(["invited", "joined", "confirmed"]),
    sqlite_where=seats.c.state.in_(["invited", "joined", "confirmed"]),
)

match_tokens = sa.Table(
    "match_tokens",
    metadata,
    sa.Column("token_hash", Text, primary_key=True),
    sa.Column("match_id", Text, nullable=False, index=True),
    sa.Column("user_id", Text, nullable=False),
    sa.Column("game_id", Text, nullable=False),
    sa.Column("created_at", Int, nullable=False),
    sa.Column("expires_at", Int, nullable=False, index=True),
    sa.Column("asked_at", Int),  # by the game, for the first time that is known of
)

results = sa.Table(
    "results",
    metadata,
    sa.Column("match_id", Text, primary_key=True),
    sa.Column("user_id", Text, primary_key=True),  # empty: the whole match (synchronous games, operators)
    sa.Column("submission", Int, primary_key=True),
    sa.Column("score", Int),
    sa.Column("body", Text, nullable=False),
    sa.Column("body_hash", Text, nullable=False),
    sa.Column("received_at", Int, nullable=False),
    sa.CheckConstraint("submission >= 1", name="submission"),
)

refused_results = sa.Table(
    "refused_results",
    metadata,
    sa.Column("id", Serial, primary_key=True),
    sa.Column("match_id", Text, nullable=False),
    sa.Column("body_hash", Text, nullable=False),
    sa.Column("body", Text, nullable=False),
    sa.Column("reason", Text, nullable=False),
    sa.Column("received_at", Int, nullable=False),
    sa.UniqueConstraint("match_id", "body_hash"),
)

postings = sa.Table(
    "postings",
    metadata,
    sa.Column("seq", Serial, primary_key=True),
    sa.Column("set_id", Text, nullable=False),
    sa.Column("n", Int, nullable=False),  # which of the set …
    sa.Column("of", Int, nullable=False),  # … of how many: a set that lost a row shows it
    sa.Column("account", Text, nullable=False),
    sa.Column("currency", Text, nullable=False),
    sa.Column("amount", Int, nullable=False),
    sa.Column("at", Int, nullable=False),
    sa.Column("tx_number", Int, nullable=False),
    sa.UniqueConstraint("set_id", "n"),
    sa.CheckConstraint("amount <> 0", name="amount"),
    sa.CheckConstraint('n >= 0 AND n < "of" AND "of" >= 2', name="whole"),
    sa.Index("ix_postings_account", "account", "tx_number", "seq"),
    sqlite_autoincrement=True,
)

balances = sa.Table(
    "balances",
    metadata,
    sa.Column("user_id", Text, primary_key=True),
    sa.Column("currency", Text, primary_key=True),
    sa.Column("balance", Int, nullable=False),
    sa.Column(
        "held", sa.Boolean, nullable=False, server_default=sa.text("false")
    ),  # winnings are held: player suspended
    sa.CheckConstraint("balance >= 0", name="not_negative"),
)

rollups = sa.Table(
    "rollups",
    metadata,
    sa.Column("account", Text, primary_key=True),
    sa.Column("currency", Text, primary_key=True),
    sa.Column("balance", Int, nullable=False),
    sa.Column("below_tx_number", Int, nullable=False),
)

held_winnings = sa.Table(
    "held_winnings",
    metadata,
    sa.Column("match_id", Text, primary_key=True),
    sa.Column("user_id", Text, primary_key=True),
    sa.Column("amount", Int, nullable=False),
    sa.Column("currency", Text, nullable=False),
    sa.Column("state", Text, nullable=False),
    one_of("state", "held", "released", "confiscated"),
    sa.Index("ix_held_winnings_user", "user_id"),
)

payments = sa.Table(
    "payments",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("user_id", Text, nullable=False),
    sa.Column("kind", Text, nullable=False),
    sa.Column("provider", Text, nullable=False, index=True),
    sa.Column("amount", Int, nullable=False),
    sa.Column("currency", Text, nullable=False),
    sa.Column("created_at", Int, nullable=False),
    one_of("kind", "deposit", "withdrawal"),
    sa.CheckConstraint("amount > 0", name="amount"),
    sa.Index("ix_payments_user", "user_id", "created_at", "id"),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("game_id", Text, nullable=False),
    sa.Column("match_id", Text),
    sa.Column("event", Text, nullable=False),
    sa.Column("method", Text, nullable=False),
    sa.Column("url", Text, nullable=False),
    sa.Column("body", Text, nullable=False),
    sa.Column("state", Text, nullable=False),
    sa.Column("attempts", Int, nullable=False),
    sa.Column("attempts_left", Int, nullable=False),
    sa.Column("next_attempt_at", Int),
    sa.Column("give_up_at", Int, nullable=False),
    sa.Column("maybe_received", sa.Boolean, nullable=False),  # the game may know of it: an abort needs a DELETE
    sa.Column("lease_owner", Text),
    sa.Column("lease_until", Int),
    sa.Column("created_at", Int, nullable=False),
    sa.Column("last_status", Int),
    sa.Column("last_error", Text),
    one_of("event", "match.started", "match.aborted", "test"),
    one_of("state", "waiting", "sending", "delivered", "failed"),
    sa.CheckConstraint("(state = 'sending') = (lease_until IS NOT NULL)", name="lease_while_sending"),
    sa.Index("ix_deliveries_game", "game_id", "created_at", "id"),
    sa.Index("ix_deliveries_match", "match_id"),
)
sa.Index(
    "ix_deliveries_due",
    deliveries.c.next_attempt_at,
    postgresql_where=deliveries.c.state == "waiting",
    sqlite_where=deliveries.c.state == "waiting",
)
sa.Index(
    "ix_deliveries_failed",
    deliveries.c.created_at,
    deliveries.c.id,
    postgresql_where=deliveries.c.state == "failed",
    sqlite_where=deliveries.c.state == "failed",
)
sa.Index(
    "ix_deliveries_lease",
    deliveries.c.lease_until,
    postgresql_where=deliveries.c.state == "sending",
    sqlite_where=deliveries.c.state == "sending",
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("delivery_id", Text, primary_key=True),
    sa.Column("attempt", Int, primary_key=True),
    sa.Column("started_at", Int, nullable=False),
    sa.Column("url", Text, nullable=False),
    sa.Column("duration_ms", Int),
    sa.Column("request_headers", Text),
    sa.Column("status", Int),
    sa.Column("response_headers", Text),
    sa.Column("response_body", Text),
    sa.Column("error", Text),
    sa.Column("fault", Text),  # the kind of the fault that was injected into it
)

faults = sa.Table(
    "faults",
    metadata,
    sa.Column("id", Serial, primary_key=True),  # the order in which they strike
    sa.Column("game_id", Text, sa.ForeignKey("games.id"), nullable=False),
    sa.Column("kind", Text, nullable=False),
    sa.Column("point", Text, nullable=False),
    sa.Column("options", Text, nullable=False),
    sa.Column("times", Int, nullable=False),
    sa.Column("fired", Int, nullable=False),
    sa.Column("created_by", Text, nullable=False),
    sa.Column("created_at", Int, nullable=False),
    sa.Column("last_fired_at", Int),
    sa.CheckConstraint("fired BETWEEN 0 AND times", name="fired"),
    sa.Index("ix_faults_game", "game_id", "id"),
    sqlite_autoincrement=True,
)

relays = sa.Table(
    "relays",
    metadata,
    sa.Column("delivery_id", Text, primary_key=True),
    sa.Column("attempt", Int, primary_key=True),
    sa.Column("copy", Int, primary_key=True),  # injected faults send some attempts twice
    sa.Column("game_id", Text, nullable=False),
    sa.Column("listener_id", Text, nullable=False),  # who was listening when it was to be sent
    sa.Column("headers", Text, nullable=False),  # JSON, without the next
    sa.Column("authorization", Text),  # encrypted, and gone once the relay is over
    sa.Column("created_at", Int, nullable=False),
    sa.Column("expires_at", Int, nullable=False),
    sa.Column("handed_at", Int),  # before the first byte left for a listener
    sa.Column("answer", Text),  # JSON of contract.ForwardedAnswer
    sa.Column("closed_at", Int),
    sa.CheckConstraint('closed_at IS NULL OR "authorization" IS NULL', name="no_authorization_kept"),
    sa.Index("ix_relays_game", "game_id"),
)

calls = sa.Table(
    "calls",
    metadata,
    sa.Column("id", Serial, primary_key=True),
    sa.Column("tx_number", Int, nullable=False),
    sa.Column("at", Int, nullable=False, index=True),
    sa.Column("game_id", Text, nullable=False),
    sa.Column("kind", Text, nullable=False),
    sa.Column("method", Text, nullable=False),
    sa.Column("path", Text, nullable=False),
    sa.Column("status", Int),
    sa.Column("duration_us", Int, nullable=False),
    sa.Column("reference", Text, nullable=False),  # of a call its request's id, of a delivery its own
    sa.Column("match_id", Text),
    sa.Column("code", Text),
    sa.Column("detail", Text),
    one_of("kind", "call", "delivery", "left-out"),
    sa.Index("ix_calls_game", "game_id", "tx_number", "id"),
    sqlite_autoincrement=True,
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("seq", Serial, primary_key=True),
    sa.Column("tx_number", Int, nullable=False),
    sa.Column("kind", Text, nullable=False),  # over: a match ended, and its players' wallets changed with it
    sa.Column("match_id", Text),
    sa.Column("user_id", Text),  # set: for this player alone; else for everyone in the match
    sa.Column("at", Int, nullable=False),
    one_of("kind", "invitation", "match", "notification", "over", "wallet"),
    sa.Index("ix_events_order", "tx_number", "seq"),
    sa.Index("ix_events_match", "match_id", "tx_number"),
    sqlite_autoincrement=True,
)
sa.Index(
    "ix_events_user",
    events.c.user_id,
    events.c.tx_number,
    postgresql_where=events.c.user_id.is_not(None),
    sqlite_where=events.c.user_id.is_not(None),
)

idempotency = sa.Table(
    "idempotency",
    metadata,
    sa.Column("caller", Text, primary_key=True),
    sa.Column("route", Text, primary_key=True),
    sa.Column("key", Text, primary_key=True),
    sa.Column("body_hash", Text, nullable=False),
    sa.Column("status", Int, nullable=False),
    sa.Column("answer", Text, nullable=False),
    sa.Column("created_at", Int, nullable=False, index=True),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", Serial, primary_key=True),
    sa.Column("at", Int, nullable=False),
    sa.Column("actor", Text, nullable=False),
    sa.Column("action", Text, nullable=False),
    sa.Column("subject", Text, nullable=False),
    sa.Column("reason", Text),
    sa.Column("detail", Text, nullable=False),
    sa.Index("ix_audit_subject", "subject", "id"),
    sqlite_autoincrement=True,
)

# The tables of other rooms belong to the same metadata.
import oklp.storage.schema_proposals  # noqa: E402
import oklp.storage.schema_records  # noqa: E402, F401

"""What the worker looks for, and what is only kept for a while."""

from __future__ import annotations

from typing import NamedTuple

from oklp.domain import matches as rules
from oklp.services import listening
from oklp.settings import Settings
from oklp.storage import (
    calls,
    events,
    factors,
    games,
    ledger,
    mails,
    matches,
    notices,
    proposals,
    relays,
    tickets,
    webhooks,
)
from oklp.storage.engine import Tx

DAY_MS = 24 * 3_600_000
OPERATIONS_KEPT_MS = 3_600_000
AT_ONCE = 5_000  # rows of a log
TOKENS_KEPT_MS = 30 * DAY_MS  # beyond their end: who went to play is asked when a result is disputed
NOTICES_KEPT_MS = 180 * 24 * 3_600_000
MAILS_KEPT_MS = 30 * 24 * 3_600_000  # less than notices, which say what was mailed: an id of a mail never comes twice


class Agenda(NamedTuple):
    """What is due now; `lag_ms` is how late the latest of it is, `next_at` when the next thing will be due."""

    due: bool
    lapsed: bool
    unstarted: bool
    unreported: bool
    lag_ms: int
    next_at: int | None


def agenda(tx: Tx, now: int) -> Agenda:
    """Four look-ups in partial indexes: cheap enough for every second."""
    due, lapsed = webhooks.earliest(tx)
    unstarted, unreported = (matches.earliest_deadline(tx, status) for status in (rules.PENDING, rules.LIVE))
    times = (due, lapsed, unstarted, unreported)
    late = [now - at for at in times if at is not None and at <= now]
    is_due = [at is not None and at <= now for at in times]
    coming = [at for at in times if at is not None and at > now]
    return Agenda(is_due[0], is_due[1], is_due[2], is_due[3], max(late, default=0), min(coming, default=None))


def sweep(tx: Tx, settings: Settings, now: int) -> bool:
    """Drop what is kept long enough; True while there may be more of it.

    By one node at a time: two that delete many of the same rows may each wait for the other.
    """
    if not games.platform_is_free(tx):
        return False
    events.sweep(
        tx,
        idempotency_before=now - settings.idempotency_seconds * 1000,
        failures_before=now - max(settings.login_window_seconds * 1000, DAY_MS),
        now=now,
    )
    logs = (
        events.sweep_events(tx, now - settings.event_retention_seconds * 1000, AT_ONCE),
        events.sweep_operations(tx, now - OPERATIONS_KEPT_MS, AT_ONCE),
        calls.sweep(tx, now - settings.call_log_seconds * 1000, AT_ONCE),
        matches.sweep_tokens(tx, now - TOKENS_KEPT_MS, AT_ONCE),
    )
    relays.sweep(tx, now - listening.KEPT_MS)
    tickets.sweep(tx, now)
    factors.sweep(tx, now)
    mails.sweep(tx, now - MAILS_KEPT_MS)
    proposals.expire(tx, now)
    notices.sweep(tx, now - NOTICES_KEPT_MS)
    return any(logs)


def accounts(tx: Tx) -> list[str]:
    """Accounts whose balance is a sum."""
    return ledger.house_accounts(tx)


def roll_up(tx: Tx, account: str) -> None:
    ledger.roll_up(tx, account)

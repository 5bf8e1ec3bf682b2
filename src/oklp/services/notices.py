"""Notifications of players: made from the event log, as their results are (services.records)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from oklp import contract
from oklp.domain import matches as rules
from oklp.services import choices, mail_texts, mails, views
from oklp.services.vault import Vault
from oklp.settings import Settings
from oklp.storage import events
from oklp.storage import ledger as ledger_store
from oklp.storage import matches as match_store
from oklp.storage import notices as store
from oklp.storage.engine import Tx
from oklp.storage.records import Kept
from oklp.storage.tx import Row

MOST_UNREAD = 100
MAILS = uuid.UUID("6a5f1b0e-3f0c-4d8e-9a55-2f6d1c7b8e90")  # ids of mails are made from what they tell of


class Posting(NamedTuple):
    """What mails are made with."""

    settings: Settings
    vault: Vault
    now: int


ALL_FORFEITED = "all-forfeited"
# Reasons of a refund that mails have words of their own for.
REFUNDS = {"game-refused": "refused", ALL_FORFEITED: "forfeited"}


class Notice(NamedTuple):
    """A row of its table. `occasion` is what it tells of: nobody is told twice."""

    user_id: str
    occasion: str
    kind: str
    match_id: str
    amount: int | None
    currency: str | None
    reason: str | None
    at: int


def tell(
    tx: Tx,
    posting: Posting,
    rows: Sequence[Row],
    shown: Mapping[str, Row],
    results: Mapping[tuple[str, str], Kept],
) -> None:
    """What events mean to players. `shown` are their matches, `results` those of matches that are over, by player."""
    aborted = [match.id for match in shown.values() if match.status == rules.ABORTED]
    seats = match_store.seats(tx, aborted) if aborted else {}
    # Whose winnings may be held, and about whose an operator may have decided.
    paid = {user for (_, user), result in results.items() if result.won}
    paid |= {row.user_id for row in rows if row.kind == "wallet"}
    held = ledger_store.held_of(tx, paid) if paid else ()
    found: dict[tuple[str, str], Notice] = {}
    for row in rows:
        if row.tx_number == 0:
            continue  # a match of before there were notifications
        for notice in _of(row, shown, seats, results, held):
            found.setdefault((notice.user_id, notice.occasion), notice)
    told = store.known(tx, found)
    new = [notice for key, notice in found.items() if key not in told]
    if not new:
        return
    chosen = choices.of(tx, {notice.user_id for notice in new})
    wanted = {notice: chosen.of(notice.user_id, choices.TOPIC_OF[notice.kind]) for notice in new}
    # What nobody wants to see on the site is kept as read, so that it is told by mail once.
    store.insert(
        tx, [(*notice, not choice.on_site, None if choice.on_site else notice.at) for notice, choice in wanted.items()]
    )
    at_of = {notice.user_id: notice.at for notice, choice in wanted.items() if choice.on_site}
    events.insert(tx, [("notification", None, user, at) for user, at in at_of.items()])
    _post(tx, posting, [notice for notice, choice in wanted.items() if choice.by_mail])


def _post(tx: Tx, posting: Posting, new: Sequence[Notice]) -> None:
    """Into the outbox of mails, for whoever has proved an address. A rerun makes the same mails."""
    settings, vault, now = posting
    people = store.reachable(tx, {notice.user_id for notice in new}) if new else {}
    for notice in new:
        person = people.get(notice.user_id)
        if person is None:
            continue
        token = choices.leave_token(vault, notice.user_id, choices.TOPIC_OF[notice.kind])
        values = {
            "language": person.language,
            "told": REFUNDS.get(notice.reason or "", notice.kind) if notice.kind == "refunded" else notice.kind,
            "username": person.username,
            "amount": str(notice.amount or ""),
            "currency": notice.currency or settings.currency,
            "link": mails.link(settings, "player", f"matches/{notice.match_id}"),
            "settings": mails.link(settings, "player", "settings/notifications"),
            "unsubscribe": mails.link(settings, "player", "unsubscribe", token=token),
        }
        mail_id = str(uuid.uuid5(MAILS, f"{notice.user_id} {notice.occasion}"))
        mails.post(tx, vault, mail_id, mail_texts.NOTIFICATION, person.email, values, now)


def _of(
    row: Row,
    shown: Mapping[str, Row],
    seats: Mapping[str, Sequence[Row]],
    results: Mapping[tuple[str, str], Kept],
    held: Sequence[Row],
) -> list[Notice]:
    if row.kind == "wallet":
        return [
            Notice(row.user_id, f"{h.state}:{h.match_id}", h.state, h.match_id, h.amount, h.currency, None, row.at)
            for h in held
            if h.user_id == row.user_id and h.state in store.DECISIONS
        ]
    match = shown.get(row.match_id)
    if match is None:
        return []
    if row.kind == "invitation":
        open_still = match.status == rules.PENDING
        money = (match.entry_fee, match.currency)
        occasion = f"invited:{match.id}:{row.seq}"
        return [Notice(row.user_id, occasion, "invited", match.id, *money, None, row.at)] if open_still else []
    if match.status == rules.LIVE:
        users = [user for _, members in json.loads(match.roster) for user, _ in members]
        return [Notice(user, f"began:{match.id}", "began", match.id, None, None, None, row.at) for user in users]
    if match.status == rules.FINISHED:
        return _results(match, results, held, row.at)
    if match.status == rules.ABORTED:
        return _called_off(match, seats.get(match.id, ()), row.at)
    return []


def _results(match: Row, results: Mapping[tuple[str, str], Kept], held: Sequence[Row], at: int) -> list[Notice]:
    notices = []
    for user in (user for _, members in json.loads(match.roster) for user, _ in members):
        result = results[match.id, user]
        if match.entry_fee and not result.paid:  # all have forfeited
            money = (match.entry_fee, match.currency)
            notices.append(Notice(user, f"over:{match.id}", "refunded", match.id, *money, ALL_FORFEITED, at))
            continue
        is_held = result.won and any((h.match_id, h.user_id) == (match.id, user) for h in held)
        kind = "held" if is_held else result.verdict
        notices.append(Notice(user, f"over:{match.id}", kind, match.id, result.won, match.currency, None, at))
    return notices


def _called_off(match: Row, seats: Sequence[Row], at: int) -> list[Notice]:
    """Whoever had paid has his money back; whoever had joined is told as well."""
    taken = {seat.user_id: seat.state for seat in seats if seat.state in rules.TAKEN}
    return [
        Notice(
            user,
            f"over:{match.id}",
            "refunded" if state == rules.CONFIRMED and match.entry_fee else "called-off",
            match.id,
            match.entry_fee if state == rules.CONFIRMED else None,
            match.currency,
            match.abort_reason,
            at,
        )
        for user, state in taken.items()
    ]


# --- looking ---------------------------------------------------------------------------------------------------------


def unread(tx: Tx, user_id: str) -> int:
    """How many were not read yet: MOST_UNREAD at the most."""
    return store.unread(tx, user_id, MOST_UNREAD)


def page(tx: Tx, user_id: str, before: int | None, limit: int) -> tuple[contract.NotificationPage, int | None]:
    """Newest first, and where the rest begins."""
    rows = store.page(tx, user_id, before, limit + 1)
    found = contract.NotificationPage(notifications=[_view(row) for row in rows[:limit]], unread=unread(tx, user_id))
    return found, rows[limit - 1].id if len(rows) > limit else None


def _view(row: Row) -> contract.Notification:
    money = row.amount is not None and row.currency is not None
    return contract.Notification(
        notification_id=str(row.id),
        kind=row.kind,
        match_id=row.match_id,
        amount=contract.Money(amount=row.amount, currency=row.currency) if money else None,
        reason=row.reason,
        created_at=views.when(row.at),
        read=row.read_at is not None,
    )


def mark_read(tx: Tx, user_id: str, upto: int, now: int) -> contract.Unread:
    """All up to the one of this number; what came since stays unread. Other pages of the player are told."""
    store.mark_read(tx, user_id, min(upto, 2**62), now)
    events.insert(tx, [("notification", None, user_id, now)])
    return contract.Unread(unread=unread(tx, user_id))

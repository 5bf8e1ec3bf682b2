"""What players are told live: events in the order of their commits, resumable without a gap (contract section B3)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from oklp import contract
from oklp.domain import matches as rules
from oklp.services import ledger, notices, views
from oklp.settings import Settings
from oklp.storage import events as store
from oklp.storage import matches as match_store
from oklp.storage.engine import Tx, horizon
from oklp.storage.tx import Row

PAGE = 500


class Position(NamedTuple):
    """Where a reader stands: all before this row was seen, and of the row itself all, or its first `seen` events.

    Most rows are one event; the end of a match is two, the wallet and the match.
    """

    tx_number: int
    seq: int
    seen: int | None = None  # None: all

    def __str__(self) -> str:
        return f"{self.tx_number}-{self.seq}" + (f"-{self.seen}" if self.seen is not None else "")

    @classmethod
    def parse(cls, text: str) -> Position | None:
        """From an event id; None when it is none of ours."""
        parts = text.split("-")
        if len(text) >= 40 or not all(part.isascii() and part.isdigit() for part in parts):
            return None
        numbers = [min(int(part), 2**62) for part in parts]
        return cls(*numbers) if len(numbers) in (2, 3) else None

    @property
    def row(self) -> tuple[int, int]:
        """The last row of which nothing is left to see."""
        return (self.tx_number, self.seq if self.seen is None else self.seq - 1)


class Event(NamedTuple):
    """One server-sent event: `id`, `event`, and `data` as JSON."""

    position: Position
    event: str
    data: str


class Heard(NamedTuple):
    """New rows since a position, and whom each concerns."""

    position: Position
    audiences: list[tuple[Position, frozenset[str]]]


def here(tx: Tx) -> Position:
    """The newest position that nothing can be committed before any more."""
    return Position(*store.newest(tx, horizon(tx)))


def heard(tx: Tx, after: Position) -> Heard:
    """What happened since `after`, for a node that has many readers to wake."""
    rows = store.since(tx, after.row, horizon(tx), PAGE)
    members = store.audience(
        tx, sorted({row.match_id for row in rows if row.match_id is not None and row.user_id is None})
    )
    audiences = [
        (
            Position(row.tx_number, row.seq),
            frozenset({row.user_id} if row.user_id is not None else members.get(row.match_id, ())),
        )
        for row in rows
    ]
    return Heard(audiences[-1][0] if audiences else after, audiences)


def since(tx: Tx, settings: Settings, user_id: str, after: Position) -> list[Event]:
    """A player's events after a position, each with the present state of what it is about."""
    rows = store.since_for(tx, user_id, after.row, horizon(tx), PAGE)
    shown = match_store.get(tx, {row.match_id for row in rows if row.match_id is not None}) if rows else {}
    seats = match_store.seats(tx, shown) if shown else {}
    found = []
    for row in rows:
        position = Position(row.tx_number, row.seq)
        paid = row.kind == store.OVER and _had_paid(user_id, seats.get(row.match_id, ()))
        if row.kind == "wallet" or paid:
            # The wallet comes before the match, so that whoever sees the match over can show what it brought.
            at = position._replace(seen=1) if paid else position
            found.append(Event(at, "wallet", ledger.wallet(tx, user_id, settings.currency).model_dump_json()))
        if row.kind == "notification":
            found.append(
                Event(position, row.kind, contract.Unread(unread=notices.unread(tx, user_id)).model_dump_json())
            )
        elif row.kind != "wallet":
            event = "match" if row.kind == store.OVER else row.kind
            found.append(Event(position, event, _match(user_id, row.match_id, shown, seats)))
    return [event for event in found if not _was_seen(event.position, after)]


def _had_paid(user_id: str, seats: Iterable[Row]) -> bool:
    """Only their wallets change with the end of a match."""
    return any(seat.user_id == user_id and seat.state == rules.CONFIRMED for seat in seats)


def _was_seen(position: Position, after: Position) -> bool:
    same_row = position[:2] == after[:2]
    return same_row and position.seen is not None and after.seen is not None and position.seen <= after.seen


def _match(user_id: str, match_id: str, shown: dict[str, Row], seats: dict[str, list[Row]]) -> str:
    match = shown.get(match_id)
    if match is None:
        return json.dumps({"match_id": match_id})
    members = [views.seat(each) for each in seats.get(match.id, [])]
    return views.match_for_player(match, members, user_id).model_dump_json(exclude_none=True)

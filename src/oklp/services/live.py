"""What players are told live: events in the order of their commits, resumable without a gap (contract section B3)."""

from __future__ import annotations

import json
from typing import NamedTuple

from oklp.domain import matches as rules
from oklp.services import ledger, views
from oklp.settings import Settings
from oklp.storage import events as store
from oklp.storage import matches as match_store
from oklp.storage.engine import Tx, horizon
from oklp.storage.tx import Row

PAGE = 500


class Position(NamedTuple):
    """Where a reader stands: everything up to this row was seen."""

    tx_number: int
    seq: int

    def __str__(self) -> str:
        return f"{self.tx_number}-{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Position | None:
        """From an event id; None when it is none of ours."""
        first, _, second = text.partition("-")
        if first.isascii() and first.isdigit() and second.isascii() and second.isdigit() and len(text) < 40:
            return cls(min(int(first), 2**62), min(int(second), 2**62))
        return None


class Event(NamedTuple):
    """One server-sent event: `id`, `event`, and `data` as JSON."""

    position: Position | None  # None: comes with the next one, and is sent again with it
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
    rows = store.since(tx, after, horizon(tx), PAGE)
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
    rows = store.since_for(tx, user_id, after, horizon(tx), PAGE)
    shown = match_store.get(tx, {row.match_id for row in rows if row.match_id is not None}) if rows else {}
    seats = match_store.seats(tx, shown) if shown else {}
    found = []
    for row in rows:
        over = row.kind == "match" and row.match_id in shown and shown[row.match_id].status in rules.OVER
        if over:
            # A match that is over has paid out or refunded: its players' wallets have changed with it.
            found.append(Event(None, "wallet", ledger.wallet(tx, user_id, settings.currency).model_dump_json()))
        data = _data(tx, settings, user_id, row, shown, seats)
        found.append(Event(Position(row.tx_number, row.seq), row.kind, data))
    return found


def _data(
    tx: Tx, settings: Settings, user_id: str, row: Row, shown: dict[str, Row], seats: dict[str, list[Row]]
) -> str:
    if row.kind == "wallet":
        return ledger.wallet(tx, user_id, settings.currency).model_dump_json()
    match = shown.get(row.match_id)
    if match is None:
        return json.dumps({"match_id": row.match_id})
    members = [views.seat(each) for each in seats.get(match.id, [])]
    return views.match_for_player(match, members, user_id).model_dump_json(exclude_none=True)

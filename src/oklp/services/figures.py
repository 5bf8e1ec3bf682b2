"""Figures of a game, for its studio: matches, players and money, altogether and day by day (contract section B4)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta

from oklp import contract
from oklp.domain import matches as rules
from oklp.errors import invalid
from oklp.storage import matches as store
from oklp.storage.engine import Tx
from oklp.storage.matches import DAY_MS, Span
from oklp.storage.tx import Row


def of_game(tx: Tx, game_id: str, since: date | None = None, until: date | None = None) -> contract.GameFigures:
    """Of the days from `since` to `until`, both included, in UTC; None: without an end on that side.

    Matches count on the day on which they were made, money on that on which its match was settled. Raises
    InvalidRequest.
    """
    if since is not None and until is not None and until < since:
        raise invalid("until", "is before since")
    span = Span(_start(since), _end(until))
    counts, people = store.figures(tx, game_id, span)
    return contract.GameFigures(
        game_id=game_id,
        since=since,
        until=until,
        matches={status: counts.get(status, 0) for status in rules.STATUSES},
        players=people,
        money=_money(store.money_of_game(tx, game_id, span)),
        days=_days(tx, game_id, span),
    )


def _start(day: date | None) -> int | None:
    return None if day is None else int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)


def _end(day: date | None) -> int | None:
    start = _start(day)
    return None if start is None else start + DAY_MS


def _money(rows: Iterable[Row]) -> list[contract.CurrencyFigures]:
    sums: dict[str, dict[str, int]] = {}
    for row in rows:
        sums.setdefault(row.currency, {})[row.kind] = int(row.amount)
    return [_of_currency(currency, found) for currency, found in sorted(sums.items())]


def _of_currency(currency: str, sums: Mapping[str, int]) -> contract.CurrencyFigures:
    return contract.CurrencyFigures(
        currency=currency,
        entry_fees=-sums.get("pot", 0),
        prizes=sums.get("prizes", 0),
        fees=sums.get("fees", 0),
        studio_share=sums.get("studio", 0),
    )


def _days(tx: Tx, game_id: str, span: Span) -> list[contract.DayFigures]:
    made = store.made_by_day(tx, game_id, span)
    players = store.players_by_day(tx, game_id, span)
    money: dict[int, list[Row]] = {}
    for row in store.money_by_day(tx, game_id, span):
        money.setdefault(int(row.day), []).append(row)
    return [
        contract.DayFigures(
            day=date(1970, 1, 1) + timedelta(days=day),
            matches=made.get(day, 0),
            players=players.get(day, 0),
            money=_money(money.get(day, ())),
        )
        for day in sorted(made.keys() | money.keys())
    ]


COLUMNS = ("day", "matches", "players", "currency", "entry_fees", "prizes", "fees", "studio_share")


def as_csv(figures: contract.GameFigures) -> str:
    """Day by day, a line for each currency; money in minor units."""
    rows = io.StringIO()
    writer = csv.writer(rows)
    writer.writerow(COLUMNS)
    for each in figures.days:
        head = (each.day.isoformat(), each.matches, each.players)
        for money in each.money:
            writer.writerow((*head, money.currency, money.entry_fees, money.prizes, money.fees, money.studio_share))
        if not each.money:
            writer.writerow((*head, "", 0, 0, 0, 0))
    return rows.getvalue()

"""Matches, seats, tokens, results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from oklp.storage import schema, sets
from oklp.storage.tx import Row, Tx

DAY_MS = 24 * 3_600_000

m = schema.matches
s = schema.seats

# What deciding a result needs to know; the lists of ids and rules are JSON and parsed by the caller.
_RULES = (
    "id, game_id, studio_id, status, mode, score_order, discovery, currency, entry_fee, fee_bps, studio_share_bps,"
    " prize_shares_bps, team_size, escrow, roster, result_hash, start_delivery_id, results_due_at"
)
_SEATS = (
    "SELECT s.id, s.match_id, s.user_id, s.team_id, s.slot, s.state, s.position, p.username"
    " FROM seats s JOIN players p ON p.id = s.user_id WHERE s.match_id {in} ORDER BY s.match_id, s.position"
)


def insert(tx: Tx, **values: Any) -> None:
    tx.execute(m.insert(), values)


def insert_seats(tx: Tx, rows: list[tuple[Any, ...]]) -> None:
    """Rows are (id, match_id, user_id, team_id, slot, state, position, updated_at)."""
    columns = ("id", "match_id", "user_id", "team_id", "slot", "state", "position", "updated_at")
    sets.insert_rows(tx, s, columns, rows)


def update_seats(tx: Tx, rows: list[tuple[Any, ...]]) -> None:
    """Rows are (team_id, slot, state, updated_at, id)."""
    sets.update_rows(tx, s, ("team_id", "slot", "state", "updated_at"), ("id",), rows)


def move_seats(tx: Tx, rows: list[tuple[int, str]]) -> None:
    """Rows are (position, id)."""
    sets.update_rows(tx, s, ("position",), ("id",), rows)


def lock(tx: Tx, match_ids: Iterable[str]) -> dict[str, Row]:
    """Whole matches, locked in id order."""
    rows = sets.select_in(tx, "SELECT * FROM matches WHERE id {in} ORDER BY id FOR UPDATE", sorted(set(match_ids)))
    return {row.id: row for row in rows}


def lock_rules(tx: Tx, match_ids: Iterable[str]) -> dict[str, Row]:
    """As `lock`, with only the columns that deciding a result needs."""
    rows = sets.select_in(
        tx,
        f"SELECT {_RULES} FROM matches WHERE id {{in}} ORDER BY id FOR UPDATE",  # noqa: S608
        sorted(set(match_ids)),
    )
    return {row.id: row for row in rows}


def get(tx: Tx, match_ids: Iterable[str]) -> dict[str, Row]:
    rows = sets.select_in(tx, "SELECT * FROM matches WHERE id {in}", sorted(set(match_ids)))
    return {row.id: row for row in rows}


def seats(tx: Tx, match_ids: Iterable[str]) -> dict[str, list[Row]]:
    """Seats of each match with the players' names, in order of arrival."""
    found: dict[str, list[Row]] = {}
    for row in sets.select_in(tx, _SEATS, sorted(set(match_ids))):
        found.setdefault(row.match_id, []).append(row)
    return found


def update(tx: Tx, match_id: str, **values: Any) -> None:
    tx.execute(m.update().where(m.c.id == match_id).values(**values))


def pay_in(tx: Tx, rows: list[tuple[int, str]]) -> None:
    """Rows are (amount, match_id)."""
    sets.update_rows(tx, m, (), ("id",), rows, adds=("escrow",))


def set_started(tx: Tx, rows: list[tuple[Any, ...]]) -> None:
    """Rows are (status, roster, started_at, results_due_at, start_delivery_id, id)."""
    columns = ("status", "roster", "started_at", "results_due_at", "start_delivery_id")
    sets.update_rows(tx, m, columns, ("id",), rows)


def set_over(tx: Tx, rows: list[tuple[Any, ...]]) -> None:
    """Rows are (status, finished_at, result_hash, outcome, abort_reason, abort_detail, id). Escrow is emptied."""
    columns = ("status", "finished_at", "result_hash", "outcome", "abort_reason", "abort_detail", "escrow")
    sets.update_rows(tx, m, columns, ("id",), [(*row[:-1], 0, row[-1]) for row in rows])


# --- lists -----------------------------------------------------------------------------------------------------------


def _page(statement: sa.Select[Any], before: tuple[int, str] | None, limit: int) -> sa.Select[Any]:
    if before is not None:
        statement = statement.where(sa.tuple_(m.c.created_at, m.c.id) < sa.tuple_(*map(sa.literal, before)))
    return statement.order_by(m.c.created_at.desc(), m.c.id.desc()).limit(limit)


def _has_free_seat(tx: Tx) -> sa.ColumnElement[bool]:
    """That fewer seats are taken than there are. Counted match by match, by the index of taken seats."""
    team_ids = sa.cast(m.c.team_ids, sa.JSON) if tx.postgres else m.c.team_ids
    taken = sa.select(sa.func.count()).where(s.c.match_id == m.c.id, s.c.slot.is_not(None)).scalar_subquery()
    return taken < sa.func.json_array_length(team_ids) * m.c.team_size


def page_for_player(
    tx: Tx,
    user_id: str,
    status: str | None,
    scope: str,
    before: tuple[int, str] | None,
    limit: int,
    game_id: str | None = None,
) -> Sequence[Row]:
    """Newest first: the player's own matches (`mine`), public ones with a seat to take (`open`), or both (`all`)."""
    mine = m.c.id.in_(sa.select(s.c.match_id).where(s.c.user_id == user_id))
    public = sa.and_(m.c.visibility == "public", m.c.status == "pending", _has_free_seat(tx))
    statement = sa.select(m).where({"mine": mine, "open": public, "all": sa.or_(mine, public)}[scope])
    if status is not None:
        statement = statement.where(m.c.status == status)
    if game_id is not None:
        statement = statement.where(m.c.game_id == game_id)
    return tx.rows(_page(statement, before, limit))


def page_newest(
    tx: Tx,
    game_id: str | None,
    status: str | None,
    before: tuple[int, str] | None,
    limit: int,
    match_id: str | None = None,
    user_id: str | None = None,
) -> Sequence[Row]:
    """Of a player those in which he has had a seat, be it for a while."""
    statement = sa.select(m)
    if match_id is not None:
        statement = statement.where(m.c.id == match_id)
    if user_id is not None:
        statement = statement.where(m.c.id.in_(sa.select(s.c.match_id).where(s.c.user_id == user_id)))
    if game_id is not None:
        statement = statement.where(m.c.game_id == game_id)
    if status is not None:
        statement = statement.where(m.c.status == status)
    return tx.rows(_page(statement, before, limit))


def page_for_game(
    tx: Tx,
    game_id: str,
    statuses: Sequence[str] | None,
    user_id: str | None,
    after: tuple[int, str] | None,
    limit: int,
) -> Sequence[Row]:
    """Oldest first (A4)."""
    statement = sa.select(m).where(m.c.game_id == game_id)
    if statuses is not None:
        statement = statement.where(m.c.status.in_(statuses))
    if user_id is not None:
        taken = sa.select(s.c.match_id).where(s.c.user_id == user_id, s.c.state.in_(["joined", "confirmed"]))
        statement = statement.where(m.c.id.in_(taken))
    if after is not None:
        statement = statement.where(sa.tuple_(m.c.created_at, m.c.id) > sa.tuple_(*map(sa.literal, after)))
    return tx.rows(statement.order_by(m.c.created_at, m.c.id).limit(limit))


def ids_of(
    tx: Tx, *, status: str, game_id: str | None = None, user_id: str | None = None, discovery: str | None = None
) -> list[str]:
    statement = sa.select(m.c.id).where(m.c.status == status)
    if discovery is not None:
        statement = statement.where(m.c.discovery == discovery)
    if game_id is not None:
        statement = statement.where(m.c.game_id == game_id)
    if user_id is not None:
        active = s.c.state.in_(["joined", "confirmed"])
        statement = statement.where(m.c.id.in_(sa.select(s.c.match_id).where(s.c.user_id == user_id, active)))
    return [row[0] for row in tx.rows(statement.order_by(m.c.id))]


def ids_overdue(tx: Tx, status: str, now: int, limit: int) -> list[str]:
    """Matches whose time is up: `pending` past `starts_by`, `live` past `results_due_at`. Locked, others' skipped."""
    column = {"pending": m.c.starts_by, "live": m.c.results_due_at}[status]
    statement = sa.select(m.c.id).where(m.c.status == status, column <= now).order_by(m.c.id).limit(limit)
    return [row[0] for row in tx.rows(statement.with_for_update(skip_locked=True))]


def earliest_deadline(tx: Tx, status: str) -> int | None:
    """The next `starts_by` of the pending, or `results_due_at` of the live."""
    column = {"pending": m.c.starts_by, "live": m.c.results_due_at}[status]
    earliest: int | None = tx.execute(sa.select(sa.func.min(column)).where(m.c.status == status)).scalar()
    return earliest


def count_overdue(tx: Tx, now: int) -> int:
    late = sa.or_(
        sa.and_(m.c.status == "pending", m.c.starts_by <= now), sa.and_(m.c.status == "live", m.c.results_due_at <= now)
    )
    return int(tx.execute(sa.select(sa.func.count()).select_from(m).where(late)).scalar_one())


class Span(NamedTuple):
    """Times from `since` on and before `until`; None: without an end on that side."""

    since: int | None = None
    until: int | None = None

    def of(self, column: sa.ColumnElement[int | None] | sa.Column[int]) -> list[sa.ColumnElement[bool]]:
        """That a time is within it."""
        found: list[sa.ColumnElement[bool]] = []
        if self.since is not None:
            found.append(column >= self.since)
        if self.until is not None:
            found.append(column < self.until)
        return found


def open_now(tx: Tx) -> Sequence[Row]:
    """(status, currency, how many, money in escrow) of the matches that are not over."""
    statement = sa.select(m.c.status, m.c.currency, sa.func.count(), sa.func.sum(m.c.escrow))
    return tx.rows(statement.where(m.c.status.in_(["pending", "starting", "live"])).group_by(m.c.status, m.c.currency))


def made_by_hour(tx: Tx, since: int) -> Sequence[Row]:
    """(status, hour since the epoch, how many) of the matches that were made since, by the index of status and time."""
    hour = m.c.created_at.op("/")(sa.literal_column("3600000"))  # in the text: see `_day`
    statement = sa.select(m.c.status, hour, sa.func.count()).where(
        m.c.status.in_(["pending", "starting", "live", "finished", "aborted"]), m.c.created_at >= since
    )
    return tx.rows(statement.group_by(m.c.status, hour))


def oldest(tx: Tx, status: str, limit: int) -> Sequence[Row]:
    return tx.rows(sa.select(m).where(m.c.status == status).order_by(m.c.created_at, m.c.id).limit(limit))


def newest_refused(tx: Tx, limit: int) -> Sequence[Row]:
    """Results that were refused, newest first."""
    r = schema.refused_results
    return tx.rows(sa.select(r).order_by(r.c.id.desc()).limit(limit))


def figures(tx: Tx, game_id: str, span: Span) -> tuple[dict[str, int], int]:
    """Of the matches made in a span: how many by status, and how many players took a seat."""
    within = span.of(m.c.created_at)
    counts = tx.rows(sa.select(m.c.status, sa.func.count()).where(m.c.game_id == game_id, *within).group_by(m.c.status))
    players = tx.execute(
        sa.select(sa.func.count(sa.distinct(s.c.user_id)))
        .join(m, m.c.id == s.c.match_id)
        .where(m.c.game_id == game_id, s.c.state.in_(["joined", "confirmed"]), *within)
    ).scalar_one()
    return {row[0]: int(row[1]) for row in counts}, int(players)


def _day(column: sa.ColumnElement[Any] | sa.Column[int]) -> sa.ColumnElement[Any]:
    """Days since the epoch. The number is in the text, since PostgreSQL would take two parameters for two groups."""
    return column.op("/")(sa.literal_column(str(DAY_MS)))


def made_by_day(tx: Tx, game_id: str, span: Span) -> dict[int, int]:
    """Day since the epoch → matches made."""
    day = _day(m.c.created_at)
    statement = sa.select(day, sa.func.count()).where(m.c.game_id == game_id, *span.of(m.c.created_at))
    return {int(row[0]): int(row[1]) for row in tx.rows(statement.group_by(day))}


def players_by_day(tx: Tx, game_id: str, span: Span) -> dict[int, int]:
    """Day since the epoch → players who took a seat in a match made then."""
    day = _day(m.c.created_at)
    statement = (
        sa.select(day, sa.func.count(sa.distinct(s.c.user_id)))
        .join(m, m.c.id == s.c.match_id)
        .where(m.c.game_id == game_id, s.c.state.in_(["joined", "confirmed"]), *span.of(m.c.created_at))
    )
    return {int(row[0]): int(row[1]) for row in tx.rows(statement.group_by(day))}


def counts_of_games(tx: Tx, game_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Matches by status, by game."""
    found: dict[str, dict[str, int]] = {}
    statement = sa.select(m.c.game_id, m.c.status, sa.func.count()).where(m.c.game_id.in_(game_ids))
    for row in tx.rows(statement.group_by(m.c.game_id, m.c.status)):
        found.setdefault(row[0], {})[row[1]] = int(row[2])
    return found


_P = schema.postings
_KIND = sa.case(
    (_P.c.account.like("escrow:%"), "pot"),
    (_P.c.account == "house:fees", "fees"),
    (_P.c.account.like("studio:%"), "studio"),
    else_="prizes",
)


def _settled(game_id: str, span: Span, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """Sums of the settlements of a game's matches that ended in a span, by `columns`."""
    of_match = _P.c.set_id == sa.literal("match:") + m.c.id + sa.literal(":settle")
    return (
        sa.select(*columns, sa.func.sum(_P.c.amount).label("amount"))
        .join(m, of_match)
        .where(m.c.game_id == game_id, *span.of(m.c.finished_at))
        .group_by(*(sa.literal_column(str(n)) for n in range(1, len(columns) + 1)))
    )


def money_of_game(tx: Tx, game_id: str, span: Span) -> Sequence[Row]:
    """Rows (currency, kind of account, amount)."""
    return tx.rows(_settled(game_id, span, _P.c.currency, _KIND.label("kind")))


def money_by_day(tx: Tx, game_id: str, span: Span) -> Sequence[Row]:
    """Rows (currency, kind of account, day since the epoch, amount)."""
    return tx.rows(_settled(game_id, span, _P.c.currency, _KIND.label("kind"), _day(m.c.finished_at).label("day")))


# --- tokens ----------------------------------------------------------------------------------------------------------


def insert_tokens(tx: Tx, rows: list[tuple[Any, ...]]) -> None:
    """Rows are (token_hash, match_id, user_id, game_id, created_at, expires_at)."""
    columns = ("token_hash", "match_id", "user_id", "game_id", "created_at", "expires_at")
    sets.insert_rows(tx, schema.match_tokens, columns, rows)


def tokens(tx: Tx, hashes: Sequence[str]) -> dict[str, Row]:
    """Tokens with what the game asks about them: the match's status and whether a result is in."""
    rows = sets.select_in(
        tx,
        "SELECT t.token_hash, t.match_id, t.user_id, t.game_id, t.expires_at, m.status, r.match_id AS reported"
        " FROM match_tokens t JOIN matches m ON m.id = t.match_id"
        " LEFT JOIN results r ON r.match_id = t.match_id AND r.user_id = t.user_id AND r.submission = 1"
        " WHERE t.token_hash {in}",
        hashes,
    )
    return {row.token_hash: row for row in rows}


def set_asked(tx: Tx, asked: Mapping[str, int]) -> None:
    """When games first asked about tokens, given by their hashes. What is known already stays, and is not written."""
    unknown = sets.select_in(
        tx,
        "SELECT token_hash FROM match_tokens WHERE token_hash {in} AND asked_at IS NULL ORDER BY token_hash FOR UPDATE",
        sorted(asked),
    )
    rows = [(asked[row.token_hash], row.token_hash) for row in unknown]
    sets.update_rows(tx, schema.match_tokens, ("asked_at",), ("token_hash",), rows)


def sweep_tokens(tx: Tx, before: int, most: int) -> bool:
    """Of those that expired before, the `most` oldest; True when there may be more."""
    t = schema.match_tokens
    old = sa.select(t.c.token_hash).where(t.c.expires_at < before).order_by(t.c.expires_at).limit(most)
    return tx.execute(t.delete().where(t.c.token_hash.in_(old))).rowcount >= most


def launches_of(tx: Tx, match_id: str, limit: int) -> Sequence[Row]:
    """Rows (user_id, created_at, expires_at, asked_at), newest first. Who launched often leaves room for others."""
    t = schema.match_tokens
    newest = sa.func.row_number().over(partition_by=t.c.user_id, order_by=t.c.created_at.desc())
    ranked = (
        sa.select(t.c.user_id, t.c.created_at, t.c.expires_at, t.c.asked_at, newest.label("place"))
        .where(t.c.match_id == match_id)
        .subquery()
    )
    wanted = sa.select(ranked).order_by(ranked.c.place, ranked.c.user_id).limit(limit)
    return sorted(tx.rows(wanted), key=lambda row: (-row.created_at, row.user_id))


# --- results ---------------------------------------------------------------------------------------------------------


def insert_results(tx: Tx, rows: list[tuple[Any, ...]]) -> None:
    """Rows are (match_id, user_id, submission, score, body, body_hash, received_at)."""
    columns = ("match_id", "user_id", "submission", "score", "body", "body_hash", "received_at")
    sets.insert_rows(tx, schema.results, columns, rows)


def results_of(tx: Tx, match_ids: Iterable[str]) -> dict[str, dict[str, Row]]:
    """Accepted results of each match by user."""
    wanted = sorted(set(match_ids))
    found: dict[str, dict[str, Row]] = {}
    if wanted:
        sql = "SELECT match_id, user_id, score, body_hash FROM results WHERE match_id {in}"
        for row in sets.select_in(tx, sql, wanted):
            found.setdefault(row.match_id, {})[row.user_id] = row
    return found


def insert_refused(tx: Tx, rows: list[tuple[Any, ...]]) -> None:
    """Rows are (match_id, body_hash, body, reason, received_at); one already kept stays."""
    columns = ("match_id", "body_hash", "body", "reason", "received_at")
    sets.insert_rows(tx, schema.refused_results, columns, rows, ignore=True)


def refused_hashes(tx: Tx, match_ids: Iterable[str]) -> dict[str, set[str]]:
    """Of each match that has refused results, their `body_hash`es."""
    found: dict[str, set[str]] = {}
    sql = "SELECT match_id, body_hash FROM refused_results WHERE match_id {in}"
    for match_id, body_hash in sets.select_in(tx, sql, sorted(set(match_ids))):
        found.setdefault(match_id, set()).add(body_hash)
    return found


def refused_of(tx: Tx, match_id: str) -> Sequence[Row]:
    r = schema.refused_results
    return tx.rows(sa.select(r).where(r.c.match_id == match_id).order_by(r.c.id))

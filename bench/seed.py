"""A database with live matches to finish, by the same services that make them in life.

Ids follow from a match's number: in the order of time, as in life, and pgbench can name the same matches. Money goes
through `services.ledger` alone, so that `oklp books verify` holds for the seeded database as for any other. The players
are so many that matches finished side by side have no winner in common: no row is hot.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from oklp import contract
from oklp.domain import ledger as books
from oklp.opening import check_database, open_database, wall_clock
from oklp.services import auth, games, ledger
from oklp.services.vault import open_vault
from oklp.settings import Settings
from oklp.signing import generate_key, hash_token
from oklp.storage import ledger as ledger_store
from oklp.storage import matches as match_store
from oklp.storage import notices, records, schema, sets
from oklp.storage import players as player_store
from oklp.storage.engine import Database, Tx

PLAYERS = 2_000
ENTRY_FEE = 500
PRIZE = 900
CURRENCY = "XTS"
RESULTS_DUE_SECONDS = 30 * 24 * 3600
CHUNK = 1_000
MATCHES_A_MILLISECOND = 4
FIRST_AT = 1_790_000_000_000  # of the ids alone


def match_id(number: int) -> str:
    """The time and noise, as `services.matches.new_id` makes it."""
    return f"{FIRST_AT + number // MATCHES_A_MILLISECOND:012x}{hashlib.md5(b'match-%d' % number).hexdigest()[:12]}"


def user_id(number: int) -> str:
    return str(uuid.UUID(hashlib.md5(b"player-%d" % (number % PLAYERS)).hexdigest()))


def team_id(number: int, team: int) -> str:
    return "12"[team] + match_id(number)[1:]


def seat_id(number: int, team: int) -> str:
    return "ab"[team] + match_id(number)[1:]


def members(number: int) -> tuple[str, str]:
    """The players of a match; the first of them will win."""
    return user_id(2 * number), user_id(2 * number + 1)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def match_token(number: int, team: int) -> str:
    return f"token-of-{number}-{team}-" + "t" * 24


@dataclass(frozen=True)
class Game:
    """The registered game."""

    game_id: str
    studio_id: str
    client_secret: str
    webhook_secret: str


@dataclass(frozen=True)
class Seeded:
    """A database with `count` live matches, numbered from 0."""

    settings: Settings
    game: Game
    count: int


def settings_for(database_url: str, data_dir: Path, public_url: str) -> Settings:
    return Settings(database_url=database_url, data_dir=data_dir, public_url=public_url, sandbox=True)


def seed(settings: Settings, webhook_url: str, matches: int, with_tokens: int) -> Seeded:
    """Make the database, a game, the players and `matches` live matches; the last `with_tokens` have match-tokens."""
    check_database(settings)
    db = open_database(settings, wall_clock)
    try:
        game = _register(settings, db, webhook_url)
        now = wall_clock()
        db.run(_players, now)
        db.run(_history, game, now)
        for first in range(0, matches, CHUNK):
            # One after the other, the last of them now, as matches come.
            db.run(_matches, game, range(first, min(first + CHUNK, matches)), now - matches // MATCHES_A_MILLISECOND)
        db.run(_tokens, game, range(matches - with_tokens, matches), now)
        # What autovacuum does in time: without it the first plans would be made for empty tables.
        with db.engine.connect() as connection:
            connection.exec_driver_sql("ANALYZE")
            connection.exec_driver_sql("CHECKPOINT" if db.postgres else "PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        db.close()
    return Seeded(settings, game, matches)


def _register(settings: Settings, db: Database, webhook_url: str) -> Game:
    vault = open_vault(settings)
    db.run(auth.prepare, settings, vault, generate_key, wall_clock())
    studio_id = db.run(games.default_studio, wall_clock())
    request = contract.NewGame(
        name="Bench",
        webhook_url=webhook_url,
        launch_urls=contract.LaunchTemplates(browser="http://127.0.0.1/?t={match-token}"),
        settings=contract.NewGameSettings(results_due_seconds=RESULTS_DUE_SECONDS),
    )
    game = db.run(games.register, settings, vault, studio_id, request, wall_clock())
    secrets = game.developer_config.authentication
    return Game(game.game_id, studio_id, secrets.client_secret or "", secrets.webhook_secret or "")


def _players(tx: Tx, now: int) -> None:
    columns = ("id", "username", "username_key", "email", "email_key", "password_hash", "date_of_birth", "country")
    rows = []
    for number in range(PLAYERS):
        name = f"player-{number}"
        mail = f"{name}@bench.example"
        rows.append((user_id(number), name, name, mail, mail, "!", "1990-01-01", "DE", "active", True, now))
    sets.insert_rows(tx, schema.players, (*columns, "status", "verified", "created_at"), rows)
    users = [user_id(number) for number in range(PLAYERS)]
    ledger_store.ensure_balances(tx, [(user, CURRENCY) for user in users])
    ledger.lock(tx, users)
    ledger.post(tx, [books.grant(str(uuid.uuid4()), user, 10**9, CURRENCY) for user in users], now)


def _history(tx: Tx, game: Game, now: int) -> None:
    """What earlier matches left with the players. Tables that are empty tell the planner of a database nothing."""
    results: list[tuple[object, ...]] = []
    told: list[tuple[object, ...]] = []
    for number in range(PLAYERS):
        over = f"{number:024x}"
        for user, verdict, won in zip(members(number), ("won", "lost"), (PRIZE, 0), strict=True):
            results.append((over, user, game.game_id, now, 1 if won else 2, verdict, CURRENCY, ENTRY_FEE, won))
            told.append((user, f"over:{over}", verdict, over, won, CURRENCY, None, now, False, now))
    records.insert_results(tx, results)
    wins = [(user_id(number), 2 if number % 2 == 0 else 0) for number in range(PLAYERS)]
    records.add_standings(tx, [(user, game.game_id, 2, won, 0) for user, won in wins])
    records.add_money(tx, [(user, CURRENCY, 2 * ENTRY_FEE, won * PRIZE) for user, won in wins])
    notices.insert(tx, told)


def _matches(tx: Tx, game: Game, numbers: Sequence[int], now: int) -> None:
    same = _same_for_all(game)
    rows: list[tuple[object, ...]] = []
    seats: list[tuple[object, ...]] = []
    holds = []
    for number in numbers:
        key, users = match_id(number), members(number)
        teams = [team_id(number, team) for team in range(2)]
        roster = [[teams[team], [[user, seat_id(number, team)]]] for team, user in enumerate(users)]
        made_at = now + number // MATCHES_A_MILLISECOND
        times = (made_at, made_at + 86_400_000, made_at, made_at + RESULTS_DUE_SECONDS * 1000)
        rows.append((key, *same.values(), *times, users[0], json.dumps(teams), json.dumps(roster)))
        for team, user in enumerate(users):
            seats.append((seat_id(number, team), key, user, teams[team], 0, "confirmed", team, now))
            holds.append(books.hold(key, seat_id(number, team), user, ENTRY_FEE, CURRENCY))
    times_of = ("created_at", "starts_by", "started_at", "results_due_at")
    columns = ("id", *same, *times_of, "created_by", "team_ids", "roster")
    sets.insert_rows(tx, schema.matches, columns, rows)
    match_store.insert_seats(tx, seats)
    ledger.lock(tx, {user for number in numbers for user in members(number)})
    escrows = ledger.post(tx, holds, now)
    match_store.pay_in(tx, [(amount, key) for key, amount in sorted(escrows.items())])


def _same_for_all(game: Game) -> dict[str, object]:
    """Columns of a live match with an entry fee and the default rules."""
    return {
        "game_id": game.game_id,
        "studio_id": game.studio_id,
        "status": "live",
        "visibility": "private",
        "mode": "sync",
        "score_order": "high",
        "discovery": "push",
        "currency": CURRENCY,
        "entry_fee": ENTRY_FEE,
        "fee_bps": 1_000,
        "studio_share_bps": 5_000,
        "team_size": 1,
        "results_due_seconds": RESULTS_DUE_SECONDS,
        "start_retries": 0,
        "start_backoff_seconds": 1,
        "escrow": 0,
    }


def _tokens(tx: Tx, game: Game, numbers: Sequence[int], now: int) -> None:
    due_at = now + RESULTS_DUE_SECONDS * 1000
    rows: list[tuple[object, ...]] = [
        (hash_token(match_token(number, team)), match_id(number), members(number)[team], game.game_id, now, due_at)
        for number in numbers
        for team in range(2)
    ]
    match_store.insert_tokens(tx, rows)


def add_sessions(settings: Settings, tokens: Sequence[tuple[int, str]]) -> None:
    """Log players in, given as (number of the player, session token)."""
    db = open_database(settings, wall_clock)
    try:
        now = wall_clock()
        for number, token in tokens:
            db.run(_session, user_id(number), token, now)
    finally:
        db.close()


def _session(tx: Tx, subject_id: str, token: str, now: int) -> None:
    player_store.insert_session(
        tx,
        token_hash=hash_token(token),
        kind="player",
        subject_id=subject_id,
        created_at=now,
        expires_at=now + 86_400_000,
    )


def result_of(number: int) -> bytes:
    """The body of the `finish` request of a match: its first team wins."""
    users = members(number)
    body = {
        "match_id": match_id(number),
        "participants": [{"id": user, "score": 300 - 200 * team} for team, user in enumerate(users)],
        "teams": [{"id": team_id(number, team), "score": 300 - 200 * team, "ranking": team + 1} for team in range(2)],
    }
    return json.dumps(body).encode()

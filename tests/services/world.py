"""A platform without the web: services on a database, players, games, and a clock that stands until it is moved.

Ids are counted, so that a run is the same each time. What the database holds is read over a connection of its own: it
shows what is committed, whatever the lanes believe.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from oklp import contract
from oklp.errors import OklpError
from oklp.services import auth, books, games, ledger, matches, players, results, starting, webhooks
from oklp.services.idempotency import Answer, Claim
from oklp.services.matches import Caller
from oklp.services.notices import Posting
from oklp.services.results import Report
from oklp.services.starting import Confirm
from oklp.services.vault import open_vault
from oklp.services.webhooks import Recorded, Reply, Sending
from oklp.settings import Settings
from oklp.signing import generate_key
from oklp.storage.engine import Database, horizon
from oklp.storage.events import Key
from oklp.storage.tx import Row

T = TypeVar("T")

T0 = 1_750_000_000_000
SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
HORIZON_SECONDS = 60
XTS = "XTS"

signing_key = functools.cache(generate_key)


@contextlib.contextmanager
def refused(kind: type[OklpError], *fields: str) -> Iterator[None]:
    """What is inside must be refused with exactly this class, naming exactly these fields."""
    with pytest.raises(OklpError) as caught:
        yield
    assert type(caught.value) is kind, repr(caught.value)
    assert sorted(fault.field for fault in caught.value.errors) == sorted(fields)


# --- answers of a game -----------------------------------------------------------------------------------------------


def _reply(status: int | None, error: str | None, *, sent: bool = True, complete: bool = True) -> Reply:
    return Reply(
        status=status,
        headers={} if status is not None else None,
        body="" if status is not None else None,
        error=error,
        duration_ms=5,
        complete=complete,
        sent=sent,
        request_headers={"webhook-id": "1"},
    )


def answered(status: int) -> Reply:
    """A complete answer. Only 200 is a yes."""
    return _reply(status, None if status == 200 else f"answered {status}, not 200")


OK = answered(200)
CONNECTION_REFUSED = _reply(None, "connection refused", sent=False, complete=False)
TIMED_OUT = _reply(None, "timed out after 10 s (no answer)", complete=False)
CUT_OFF_200 = _reply(200, "timed out after 10 s (the answer did not end)")


# --- results of a game -----------------------------------------------------------------------------------------------


def sync_result(
    match: contract.Match,
    ranks: Sequence[int],
    *,
    forfeits: Iterable[int] = (),
    scores: Mapping[str, int] | None = None,
) -> contract.FinishRequest:
    """One result for the whole match: `ranks` in team order, `forfeits` by the index of the team."""
    out = set(forfeits)
    known = scores or {}
    return contract.FinishRequest(
        match_id=match.match_id,
        participants=[
            contract.ParticipantResult(id=member.user_id, score=known.get(member.user_id, 10))
            for team in match.teams
            for member in team.members
            if member.state in ("joined", "confirmed")
        ],
        teams=[
            contract.TeamResult(id=team.id, score=0, ranking=ranks[index], forfeit=index in out)
            for index, team in enumerate(match.teams)
        ],
    )


def player_result(match_id: str, user_id: str, score: int) -> contract.FinishRequest:
    """One player's result in an asynchronous game."""
    return contract.FinishRequest(match_id=match_id, participants=[contract.ParticipantResult(id=user_id, score=score)])


# --- the world -------------------------------------------------------------------------------------------------------


class World:
    """One node on a migrated database. `now` is moved by the test alone."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.now = T0
        self.settings = Settings(database_url=url, sandbox=True, secret_key=SecretStr("k" * 32), **settings)
        self.db = self._open()
        self.nodes = [self.db]
        self._reader = self.db.engine.connect()
        self.handed_off: list[Sending] = []
        self.db.listen(lambda topics, handoffs: self.handed_off.extend(handoffs))
        self.vault = open_vault(self.settings)
        self.run(auth.prepare, self.settings, self.vault, signing_key, self.now)
        self.studio_id = self.run(games.default_studio, self.now)
        self._numbers = count(1)

    def _open(self) -> Database:
        return Database(self.settings.database_url, clock=lambda: self.now)

    def another_node(self) -> Database:
        """Another process's view of the same database; on SQLite, which has one server process, the same node."""
        if self.db.postgres:
            self.nodes.append(self._open())
        return self.nodes[-1]

    def on(self, node: Database) -> World:
        """The same world, asked through another node."""
        there = copy.copy(self)
        there.db = node
        return there

    def close(self) -> None:
        self._reader.close()
        for node in self.nodes:
            node.close()

    @property
    def posting(self) -> Posting:
        """What mails about notifications are made with."""
        return Posting(self.settings, self.vault, self.now)

    def run(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        return self.db.run(fn, *args, **kwargs)

    # --- ids ---

    def _digits(self) -> str:
        """The same at each run, and in no order: rows are locked in the order of their ids."""
        return hashlib.sha256(str(next(self._numbers)).encode()).hexdigest()

    def new_id(self) -> str:
        """24 hex digits: a match, a team, a seat."""
        return self._digits()[:24]

    def new_uuid(self) -> str:
        return str(uuid.UUID(self._digits()[:32], version=4))

    # --- people and games ---

    def player(self, balance: int = 0, name: str | None = None) -> Caller:
        user_id = self.new_uuid()
        username = name or f"player-{next(self._numbers)}"
        grant = (self.new_uuid(), balance) if balance else None
        self.run(players.create, self.settings, user_id, username, "no hash", grant, self.now)
        return Caller(user_id, username)

    def players(self, how_many: int, balance: int = 0) -> list[Caller]:
        return [self.player(balance) for _ in range(how_many)]

    def game(self, **settings: Any) -> str:
        """A game that is approved. It is pushed its matches unless `discovery` says otherwise."""
        game_id = f"game-{next(self._numbers)}"
        request = contract.NewGame(
            name=game_id,
            game_id=game_id,
            webhook_url=None if settings.get("discovery") == "pull" else "http://127.0.0.1:9/match",
            launch_urls=contract.LaunchTemplates(browser="https://game.example/play?t={match-token}"),
            settings=contract.NewGameSettings(**settings),
        )
        self.run(games.register, self.settings, self.vault, self.studio_id, request, self.now)
        return game_id

    def suspend_game(self, game_id: str) -> None:
        self._vet(game_id, "suspend")

    def approve_game(self, game_id: str) -> None:
        self._vet(game_id, "approve")

    def _vet(self, game_id: str, decision: Any) -> None:
        request = contract.VettingDecision(decision=decision, reason="because")
        self.run(games.vet, self.settings, "operator:1", game_id, request, self.now)

    def suspend(self, player: Caller) -> None:
        self._act(player, "suspend")

    def reinstate(self, player: Caller) -> None:
        self._act(player, "reinstate")

    def _act(self, player: Caller, action: Any) -> None:
        request = contract.PlayerAction(action=action, reason="because")
        who = ("operator:1", player.user_id)
        self.run(players.act, self.settings, self.vault, *who, request, self.new_uuid(), self.now)

    # --- money ---

    def deposit(self, player: Caller, amount: int, payment_id: str | None = None) -> contract.PaymentAnswer:
        request = contract.Payment(amount=amount, currency=XTS)
        return self.run(ledger.deposit, self.settings, player.user_id, payment_id or self.new_uuid(), request, self.now)

    def withdraw(self, player: Caller, amount: int) -> contract.PaymentAnswer:
        request = contract.Payment(amount=amount, currency=XTS)
        return self.run(ledger.withdraw, self.settings, player.user_id, self.new_uuid(), request, self.now)

    def wallet(self, player: Caller) -> tuple[int, int]:
        """What the player may spend, and what is in escrow."""
        (balance,) = self.run(ledger.wallet, player.user_id, XTS).balances
        return balance.available, balance.in_escrow

    def available(self, *who: Caller) -> list[int]:
        return [self.wallet(player)[0] for player in who]

    def house(self, account: str) -> int:
        """Balance of an account without a balance row: `house:fees`, `studio:…`, `held:…`, `clearing:…`."""
        return self.run(ledger.account, account, None, 1).balance.get(XTS, 0)

    # --- matches ---

    def create(
        self,
        caller: Caller,
        game_id: str,
        fee: int = 500,
        *,
        teams: int = 2,
        team_size: int = 1,
        invite: Sequence[Caller] = (),
        visibility: Any = "public",
        shares: list[int] | None = None,
    ) -> contract.Match:
        request = contract.NewMatch(
            game_id=game_id,
            entry_fee=contract.Money(amount=fee, currency=XTS),
            teams=teams,
            team_size=team_size,
            invite=[player.username for player in invite],
            visibility=visibility,
            prize_shares_bps=shares,
        )
        return self.run(matches.create, self.settings, caller, request, self.new_id(), self.new_id, self.now)

    def invite(self, caller: Caller, match_id: str, *who: Caller) -> contract.Match:
        names = [player.username for player in who]
        return self.run(matches.invite, caller, match_id, names, self.new_id, self.now)

    def join(
        self, caller: Caller, match_id: str, team_id: str | None = None, code: str | None = None
    ) -> contract.Match:
        request = contract.Join(team_id=team_id, join_code=code)
        return self.run(matches.join, self.settings, caller, match_id, request, self.new_id(), self.now)

    def decline(self, caller: Caller, match_id: str) -> contract.Match:
        return self.run(matches.decline, caller, match_id, self.now)

    def leave(self, caller: Caller, match_id: str) -> contract.Match:
        return self.run(matches.leave, self.settings, caller, match_id, self.now)

    def cancel(self, caller: Caller, match_id: str) -> contract.Match:
        return self.run(matches.cancel, self.settings, caller, match_id, self.now)

    def abort(self, match_id: str) -> list[str]:
        """As an operator does."""
        return self.run(matches.abort, self.settings, [match_id], "operator", "An operator aborted it.", self.now)

    def confirmation(self, player: Caller, match_id: str, claim: Claim | None = None) -> Confirm:
        return Confirm(self.settings, player.user_id, match_id, self.new_uuid(), self.db.node, self.now, claim)

    def confirm(self, player: Caller, match_id: str) -> contract.Match:
        answer = self.db.run_set(starting.confirm, self.confirmation(player, match_id))
        return contract.Match.model_validate_json(answer.body)

    def confirm_batch(self, jobs: Sequence[Confirm]) -> list[Answer | OklpError]:
        """Several confirmations in one transaction."""
        return self.run(starting.confirm, jobs)

    def read(self, player: Caller, match_id: str, code: str | None = None) -> contract.Match:
        return self.run(matches.read, player.user_id, match_id, code)

    def filled(self, game_id: str, who: Sequence[Caller], fee: int = 500, **options: Any) -> contract.Match:
        """A match that everyone in `who` has joined, in team order, and nobody confirmed."""
        match = self.create(who[0], game_id, fee, **options)
        size = options.get("team_size", 1)
        for index, player in enumerate(who[1:], 1):
            self.join(player, match.match_id, match.teams[index // size].id)
        return self.read(who[0], match.match_id)

    def paid(self, game_id: str, who: Sequence[Caller], fee: int = 500, **options: Any) -> contract.Match:
        """A match that everyone has paid for: `starting`, or `live` when the game pulls."""
        match = self.filled(game_id, who, fee, **options)
        for player in who:
            match = self.confirm(player, match.match_id)
        return match

    def live(self, game_id: str, who: Sequence[Caller], fee: int = 500, **options: Any) -> contract.Match:
        match = self.paid(game_id, who, fee, **options)
        if match.status == "starting":
            self.reply(self.start_of(match.match_id).id, OK)
        return self.read(who[0], match.match_id)

    # --- webhooks ---

    def deliveries(self, match_id: str) -> dict[str, Row]:
        """The deliveries of a match by event."""
        rows = self.rows("SELECT * FROM deliveries WHERE match_id = :match ORDER BY created_at, id", match=match_id)
        return {row.event: row for row in rows}

    def start_of(self, match_id: str) -> Row:
        return self.deliveries(match_id)["match.started"]

    def attempts(self, delivery_id: str) -> Sequence[Row]:
        return self.rows("SELECT * FROM attempts WHERE delivery_id = :id ORDER BY attempt", id=delivery_id)

    def reply(self, delivery_id: str, reply: Reply, attempt: int = 1, owner: str | None = None) -> Recorded:
        return self.run(starting.record, self.settings, delivery_id, attempt, owner or self.db.node, reply, self.now)

    def claim(self, owner: str | None = None, limit: int = 1_000) -> list[Sending]:
        return self.run(starting.claim, self.settings, owner or self.db.node, self.now, limit)

    def lapse(self, owner: str | None = None) -> int:
        return self.run(starting.lapse, self.settings, self.now, owner, 1_000)

    def resend(self, delivery_id: str) -> Row:
        return self.run(webhooks.resend, delivery_id, self.now)

    # --- results and deadlines ---

    def report(self, game_id: str, request: contract.FinishRequest) -> contract.FinishAnswer:
        return self.db.run_set(results.finish, Report(game_id, request, self.now))

    def report_batch(
        self, reports: Sequence[tuple[str, contract.FinishRequest]]
    ) -> list[contract.FinishAnswer | OklpError]:
        """Several reports in one transaction."""
        return self.run(results.finish, [Report(game_id, request, self.now) for game_id, request in reports])

    def close_overdue(self) -> int:
        return self.run(results.close_overdue, self.settings, self.now, 1_000)

    def expire(self) -> int:
        return self.run(matches.expire, self.settings, self.now, 1_000)

    def await_horizon(self) -> None:
        """Return when nothing that is under way hides a posting from a roll-up.

        Transaction numbers are those of the whole PostgreSQL server: the databases of other tests count too.
        """
        newest = int(self.rows("SELECT max(tx_number) FROM postings")[0][0])
        give_up_at = time.monotonic() + HORIZON_SECONDS
        while self.run(horizon) <= newest:
            if time.monotonic() > give_up_at:
                open_ones = self.rows(
                    "SELECT datname, state, query, now() - xact_start FROM pg_stat_activity"
                    " WHERE backend_xid IS NOT NULL ORDER BY xact_start"
                )
                raise AssertionError(f"a transaction does not end: {open_ones}")
            time.sleep(0.02)

    # --- what is in the database ---

    def rows(self, sql: str, **parameters: Any) -> Sequence[Row]:
        """A parameter that is a list stands behind `IN`."""
        statement = sa.text(sql)
        for name, value in parameters.items():
            if isinstance(value, list):
                statement = statement.bindparams(sa.bindparam(name, expanding=True))
        return self._reader.execute(statement, parameters).all()

    def count(self, table: str, where: str = "1 = 1", **parameters: Any) -> int:
        (row,) = self.rows(f"SELECT count(*) FROM {table} WHERE {where}", **parameters)
        return int(row[0])

    def key(self, caller: Caller, route: str, key: str = "key-1", body: str = "{}") -> Claim:
        """What a request with an `Idempotency-Key` claims."""
        since = self.now - self.settings.idempotency_seconds * 1000
        return Claim(Key(caller.user_id, route, key), body, self.now, since)


# --- the books, read without the services ----------------------------------------------------------------------------

_BOOKS = {
    "a posting set is not whole, not balanced or of two currencies": (
        'SELECT set_id FROM postings GROUP BY set_id HAVING sum(amount) <> 0 OR count(*) <> max("of")'
        ' OR min("of") <> max("of") OR min(n) <> 0 OR max(n) <> count(*) - 1 OR min(currency) <> max(currency)'
    ),
    "a balance is not the sum of its postings": (
        "SELECT b.user_id FROM balances b WHERE b.balance <> (SELECT coalesce(sum(p.amount), 0) FROM postings p"
        " WHERE p.account = 'player:' || b.user_id AND p.currency = b.currency)"
    ),
    "a player has postings and no balance": (
        "SELECT DISTINCT p.account FROM postings p LEFT JOIN balances b ON p.account = 'player:' || b.user_id"
        " AND p.currency = b.currency WHERE p.account LIKE 'player:%' AND b.user_id IS NULL"
    ),
    "an escrow is not the sum of its postings": (
        "SELECT m.id FROM matches m WHERE m.escrow <> (SELECT coalesce(sum(p.amount), 0) FROM postings p"
        " WHERE p.account = 'escrow:' || m.id)"
    ),
    "an escrow is not what its players have paid": (
        "SELECT m.id FROM matches m WHERE m.status NOT IN ('finished', 'aborted') AND m.escrow <> m.entry_fee *"
        " (SELECT count(*) FROM seats s WHERE s.match_id = m.id AND s.state = 'confirmed')"
    ),
    "a match that is over holds money": (
        "SELECT id FROM matches WHERE status IN ('finished', 'aborted') AND escrow <> 0"
    ),
    "a finished match has no outcome": "SELECT id FROM matches WHERE status = 'finished' AND outcome IS NULL",
    "held winnings are not what is held": (
        "SELECT h.user_id FROM held_winnings h GROUP BY h.user_id, h.currency"
        " HAVING sum(CASE WHEN h.state = 'held' THEN h.amount ELSE 0 END) <> (SELECT coalesce(sum(p.amount), 0)"
        " FROM postings p WHERE p.account = 'held:' || h.user_id AND p.currency = h.currency)"
    ),
}


def faults_in_books(world: World) -> list[str]:
    """What is wrong with the money in the database, in words; empty when all is well."""
    return [f"{fault}: {tuple(row)}" for fault, sql in _BOOKS.items() for row in world.rows(sql)]


def check_books(world: World) -> None:
    """Both what is counted here and `oklp books verify` find nothing wrong."""
    assert faults_in_books(world) == []
    assert world.db.run_report(books.verify).faults == []

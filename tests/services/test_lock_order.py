"""Nodes never deadlock: locks are taken in one order, and what cannot keep to it does not wait (design, section 3)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, LiteralString, Protocol

import psycopg
import pytest
import sqlalchemy as sa

from oklp import contract
from oklp.services import auth, factors, housekeeping, ledger, mails, matches, passkeys, players, records
from oklp.services.matches import Caller
from oklp.storage import factors as factor_store
from oklp.storage.engine import Database, Tx
from tests.services.world import CONNECTION_REFUSED, HOUR, MINUTE, XTS, World, check_books, player_result
from tests.storage.rig import LONG_SECONDS, Gate, Watcher, outcome, submit

Job = tuple[Callable[..., Any], tuple[Any, ...]]


class MakeDatabase(Protocol):
    def __call__(self, backend: str, *, migrated: bool = False, sandbox: bool = True) -> str: ...


@pytest.fixture
def world(make_database: MakeDatabase) -> Iterator[World]:
    """On PostgreSQL alone: an embedded database has one writer, who waits for nobody."""
    made = World(make_database("postgresql", migrated=True))
    yield made
    check_books(made)
    made.close()


# --- jobs that share a transaction -----------------------------------------------------------------------------------


class Nodes:
    """Two nodes, each with a batch of its own. Both have done their first job before either does its second."""

    def __init__(self, world: World) -> None:
        self._url = world.settings.database_url
        self._now = world.now
        self.retries = 0

    def run(self, here: Sequence[Job], there: Sequence[Job]) -> list[Any]:
        """The outcomes of both batches."""
        watchers = (Watcher(), Watcher())
        nodes = [Database(self._url, clock=lambda: self._now, observer=watcher) for watcher in watchers]
        first_done = (threading.Event(), threading.Event())

        def meet(tx: Tx, mine: threading.Event, theirs: threading.Event) -> None:
            tx.flush()
            mine.set()
            assert theirs.wait(LONG_SECONDS)

        try:
            gates = [Gate(node) for node in nodes]
            waiting = []
            for node, (first, second), own, other in zip(
                nodes, (here, there), first_done, reversed(first_done), strict=True
            ):
                waiting.append(submit(node, first[0], *first[1]))
                submit(node, meet, own, other)
                waiting.append(submit(node, second[0], *second[1]))
            for gate in gates:
                gate.open()
            outcomes = [outcome(future) for future in waiting]
        finally:
            for node in nodes:
                node.close()
        assert [watcher.sizes for watcher in watchers] == [[1, 3], [1, 3]], (
            "each batch was one transaction to begin with"
        )
        self.retries = sum(watcher.retries for watcher in watchers)
        return outcomes


def _deposit(world: World, player: Caller) -> Job:
    request = contract.Payment(amount=5, currency=XTS)
    return ledger.deposit, (world.settings, player.user_id, world.new_uuid(), request, world.now)


def _join(world: World, player: Caller, match_id: str) -> Job:
    return matches.join, (world.settings, player, match_id, contract.Join(), world.new_id(), world.now)


def _cancel(world: World, player: Caller, match_id: str) -> Job:
    return matches.cancel, (world.settings, player, match_id, world.now)


def test_batches_that_want_the_same_balances_in_another_order(world: World) -> None:
    ann, bob = world.players(2, 100)
    nodes = Nodes(world)
    outcomes = nodes.run(
        [_deposit(world, ann), _deposit(world, bob)],
        [_deposit(world, bob), _deposit(world, ann)],
    )
    assert [type(each) for each in outcomes] == [contract.PaymentAnswer] * 4
    assert world.available(ann, bob) == [110, 110]
    assert nodes.retries == 0, "a deadlock was broken by the database"


def test_batches_that_want_the_same_matches_in_another_order(world: World) -> None:
    who = world.players(6)
    one, two = (world.create(who[index], world.game(), 0, teams=3).match_id for index in (0, 1))
    nodes = Nodes(world)
    outcomes = nodes.run(
        [_join(world, who[2], one), _join(world, who[3], two)],
        [_join(world, who[4], two), _join(world, who[5], one)],
    )
    assert [type(each) for each in outcomes] == [contract.Match] * 4
    assert nodes.retries == 0, "a deadlock was broken by the database"
    for match_id in (one, two):
        assert world.count("seats", "match_id = :match", match=match_id) == 3


def test_batches_in_which_refunds_meet_payments(world: World) -> None:
    ann, bob = world.players(2, 500)
    match = world.filled(world.game(), [ann, bob]).match_id
    world.confirm(ann, match)
    world.confirm(bob, world.filled(world.game(), [bob, ann]).match_id)
    nodes = Nodes(world)
    nodes.run(
        [_cancel(world, ann, match), _deposit(world, bob)],
        [_deposit(world, bob), _deposit(world, ann)],
    )
    assert nodes.retries == 0, "a deadlock was broken by the database"
    assert world.available(ann, bob) == [505, 10]


def test_names_that_two_nodes_give_away_in_another_order(world: World) -> None:
    def sign_up(name: str) -> Job:
        known = {"password": "long enough", "date_of_birth": "1990-01-01", "country": "DE", "email": "a@b.example"}
        request = contract.SignUp.model_validate({"username": name, **known})
        return players.sign_up, (world.settings, world.new_uuid(), request, "no hash", "en", world.now)

    nodes = Nodes(world)
    outcomes = nodes.run([sign_up("ann"), sign_up("bob")], [sign_up("bob"), sign_up("ann")])
    assert nodes.retries == 0, "a deadlock was broken by the database"
    assert sorted(type(each).__name__ for each in outcomes) == ["NameTaken", "NameTaken", "Player", "Player"]


# --- a job by itself -------------------------------------------------------------------------------------------------


def _await_a_lock(connection: psycopg.Connection[Any]) -> None:
    pause = threading.Event()
    for _ in range(LONG_SECONDS * 100):
        waiting = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ).fetchone()
        if waiting is not None and waiting[0]:
            return
        pause.wait(0.01)
    raise AssertionError("nobody waits for a lock")


def takes_in_order(world: World, lowest: Caller, highest: Caller, work: Callable[[], Any]) -> None:
    """`work` waits for the lowest balance before it has taken the highest."""
    balance = "SELECT 1 FROM balances WHERE user_id = %s"
    takes_first(world, (balance, lowest.user_id), (balance, highest.user_id), work)


def takes_first(
    world: World, first: tuple[LiteralString, str], then: tuple[LiteralString, str], work: Callable[[], Any]
) -> None:
    """`work` waits for the row that `first` finds before it has taken that which `then` finds."""
    with (
        psycopg.connect(world.settings.database_url) as holder,
        psycopg.connect(world.settings.database_url, autocommit=True) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        holder.execute(f"{first[0]} FOR UPDATE", [first[1]])
        done = pool.submit(work)
        _await_a_lock(other)
        free = other.execute(f"{then[0]} FOR UPDATE SKIP LOCKED", [then[1]]).fetchall()
        holder.rollback()
        done.result(LONG_SECONDS)
    assert len(free) == 1, "what comes later was taken first"


def _by_id(world: World, how_many: int) -> list[Caller]:
    return sorted(world.players(how_many, 1_000), key=lambda player: player.user_id)


def _two_matches(world: World, game: str, make: Callable[..., contract.Match]) -> tuple[Caller, Caller, list[str]]:
    """The match with the lower id is of the players with the higher ids."""
    who = _by_id(world, 4)
    while True:
        made = [make(game, pair).match_id for pair in (who[:2], who[2:])]
        if made[1] < made[0]:
            return who[0], who[3], made
        for match_id in made:
            world.abort(match_id)


def test_suspending_a_player(world: World) -> None:
    low, high = _by_id(world, 2)
    match = world.filled(world.game(), [high, low]).match_id
    world.confirm(high, match)
    takes_in_order(world, low, high, lambda: world.suspend(low))
    assert world.read(high, match).status == "aborted"


@pytest.mark.parametrize("how", ["app", "passkey", "operator"])
def test_removing_the_last_factor(world: World, how: str) -> None:
    """The person comes before his factors, so that of two removals at once one sees what the other has left."""
    ada = world.player()
    me = auth.Person("player", ada.user_id, ada.username, "active", None, None)
    change = factors.Change(world.settings, world.vault, me, "here", world.new_uuid(), "en", world.now)
    if how == "passkey":
        world.run(passkeys.add, change, "a-key", "a key", passkeys.Verified("id", "key", 0), ["a code"])
    else:
        world.run(factor_store.put_totp, ada.user_id, "a secret", world.now)
        world.run(factor_store.confirm_totp, ada.user_id, world.now)
        world.run(factors.added, change, ["a code"])
    pen = mails.Pen(world.settings, world.vault, world.new_uuid(), "en")
    work: dict[str, tuple[Job, LiteralString]] = {
        "app": ((factors.remove_totp, (change,)), "totp"),
        "passkey": ((factors.remove_passkey, (change, "a-key")), "passkeys"),
        "operator": ((factors.remove_all, (pen, "player", ada.user_id, world.now)), "totp"),
    }
    (fn, args), table = work[how]
    person, factor = "SELECT 1 FROM players WHERE id = %s", f"SELECT 1 FROM {table} WHERE person_id = %s"
    takes_first(world, (person, ada.user_id), (factor, ada.user_id), lambda: world.run(fn, *args))
    assert world.count("players", "second_factor") == 0
    assert not world.run(factors.factors, ada.user_id).enabled


def test_closing_what_is_overdue(world: World) -> None:
    who = _by_id(world, 4)
    game = world.game(mode="async", discovery="pull")
    scored, silent = world.live(game, [who[2], who[3]]), world.live(game, [who[0], who[1]])
    world.report(game, player_result(scored.match_id, who[3].user_id, 9))
    world.now += HOUR
    takes_in_order(world, who[0], who[3], world.close_overdue)
    assert [world.read(each, m.match_id).status for each, m in ((who[3], scored), (who[0], silent))] == [
        "finished",
        "aborted",
    ]


def test_aborting_starts_whose_time_has_run_out(world: World) -> None:
    game = world.game(start_retries=5, start_backoff_seconds=30)
    low, high, made = _two_matches(world, game, world.paid)
    for match_id in made:
        world.reply(world.start_of(match_id).id, CONNECTION_REFUSED)
    world.now += 5 * MINUTE
    takes_in_order(world, low, high, world.claim)
    assert world.available(low, high) == [1_000, 1_000]


def test_aborting_starts_that_were_interrupted(world: World) -> None:
    low, high, _ = _two_matches(world, world.game(), world.paid)
    world.now += 5 * MINUTE
    takes_in_order(world, low, high, world.lapse)
    assert world.available(low, high) == [1_000, 1_000]


def test_two_nodes_do_not_tidy_up_at_once(world: World) -> None:
    engine = sa.create_engine(world.settings.database_url.replace("postgresql://", "postgresql+psycopg://"))
    world.run(lambda tx: tx.driver("UPDATE events SET at = 0"))
    world.create(world.player(), world.game())
    world.run(lambda tx: tx.driver("UPDATE events SET at = 0"))
    # Counted already: only such go.
    world.run(records.keep, world.posting)
    world.run(
        lambda tx: tx.driver("UPDATE followers SET (tx_number, seq) = (SELECT max(tx_number), max(seq) FROM events)")
    )
    with engine.connect() as holder:
        holder.exec_driver_sql("SELECT 1 FROM platform FOR UPDATE")
        world.run(housekeeping.sweep, world.settings, world.now)
        assert world.count("events") == 1
    world.run(housekeeping.sweep, world.settings, world.now)
    assert world.count("events") == 0
    engine.dispose()

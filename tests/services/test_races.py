"""Two who want the same thing at the same time: one of them gets it, both get an answer, and no money is lost.

On PostgreSQL the two ask two nodes, on SQLite one node from threads. In every other round the nodes are held up until
all requests are queued, so that they meet in batches as well as alone.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import pytest

from oklp import contract
from oklp.errors import (
    Conflict,
    IdempotencyReuse,
    InsufficientFunds,
    MatchFull,
    NameTaken,
    NotFound,
    OklpError,
    Unavailable,
    WrongState,
)
from oklp.services import idempotency, ledger, matches, players, results, starting
from oklp.services.idempotency import Answer, Claim
from oklp.services.matches import Caller
from oklp.storage.engine import Database, Tx
from tests.services.world import (
    CONNECTION_REFUSED,
    HOUR,
    OK,
    SECOND,
    TIMED_OUT,
    XTS,
    World,
    check_books,
    player_result,
    refused,
    sync_result,
)

T = TypeVar("T")
ROUNDS = 10
LONG_SECONDS = 60
DEPOSITS = "POST /api/player/v1/wallet/deposits"


class Arena:
    """A world with two nodes (one on SQLite), and rounds."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.here = world
        self.there = world.on(world.another_node())
        self._pool = ThreadPoolExecutor(64)
        self._held_up = False

    def close(self) -> None:
        self._pool.shutdown()

    def rounds(self, how_many: int = ROUNDS) -> Iterator[int]:
        for number in range(how_many):
            self._held_up = number % 2 == 1
            # Both worlds share the clock.
            self.world.now += SECOND
            self.there = self.world.on(self.there.db)
            yield number
        check_books(self.world)

    @contextmanager
    def _nodes_held_up(self) -> Iterator[Callable[[int], None]]:
        """Hold the write lanes; yields a function that waits for so many requests to be queued, and lets go."""
        let_go = threading.Event()

        def hold(tx: Tx, entered: threading.Event) -> None:
            entered.set()
            assert let_go.wait(LONG_SECONDS)

        nodes = {id(node): node for node in (self.here.db, self.there.db)}.values()
        with ThreadPoolExecutor(2) as holders:
            for node in nodes:
                entered = threading.Event()
                holders.submit(node.run, hold, entered)
                assert entered.wait(LONG_SECONDS)

            def release(expected: int) -> None:
                pause = threading.Event()
                for _ in range(LONG_SECONDS * 1000):
                    if sum(len(node.write_lane) for node in nodes) >= expected:
                        break
                    pause.wait(0.001)  # a lane does not tell when something is queued
                let_go.set()

            try:
                yield release
            finally:
                let_go.set()

    def at_once(self, *calls: Callable[[], T]) -> list[T | OklpError]:
        """The outcome of each call, made at the same time. A refusal is an answer; anything else is raised."""
        barrier = threading.Barrier(len(calls))

        def run(call: Callable[[], T]) -> T | OklpError:
            barrier.wait(LONG_SECONDS)
            try:
                return call()
            except OklpError as refusal:
                assert refusal.status < 500, repr(refusal)
                return refusal

        with ExitStack() as stack:
            release = stack.enter_context(self._nodes_held_up()) if self._held_up else None
            futures = [self._pool.submit(run, call) for call in calls]
            if release is not None:
                release(len(calls))
            return [future.result(LONG_SECONDS) for future in futures]

    def on_both(self, call: Callable[[World], T]) -> list[T | OklpError]:
        return self.at_once(lambda: call(self.here), lambda: call(self.there))


@pytest.fixture
def arena(world: World) -> Iterator[Arena]:
    made = Arena(world)
    yield made
    made.close()


def kinds(outcomes: Sequence[object]) -> Counter[object]:
    """Refusals by class, and everything else as "done"."""
    return Counter(type(each) if isinstance(each, OklpError) else "done" for each in outcomes)


def postings(world: World, purpose: str) -> int:
    """How many posting sets there are whose id is like that."""
    (row,) = world.rows("SELECT count(DISTINCT set_id) FROM postings WHERE set_id LIKE :purpose", purpose=purpose)
    return int(row[0])


# --- seats -----------------------------------------------------------------------------------------------------------


def test_the_last_seat_is_taken_once(arena: Arena) -> None:
    game = arena.world.game()
    for _ in arena.rounds():
        ann, bob, cem = arena.world.players(3)
        match = arena.world.create(ann, game)
        outcomes = arena.at_once(
            lambda: arena.here.join(bob, match.match_id), lambda: arena.there.join(cem, match.match_id)
        )
        assert kinds(outcomes) == {"done": 1, MatchFull: 1}
        assert arena.world.count("seats", "match_id = :match", match=match.match_id) == 2


def test_one_player_gets_one_seat(arena: Arena) -> None:
    game = arena.world.game()
    for _ in arena.rounds():
        ann, bob = arena.world.players(2)
        match = arena.world.create(ann, game, teams=4)
        outcomes = arena.on_both(lambda world: world.join(bob, match.match_id))
        assert kinds(outcomes) == {"done": 1, Conflict: 1}
        assert arena.world.count("seats", "match_id = :match", match=match.match_id) == 2


def test_a_name_is_taken_once(arena: Arena) -> None:
    for number in arena.rounds():
        request = contract.SignUp.model_validate(
            {
                "username": f"Name-{number}",
                "email": f"{number}@example.com",
                "password": "long enough",
                "date_of_birth": "1990-01-01",
                "country": "DE",
            }
        )

        def sign_up(world: World, request: contract.SignUp = request) -> contract.Player:
            return world.run(players.sign_up, world.settings, world.new_uuid(), request, "no hash", "en", world.now)

        assert kinds(arena.on_both(sign_up)) == {"done": 1, NameTaken: 1}


# --- paying ----------------------------------------------------------------------------------------------------------


def test_a_double_click_on_confirm_pays_once(arena: Arena) -> None:
    game = arena.world.game()
    for _ in arena.rounds():
        ann, bob = arena.world.players(2, 1_000)
        match = arena.world.filled(game, [ann, bob])
        first, second = arena.on_both(lambda world: world.confirm(ann, match.match_id))
        assert first == second
        assert arena.world.wallet(ann) == (500, 500)


def test_the_last_two_confirmations_start_a_match_once(arena: Arena) -> None:
    game = arena.world.game()
    for _ in arena.rounds():
        ann, bob = arena.world.players(2, 500)
        match = arena.world.filled(game, [ann, bob])
        outcomes = arena.at_once(
            lambda: arena.here.confirm(ann, match.match_id), lambda: arena.there.confirm(bob, match.match_id)
        )
        assert sorted(each.status for each in outcomes if isinstance(each, contract.Match)) == ["pending", "starting"]
        assert arena.world.count("deliveries", "match_id = :match", match=match.match_id) == 1
        assert [arena.world.wallet(player) for player in (ann, bob)] == [(0, 500)] * 2


def test_money_for_one_match_pays_for_one(arena: Arena) -> None:
    game = arena.world.game()
    for _ in arena.rounds():
        ann, bob, cem = arena.world.players(3, 900)
        one, two = (arena.world.filled(game, [other, ann]).match_id for other in (bob, cem))
        outcomes = arena.at_once(lambda: arena.here.confirm(ann, one), lambda: arena.there.confirm(ann, two))
        assert kinds(outcomes) == {"done": 1, InsufficientFunds: 1}
        assert arena.world.wallet(ann) == (400, 500)


def test_money_for_one_withdrawal_is_withdrawn_once(arena: Arena) -> None:
    for _ in arena.rounds():
        ann = arena.world.player(900)
        outcomes = arena.on_both(lambda world: world.withdraw(ann, 500))
        assert kinds(outcomes) == {"done": 1, InsufficientFunds: 1}
        assert arena.world.available(ann) == [400]


def test_money_is_withdrawn_or_paid_as_a_fee(arena: Arena) -> None:
    game = arena.world.game()
    for _ in arena.rounds():
        ann, bob = arena.world.players(2, 500)
        match = arena.world.filled(game, [ann, bob])
        outcomes: list[object] = arena.at_once(
            lambda: arena.here.withdraw(ann, 300), lambda: arena.there.confirm(ann, match.match_id)
        )
        assert kinds(outcomes) == {"done": 1, InsufficientFunds: 1}
        assert arena.world.wallet(ann) in ((200, 0), (0, 500))


def test_a_first_deposit_in_two_places_is_two_deposits(arena: Arena) -> None:
    for _ in arena.rounds():
        ann = arena.world.player()
        assert kinds(arena.on_both(lambda world: world.deposit(ann, 5))) == {"done": 2}
        assert arena.world.available(ann) == [10]


# --- leaving and calling off while the last one pays -----------------------------------------------------------------


def test_leaving_against_the_last_confirmation(arena: Arena) -> None:
    game = arena.world.game()
    for _ in arena.rounds():
        ann, bob = arena.world.players(2, 500)
        match = arena.world.filled(game, [ann, bob]).match_id
        arena.world.confirm(ann, match)
        left, confirmed = arena.at_once(lambda: arena.here.leave(ann, match), lambda: arena.there.confirm(bob, match))
        assert isinstance(confirmed, contract.Match)
        if isinstance(left, OklpError):
            assert (type(left), confirmed.status) == (WrongState, "starting")
            assert arena.world.available(ann, bob) == [0, 0]
        else:
            assert confirmed.status == "pending"
            assert arena.world.available(ann, bob) == [500, 0]


def test_cancelling_against_the_last_confirmation(arena: Arena) -> None:
    game = arena.world.game(discovery="pull")
    for _ in arena.rounds():
        ann, bob = arena.world.players(2, 500)
        match = arena.world.filled(game, [ann, bob]).match_id
        arena.world.confirm(ann, match)
        outcomes = arena.at_once(lambda: arena.here.cancel(ann, match), lambda: arena.there.confirm(bob, match))
        assert kinds(outcomes) == {"done": 1, WrongState: 1}
        started = isinstance(outcomes[0], OklpError)
        assert arena.world.read(ann, match).status == ("live" if started else "aborted")
        assert arena.world.available(ann, bob) == ([0, 0] if started else [500, 500])


@pytest.mark.parametrize("what", ["create", "join"])
def test_suspending_against_taking_a_seat(arena: Arena, what: str) -> None:
    """Whoever is suspended has no seat in a match that waits: the others' money would wait with it."""
    for _ in arena.rounds():
        game = arena.world.game(discovery="pull")
        ann, bob = arena.world.players(2, 500)
        match = arena.world.create(bob, game, visibility="public").match_id

        def take(game: str = game, ann: Caller = ann, match: str = match) -> object:
            return arena.there.create(ann, game) if what == "create" else arena.there.join(ann, match)

        outcomes: list[object] = arena.at_once(lambda ann=ann: arena.here.suspend(ann), take)
        assert not isinstance(outcomes[0], OklpError)
        seats = "user_id = :user AND state IN ('joined', 'confirmed') AND match_id IN"
        waiting = "(SELECT id FROM matches WHERE status = 'pending')"
        assert arena.world.count("seats", f"{seats} {waiting}", user=ann.user_id) == 0


@pytest.mark.parametrize("what", ["player", "game"])
def test_suspending_against_the_last_confirmation(arena: Arena, what: str) -> None:
    for _ in arena.rounds():
        game = arena.world.game(discovery="pull")
        ann, bob = arena.world.players(2, 500)
        match = arena.world.filled(game, [ann, bob]).match_id
        arena.world.confirm(ann, match)

        def suspend(game: str = game, ann: Caller = ann) -> None:
            arena.here.suspend(ann) if what == "player" else arena.here.suspend_game(game)

        outcomes: list[object] = arena.at_once(suspend, lambda: arena.there.confirm(bob, match))
        assert not isinstance(outcomes[0], OklpError)
        status = arena.world.read(bob, match).status
        if isinstance(outcomes[1], contract.Match):
            assert status == "live", "what has started goes on"
            assert arena.world.available(ann, bob) == [0, 0]
        else:
            assert (type(outcomes[1]), status) == (WrongState, "aborted")
            assert arena.world.available(ann, bob) == [500, 500]


def test_expiring_against_the_last_confirmation(arena: Arena) -> None:
    game = arena.world.game()
    for _ in arena.rounds():
        ann, bob = arena.world.players(2, 500)
        match = arena.world.filled(game, [ann, bob]).match_id
        arena.world.confirm(ann, match)
        arena.world.now += 24 * HOUR
        arena.there = arena.world.on(arena.there.db)
        expired, confirmed = arena.at_once(arena.here.expire, lambda: arena.there.confirm(bob, match))
        if isinstance(confirmed, OklpError):
            assert (expired, type(confirmed)) == (1, WrongState)
            assert arena.world.available(ann, bob) == [500, 500]
        else:
            assert expired == 0
            assert arena.world.read(ann, match).status == "starting"


# --- the game's answer -----------------------------------------------------------------------------------------------


def test_an_answer_of_200_against_an_abort(arena: Arena) -> None:
    game = arena.world.game()
    for _ in arena.rounds():
        ann, bob = arena.world.players(2, 500)
        match = arena.world.paid(game, [ann, bob]).match_id
        start, owner = arena.world.start_of(match).id, arena.here.db.node
        arena.at_once(lambda: arena.here.reply(start, OK, owner=owner), lambda: arena.there.abort(match))
        assert arena.world.read(ann, match).status == "aborted"
        assert arena.world.available(ann, bob) == [500, 500]
        deletes = [each for each in arena.world.claim() if each.delivery_id == f"{start}-abort"]
        assert [each.method for each in deletes] == ["DELETE"], "the start is back, so it may go at once"


@pytest.mark.parametrize("reply", [OK, CONNECTION_REFUSED, TIMED_OUT], ids=["200", "refused", "timed out"])
def test_an_answer_against_the_end_of_its_lease(arena: Arena, reply: Any) -> None:
    game = arena.world.game()
    for _ in arena.rounds():
        ann, bob = arena.world.players(2, 500)
        match = arena.world.paid(game, [ann, bob]).match_id
        start, owner = arena.world.start_of(match).id, arena.here.db.node
        arena.world.now += 15 * SECOND
        arena.there = arena.world.on(arena.there.db)
        arena.at_once(lambda: arena.here.reply(start, reply, owner=owner), arena.there.lapse)
        after = arena.world.read(ann, match)
        delivery = arena.world.start_of(match)
        if after.status == "live":
            assert (reply, delivery.state) == (OK, "delivered")
            assert arena.world.available(ann, bob) == [0, 0]
        else:
            assert (after.status, delivery.state) == ("aborted", "failed")
            assert arena.world.available(ann, bob) == [500, 500]
        deliveries = arena.world.deliveries(match)
        told = delivery.state == "failed" and delivery.maybe_received
        assert ("match.aborted" in deliveries) == told


def test_a_delivery_is_claimed_by_one_node(arena: Arena) -> None:
    game = arena.world.game(start_retries=3, start_backoff_seconds=1)
    for _ in arena.rounds():
        made = [arena.world.paid(game, arena.world.players(2), 0).match_id for _ in range(6)]
        starts = [arena.world.start_of(match).id for match in made]
        for start in starts:
            arena.world.reply(start, CONNECTION_REFUSED)
        arena.world.now += SECOND
        arena.there = arena.world.on(arena.there.db)
        claimed = [
            sending.delivery_id
            for outcome in arena.on_both(lambda world: world.claim())
            if not isinstance(outcome, OklpError)
            for sending in outcome
            if sending.event == "match.started"
        ]
        assert sorted(claimed) == sorted(starts)
        for match in made:
            arena.world.abort(match)


def test_two_nodes_that_find_an_attempt_lost_abort_once(arena: Arena) -> None:
    game = arena.world.game()
    for _ in arena.rounds():
        ann, bob = arena.world.players(2, 500)
        match = arena.world.paid(game, [ann, bob]).match_id
        arena.world.now += 15 * SECOND
        arena.there = arena.world.on(arena.there.db)
        outcomes = arena.on_both(lambda world: world.lapse())
        assert Counter(outcomes) == {0: 1, 1: 1}
        assert arena.world.read(ann, match).abort_reason == "start-interrupted"
        assert arena.world.available(ann, bob) == [500, 500]


# --- results ---------------------------------------------------------------------------------------------------------


def fifty(arena: Arena, call: Callable[[World, int], contract.FinishAnswer]) -> list[contract.FinishAnswer]:
    """Fifty reports at once, half of them to each node; every outcome must be an answer."""

    def one(number: int) -> Callable[[], contract.FinishAnswer]:
        return lambda: call(arena.here if number % 2 else arena.there, number)

    answers = arena.at_once(*[one(number) for number in range(50)])
    assert kinds(answers) == {"done": 50}
    return [each for each in answers if isinstance(each, contract.FinishAnswer)]


def test_fifty_identical_results_are_one(arena: Arena) -> None:
    game = arena.world.game(fee_bps=0)
    for _ in arena.rounds(4):
        ann, bob = arena.world.players(2, 500)
        match = arena.world.live(game, [ann, bob])
        report = sync_result(match, [2, 1])
        answers = fifty(arena, lambda world, number: world.report(game, report))
        assert {(answer.accepted, answer.match_status) for answer in answers} == {(True, "finished")}
        assert arena.world.available(ann, bob) == [0, 1_000]
        assert arena.world.count("results", "match_id = :match", match=match.match_id) == 1
        assert postings(arena.world, f"match:{match.match_id}:settle") == 1
        assert arena.world.count("refused_results", "match_id = :match", match=match.match_id) == 0


def test_of_fifty_different_results_one_is_accepted_and_the_others_are_kept(arena: Arena) -> None:
    game = arena.world.game(fee_bps=0)
    for _ in arena.rounds(4):
        ann, bob = arena.world.players(2, 500)
        match = arena.world.live(game, [ann, bob])
        reports = [
            sync_result(match, [1, 2] if number % 2 else [2, 1], scores={ann.user_id: number}) for number in range(50)
        ]
        answers = fifty(arena, lambda world, number: world.report(game, reports[number]))
        assert Counter(answer.accepted for answer in answers) == {True: 1, False: 49}
        (accepted,) = [number for number, answer in enumerate(answers) if answer.accepted]
        assert arena.world.available(ann, bob) == ([1_000, 0] if accepted % 2 else [0, 1_000])
        seen = arena.world.read(ann, match.match_id)
        assert seen.teams[0].members[0].score == accepted, "the one that was accepted is the one that stands"
        assert postings(arena.world, f"match:{match.match_id}:settle") == 1
        assert arena.world.count("refused_results", "match_id = :match", match=match.match_id) == 49


def test_of_fifty_results_of_one_player_one_is_accepted(arena: Arena) -> None:
    game = arena.world.game(mode="async", fee_bps=0)
    for _ in arena.rounds(4):
        ann, bob = arena.world.players(2, 500)
        match = arena.world.live(game, [ann, bob]).match_id
        answers = fifty(
            arena,
            lambda world, number: world.report(game, player_result(match, ann.user_id, number)),
        )
        (accepted,) = [number for number, answer in enumerate(answers) if answer.accepted]
        (row,) = arena.world.rows("SELECT score FROM results WHERE match_id = :match", match=match)
        assert row.score == accepted
        assert arena.world.count("refused_results", "match_id = :match", match=match) == 49
        arena.world.report(game, player_result(match, bob.user_id, 10_000))
        assert arena.world.available(ann, bob) == [0, 1_000]


def test_the_last_two_players_results_end_a_match_once(arena: Arena) -> None:
    game = arena.world.game(mode="async", fee_bps=0)
    for _ in arena.rounds():
        ann, bob = arena.world.players(2, 500)
        match = arena.world.live(game, [ann, bob]).match_id
        answers = arena.at_once(
            lambda: arena.here.report(game, player_result(match, ann.user_id, 1)),
            lambda: arena.there.report(game, player_result(match, bob.user_id, 2)),
        )
        assert sorted(each.match_status for each in answers if isinstance(each, contract.FinishAnswer)) == [
            "finished",
            "live",
        ]
        assert arena.world.available(ann, bob) == [0, 1_000]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_result_against_its_deadline(arena: Arena, mode: str) -> None:
    game = arena.world.game(mode=mode, fee_bps=0)
    for _ in arena.rounds():
        ann, bob = arena.world.players(2, 500)
        match = arena.world.live(game, [ann, bob])
        report = sync_result(match, [1, 2])
        if mode == "async":
            arena.world.report(game, player_result(match.match_id, bob.user_id, 1))
            report = player_result(match.match_id, ann.user_id, 2)
        arena.world.now += HOUR
        arena.there = arena.world.on(arena.there.db)
        closed, answer = arena.at_once(arena.here.close_overdue, lambda: arena.there.report(game, report))
        after = arena.world.read(ann, match.match_id)
        if isinstance(answer, contract.FinishAnswer) and answer.accepted:
            assert (closed, after.status) == (0, "finished")
            assert arena.world.available(ann, bob) == [1_000, 0]
        elif mode == "sync":
            assert (closed, type(answer), after.status) == (1, WrongState, "aborted")
            assert arena.world.available(ann, bob) == [500, 500]
        else:
            assert (closed, after.status) == (1, "finished")
            assert arena.world.available(ann, bob) == [0, 1_000]


def test_a_result_against_an_operators_abort(arena: Arena) -> None:
    game = arena.world.game(fee_bps=0)
    for _ in arena.rounds():
        ann, bob = arena.world.players(2, 500)
        match = arena.world.live(game, [ann, bob])
        aborted, answer = arena.at_once(
            lambda: arena.here.abort(match.match_id), lambda: arena.there.report(game, sync_result(match, [1, 2]))
        )
        if isinstance(answer, OklpError):
            assert (aborted, type(answer)) == ([match.match_id], WrongState)
            assert arena.world.available(ann, bob) == [500, 500]
        else:
            assert aborted == []
            assert arena.world.available(ann, bob) == [1_000, 0]


def test_a_result_against_an_operators_settlement(arena: Arena) -> None:
    game = arena.world.game(fee_bps=0)
    for _ in arena.rounds():
        ann, bob = arena.world.players(2, 500)
        match = arena.world.live(game, [ann, bob])
        teams = [contract.TeamResult(id=team.id, score=0, ranking=2 - at) for at, team in enumerate(match.teams)]
        request = contract.SettleRequest(reason="because", teams=teams)
        settled, answer = arena.at_once(
            lambda: arena.here.run(results.settle, match.match_id, request, arena.here.now),
            lambda: arena.there.report(game, sync_result(match, [1, 2])),
        )
        assert isinstance(answer, contract.FinishAnswer)
        assert answer.accepted == isinstance(settled, WrongState)
        assert arena.world.available(ann, bob) == ([1_000, 0] if answer.accepted else [0, 1_000])
        assert postings(arena.world, f"match:{match.match_id}:settle") == 1


def test_two_deadline_sweeps_close_a_match_once(arena: Arena) -> None:
    game = arena.world.game(mode="async", fee_bps=0)
    for _ in arena.rounds():
        ann, bob = arena.world.players(2, 500)
        match = arena.world.live(game, [ann, bob]).match_id
        arena.world.report(game, player_result(match, ann.user_id, 1))
        arena.world.now += HOUR
        arena.there = arena.world.on(arena.there.db)
        assert Counter(arena.on_both(lambda world: world.close_overdue())) == {0: 1, 1: 1}
        assert arena.world.available(ann, bob) == [1_000, 0]


def test_a_result_against_suspending_its_winner(arena: Arena) -> None:
    game = arena.world.game(fee_bps=0)
    for _ in arena.rounds():
        ann, bob = arena.world.players(2, 500)
        match = arena.world.live(game, [ann, bob])
        outcomes: list[object] = arena.at_once(
            lambda: arena.here.suspend(ann), lambda: arena.there.report(game, sync_result(match, [1, 2]))
        )
        assert kinds(outcomes) == {"done": 2}
        paid, held = arena.world.available(ann)[0], arena.world.house(f"held:{ann.user_id}")
        assert (paid, held) in ((1_000, 0), (0, 1_000))


def test_held_winnings_are_decided_once(arena: Arena) -> None:
    game = arena.world.game(fee_bps=0)
    for _ in arena.rounds():
        ann, bob = arena.world.players(2, 500)
        match = arena.world.live(game, [ann, bob])
        arena.world.suspend(ann)
        arena.world.report(game, sync_result(match, [1, 2]))
        fees = arena.world.house("house:fees")
        outcomes = arena.at_once(
            lambda: arena.here.run(ledger.release_held, match.match_id, ann.user_id, arena.here.now),
            lambda: arena.there.run(ledger.confiscate_held, match.match_id, ann.user_id, arena.there.now),
        )
        assert kinds(outcomes) == {"done": 1, NotFound: 1}
        paid, kept = arena.world.available(ann)[0], arena.world.house("house:fees") - fees
        assert (paid, kept) == ((1_000, 0) if isinstance(outcomes[1], OklpError) else (0, 1_000))


# --- idempotency keys ------------------------------------------------------------------------------------------------


def _deposit(world: World, claim: Claim, player: Caller, amount: int) -> Answer:
    request = contract.Payment(amount=amount, currency=XTS)
    arguments = (world.settings, player.user_id, world.new_uuid(), request, world.now)
    return world.run(idempotency.once, claim, 201, ledger.deposit, *arguments)


def test_one_key_at_once_is_one_deposit_and_one_answer(arena: Arena) -> None:
    for _ in arena.rounds():
        ann = arena.world.player(1)
        claim = arena.world.key(ann, DEPOSITS)
        first, second = arena.on_both(lambda world: _deposit(world, claim, ann, 300))
        assert isinstance(first, Answer)
        assert isinstance(second, Answer)
        assert (first.status, first.body) == (second.status, second.body) == (201, first.body)
        assert sorted([first.replayed, second.replayed]) == [False, True]
        assert arena.world.available(ann) == [301]


def test_one_key_for_two_bodies_at_once_is_one_deposit_and_one_refusal(arena: Arena) -> None:
    for _ in arena.rounds():
        ann = arena.world.player(1)
        outcomes = arena.at_once(
            lambda: _deposit(arena.here, arena.here.key(ann, DEPOSITS, body="a"), ann, 300),
            lambda: _deposit(arena.there, arena.there.key(ann, DEPOSITS, body="b"), ann, 300),
        )
        assert kinds(outcomes) == {"done": 1, IdempotencyReuse: 1}
        assert arena.world.available(ann) == [301]


def test_one_key_at_once_makes_one_match(arena: Arena) -> None:
    game = arena.world.game()
    for _ in arena.rounds():
        ann = arena.world.player()
        claim = arena.world.key(ann, "POST /api/player/v1/matches")
        request = contract.NewMatch(game_id=game, entry_fee=contract.Money(amount=5, currency=XTS))

        def create(world: World, ann: Caller = ann, claim: Claim = claim) -> str:
            arguments = (world.settings, ann, request, world.new_id(), world.new_id, world.now)
            answer = world.run(idempotency.once, claim, 201, matches.create, *arguments)
            return str(json.loads(answer.body)["match_id"])

        assert len(set(arena.on_both(create))) == 1
        assert arena.world.count("matches", "created_by = :ann", ann=ann.user_id) == 1


def test_one_key_at_once_confirms_once(arena: Arena) -> None:
    game = arena.world.game()
    for _ in arena.rounds():
        ann, bob = arena.world.players(2, 500)
        match = arena.world.filled(game, [ann, bob]).match_id
        claim = arena.world.key(ann, f"POST /api/player/v1/matches/{match}/confirm")

        def confirm(world: World, ann: Caller = ann, match: str = match, claim: Claim = claim) -> Answer:
            return world.db.run_set(starting.confirm, world.confirmation(ann, match, claim))

        first, second = arena.on_both(confirm)
        assert isinstance(first, Answer)
        assert isinstance(second, Answer)
        assert (first.status, first.body) == (second.status, second.body)
        assert sorted([first.replayed, second.replayed]) == [False, True]
        assert arena.world.wallet(ann) == (0, 500)


# --- everything at once ----------------------------------------------------------------------------------------------


def _storm(arena: Arena, who: Sequence[Caller], made: Sequence[contract.Match], game: str) -> list[Callable[[], Any]]:
    """What everybody does in each match, in an order that is different for each of them."""
    calls: list[Callable[[], Any]] = []
    for turn in range(len(who)):
        for number, match in enumerate(made):
            player = who[(turn + number) % len(who)]
            world = arena.here if (turn + number) % 2 else arena.there

            def play(world: World = world, player: Caller = player, match: contract.Match = match) -> None:
                world.confirm(player, match.match_id)

            def report(world: World = world, match: contract.Match = match, turn: int = turn) -> None:
                full = match.model_copy(update={"teams": world.read(who[0], match.match_id).teams})
                world.report(game, sync_result(full, [1, 2, 3] if turn % 2 else [2, 1, 3]))

            calls += [play, report]
    return calls


def test_players_in_many_matches_on_many_nodes_lose_nothing(arena: Arena) -> None:
    """Nodes pay and settle the same players' matches in different orders: rows are locked in one."""
    game = arena.world.game(fee_bps=0, discovery="pull")
    for _ in arena.rounds(4):
        who = arena.world.players(3, 1_000)
        made = [arena.world.filled(game, who[at % 3 :] + who[: at % 3], 100, teams=3) for at in range(10)]
        outcomes = arena.at_once(*_storm(arena, who, made, game))
        assert set(kinds(outcomes)) <= {"done", WrongState}
        spent = [sum(arena.world.wallet(player)) for player in who]
        for match in made:
            after = arena.world.read(who[0], match.match_id)
            assert after.status in ("live", "finished"), "everyone has confirmed"
            if after.status == "live":
                assert arena.world.report(game, sync_result(after, [1, 1, 1])).accepted
        assert sum(arena.world.available(*who)) == sum(spent) == 3_000


def test_a_node_that_is_told_to_stop_answers_whoever_waits(world: World) -> None:
    ann = world.player(1)
    node = Database(world.settings.database_url, clock=lambda: world.now)
    there = world.on(node)
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(there.deposit, ann, 1) for _ in range(8)]
        for future in futures[:1]:
            future.result(LONG_SECONDS)
        node.close()
        done = sum(future.exception(LONG_SECONDS) is None for future in futures)
    assert all(isinstance(future.exception(), OklpError) for future in futures if future.exception() is not None), (
        "a refusal, not an error"
    )
    assert world.available(ann) == [1 + done]
    with refused(Unavailable):
        there.deposit(ann, 1)

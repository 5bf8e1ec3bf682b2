"""`Idempotency-Key`: the first answer is replayed, whatever it was (contract section B3)."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from oklp import contract
from oklp.errors import IdempotencyReuse, InvariantBroken, OklpError, TooManyRequests, Unavailable
from oklp.services import housekeeping, idempotency, ledger, matches, starting
from oklp.services.idempotency import Answer, Claim
from oklp.services.matches import Caller
from oklp.storage.engine import Tx
from tests.services.world import DAY, HOUR, XTS, World, refused

DEPOSITS = "POST /api/player/v1/wallet/deposits"
WITHDRAWALS = "POST /api/player/v1/wallet/withdrawals"
CREATE = "POST /api/player/v1/matches"


def confirm_route(match: contract.Match) -> str:
    return f"POST /api/player/v1/matches/{match.match_id}/confirm"


def deposit(world: World, claim: Claim | None, player: Caller, amount: int) -> Answer:
    request = contract.Payment(amount=amount, currency=XTS)
    arguments = (world.settings, player.user_id, world.new_uuid(), request, world.now)
    return world.run(idempotency.once, claim, 201, ledger.deposit, *arguments)


def withdraw(world: World, claim: Claim | None, player: Caller, amount: int) -> Answer:
    request = contract.Payment(amount=amount, currency=XTS)
    arguments = (world.settings, player.user_id, world.new_uuid(), request, world.now)
    return world.run(idempotency.once, claim, 201, ledger.withdraw, *arguments)


def statuses(answers: Sequence[Answer | OklpError]) -> list[tuple[int, bool] | type[OklpError]]:
    return [type(each) if isinstance(each, OklpError) else (each.status, each.replayed) for each in answers]


# --- one by one ------------------------------------------------------------------------------------------------------


def test_the_first_answer_is_replayed_and_the_work_is_done_once(world: World) -> None:
    ann = world.player()
    claim = world.key(ann, DEPOSITS)
    first = deposit(world, claim, ann, 300)
    assert (first.status, first.replayed, json.loads(first.body)["balance"]) == (201, False, 300)
    world.now += HOUR
    again = deposit(world, world.key(ann, DEPOSITS), ann, 300)
    assert again == first._replace(replayed=True)
    assert world.available(ann) == [300]
    assert world.count("payments") == 1


def test_without_a_key_each_request_is_new(world: World) -> None:
    ann = world.player()
    assert [deposit(world, None, ann, 300).replayed for _ in range(2)] == [False, False]
    assert world.available(ann) == [600]


def test_a_refusal_is_an_answer_too_and_is_replayed_when_it_would_not_be_refused_any_more(world: World) -> None:
    ann = world.player()
    first = withdraw(world, world.key(ann, WITHDRAWALS), ann, 300)
    assert first.status == 409
    problem = json.loads(first.body)
    assert (problem["type"], problem["status"]) == ("urn:oklp:error:insufficient-funds", 409)
    world.deposit(ann, 300)
    assert withdraw(world, world.key(ann, WITHDRAWALS), ann, 300) == first._replace(replayed=True)
    assert world.available(ann) == [300]
    assert withdraw(world, world.key(ann, WITHDRAWALS, "key-2"), ann, 300).status == 201


def test_a_refusal_that_names_fields_is_replayed_with_them(world: World) -> None:
    ann, game = world.player(), world.game(teams_max=2)
    request = contract.NewMatch(game_id=game, entry_fee=contract.Money(amount=5, currency=XTS), teams=3)
    for replayed in (False, True):
        arguments = (world.settings, ann, request, world.new_id(), world.new_id, world.now)
        answer = world.run(idempotency.once, world.key(ann, CREATE), 201, matches.create, *arguments)
        assert (answer.status, answer.replayed) == (422, replayed)
        assert [fault["field"] for fault in json.loads(answer.body)["errors"]] == ["teams"]
    assert world.count("matches") == 0


def test_creating_a_match_twice_makes_one(world: World) -> None:
    ann, bob, game = world.player(), world.player(), world.game()
    request = contract.NewMatch(game_id=game, entry_fee=contract.Money(amount=5, currency=XTS), invite=[bob.username])
    made = set()
    for _ in range(3):
        arguments = (world.settings, ann, request, world.new_id(), world.new_id, world.now)
        answer = world.run(idempotency.once, world.key(ann, CREATE), 201, matches.create, *arguments)
        made.add(json.loads(answer.body)["match_id"])
    assert len(made) == 1
    assert (world.count("matches"), world.count("seats")) == (1, 2)


def test_a_key_belongs_to_one_body(world: World) -> None:
    ann = world.player()
    deposit(world, world.key(ann, DEPOSITS, body="a"), ann, 300)
    with refused(IdempotencyReuse, "Idempotency-Key"):
        deposit(world, world.key(ann, DEPOSITS, body="b"), ann, 300)
    assert IdempotencyReuse.status == 422
    assert deposit(world, world.key(ann, DEPOSITS, body="a"), ann, 300).replayed, "that is no answer of the key"
    assert world.available(ann) == [300]


def test_a_key_belongs_to_one_caller_and_one_route(world: World) -> None:
    ann, bob = world.players(2)
    claims = [(ann, DEPOSITS, "k"), (bob, DEPOSITS, "k"), (ann, WITHDRAWALS, "k"), (ann, DEPOSITS, "K")]
    for who, route, key in claims:
        assert not deposit(world, world.key(who, route, key), who, 10).replayed
    assert world.available(ann, bob) == [30, 10]


@pytest.mark.parametrize("body", ["a", "b"], ids=["same body", "another body"])
def test_after_24_hours_a_key_can_be_used_anew(world: World, body: str) -> None:
    ann = world.player()
    deposit(world, world.key(ann, DEPOSITS, body="a"), ann, 300)
    world.now += DAY
    assert deposit(world, world.key(ann, DEPOSITS, body="a"), ann, 300).replayed
    world.now += 1
    assert not deposit(world, world.key(ann, DEPOSITS, body=body), ann, 300).replayed
    world.now += DAY
    assert deposit(world, world.key(ann, DEPOSITS, body=body), ann, 300).replayed, "for 24 hours again"
    assert world.available(ann) == [600]


def test_old_answers_are_swept_and_young_ones_are_not(world: World) -> None:
    ann = world.player()
    deposit(world, world.key(ann, DEPOSITS, "old"), ann, 300)
    world.now += HOUR
    deposit(world, world.key(ann, DEPOSITS, "young"), ann, 300)
    world.now += 23 * HOUR + 1
    world.run(housekeeping.sweep, world.settings, world.now)
    assert world.count("idempotency") == 1
    assert deposit(world, world.key(ann, DEPOSITS, "young"), ann, 300).replayed


def _later(tx: Tx, refusal: OklpError) -> contract.Player:
    tx.driver("INSERT INTO studios (id, name, created_at) VALUES ('half-done', '', 0)")
    raise refusal


@pytest.mark.parametrize(
    "refusal",
    [
        Unavailable("later", retry_after_seconds=1),
        TooManyRequests("later", retry_after_seconds=1),
        InvariantBroken("a bug"),
    ],
)
def test_what_says_later_is_no_answer(world: World, refusal: OklpError) -> None:
    ann = world.player()
    for _ in range(2):
        with pytest.raises(type(refusal)):
            world.run(idempotency.once, world.key(ann, DEPOSITS), 201, _later, refusal)
    assert not deposit(world, world.key(ann, DEPOSITS), ann, 300).replayed
    assert world.count("studios", "id = 'half-done'") == 0


def test_the_work_of_a_refusal_is_undone_and_the_refusal_is_kept(world: World) -> None:
    ann = world.player()
    refusal = OklpError.__subclasses__()[0]("no")
    assert refusal.status == 422
    for replayed in (False, True):
        answer = world.run(idempotency.once, world.key(ann, DEPOSITS), 201, _later, refusal)
        assert (answer.status, answer.replayed) == (422, replayed)
    assert world.count("studios", "id = 'half-done'") == 0


# --- set-based: confirming -------------------------------------------------------------------------------------------


def test_a_confirmation_is_replayed_as_it_was(world: World) -> None:
    ann, bob = world.players(2, 500)
    match = world.filled(world.game(discovery="pull"), [ann, bob])
    claim = world.key(ann, confirm_route(match))
    first = world.db.run_set(starting.confirm, world.confirmation(ann, match.match_id, claim))
    assert (first.status, json.loads(first.body)["status"]) == (200, "pending")
    world.confirm(bob, match.match_id)
    again = world.db.run_set(starting.confirm, world.confirmation(ann, match.match_id, claim))
    assert again == first._replace(replayed=True), "the first answer, and not the match as it is by now"
    assert world.available(ann) == [0]


def test_a_refused_confirmation_is_replayed_even_when_the_money_is_there(world: World) -> None:
    ann, bob = world.player(), world.player(500)
    match = world.filled(world.game(), [ann, bob])
    claim = world.key(ann, confirm_route(match))
    answers = world.confirm_batch([world.confirmation(ann, match.match_id, claim)])
    world.deposit(ann, 500)
    answers += world.confirm_batch([world.confirmation(ann, match.match_id, claim)])
    assert statuses(answers) == [(409, False), (409, True)]
    assert world.available(ann) == [500]
    assert statuses(world.confirm_batch([world.confirmation(ann, match.match_id)])) == [(200, False)]


def test_a_confirmation_under_a_used_key_is_refused(world: World) -> None:
    ann, bob = world.players(2, 500)
    match = world.filled(world.game(), [ann, bob])
    route = confirm_route(match)
    world.confirm_batch([world.confirmation(ann, match.match_id, world.key(ann, route, body="a"))])
    with refused(IdempotencyReuse, "Idempotency-Key"):
        world.db.run_set(starting.confirm, world.confirmation(ann, match.match_id, world.key(ann, route, body="b")))


def test_duplicates_within_a_batch_share_one_answer(world: World) -> None:
    ann, bob = world.players(2, 500)
    match = world.filled(world.game(discovery="pull"), [ann, bob])
    route = confirm_route(match)
    of_ann, of_bob = world.key(ann, route), world.key(bob, route)
    other_body = world.key(ann, route, body="b")
    answers = world.confirm_batch(
        [
            world.confirmation(ann, match.match_id, of_ann),
            world.confirmation(bob, match.match_id, of_bob),
            world.confirmation(ann, match.match_id, of_ann),
            world.confirmation(ann, match.match_id, other_body),
            world.confirmation(ann, match.match_id),
        ]
    )
    assert statuses(answers) == [(200, False), (200, False), (200, True), IdempotencyReuse, (200, False)]
    bodies = [json.loads(each.body)["status"] for each in answers if isinstance(each, Answer)]
    assert bodies == ["pending", "live", "pending", "live"]
    assert world.count("idempotency") == 2
    assert world.available(ann, bob) == [0, 0]


def test_a_confirmations_key_can_be_used_anew_after_24_hours(world: World) -> None:
    ann, bob = world.players(2, 500)
    match = world.filled(world.game(), [ann, bob])
    route = confirm_route(match)
    world.confirm_batch([world.confirmation(ann, match.match_id, world.key(ann, route))])
    world.leave(ann, match.match_id)
    world.now += DAY + 1
    answers = world.confirm_batch([world.confirmation(ann, match.match_id, world.key(ann, route))])
    assert statuses(answers) == [(409, False)], "it has left, and the answer of yesterday is not replayed"

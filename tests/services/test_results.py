"""Results, payouts and deadlines (contract section A7)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from oklp import contract
from oklp.domain.matches import STATUSES
from oklp.errors import Forbidden, InvalidRequest, MatchStarting, NotFound, OklpError, WrongState
from oklp.services import housekeeping, launch, ledger, matches, operators, players, results, statement
from oklp.services.launch import LaunchJob, TokenQuestion
from oklp.services.matches import Caller
from oklp.signing import hash_token
from tests.services.world import (
    HOUR,
    OK,
    SECOND,
    World,
    answered,
    player_result,
    refused,
    sync_result,
)

BEST_SCORE = 2**53 - 1


def kept_aside(world: World, match_id: str) -> int:
    return world.count("refused_results", "match_id = :match", match=match_id)


def in_state(world: World, mode: str, status: str) -> contract.Match:
    """A match of two, one against one, in that state."""
    game = world.game(mode=mode)
    who = world.players(2, 500)
    match = world.filled(game, who) if status == "pending" else world.paid(game, who)
    start = world.start_of(match.match_id).id if status != "pending" else ""
    if status == "aborted":
        world.reply(start, answered(500))
    elif status in ("live", "finished"):
        world.reply(start, OK)
    if status == "finished":
        for request in some_result(match, mode):
            world.report(game, request)
    after = world.run(matches.read, who[0].user_id, match.match_id)
    assert after.status == status
    return after


def some_result(match: contract.Match, mode: str) -> list[contract.FinishRequest]:
    if mode == "sync":
        return [sync_result(match, [1, 2])]
    members = [member.user_id for team in match.teams for member in team.members]
    return [player_result(match.match_id, user_id, 10 - index) for index, user_id in enumerate(members)]


# --- by state --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("status", STATUSES)
def test_what_a_report_is_answered_by_state(world: World, mode: str, status: str) -> None:
    match = in_state(world, mode, status)
    report = some_result(match, mode)[0]
    match status:
        case "pending" | "aborted":
            with refused(WrongState):
                world.report(match.game_id, report)
        case "starting":
            with pytest.raises(MatchStarting) as caught:
                world.report(match.game_id, report)
            assert (caught.value.status, caught.value.retry_after_seconds) == (503, 1)
        case _:
            answer = world.report(match.game_id, report)
            over = status == "finished" or mode == "sync"
            assert answer == contract.FinishAnswer(
                match_id=match.match_id, accepted=True, match_status="finished" if over else "live"
            )
    if status not in ("live", "finished"):
        assert world.count("results") == 0


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_unknown_matches_and_those_of_other_games_are_the_same(world: World, mode: str) -> None:
    match = in_state(world, mode, "live")
    details = set()
    for game_id, match_id in ((world.game(mode=mode), match.match_id), (match.game_id, "0" * 24)):
        report = some_result(match, mode)[0].model_copy(update={"match_id": match_id})
        with pytest.raises(NotFound) as caught:
            world.report(game_id, report)
        details.add(caught.value.detail)
    assert len(details) == 1
    assert world.count("results") == 0


def test_each_mode_refuses_the_others_reports_and_says_so(world: World) -> None:
    synchronous, asynchronous = (in_state(world, mode, "live") for mode in ("sync", "async"))
    first = synchronous.teams[0].members[0].user_id
    with pytest.raises(InvalidRequest, match="sync mode") as caught:
        world.report(synchronous.game_id, player_result(synchronous.match_id, first, 3))
    assert [fault.field for fault in caught.value.errors] == ["teams"]
    with pytest.raises(InvalidRequest, match="async mode") as caught:
        world.report(asynchronous.game_id, sync_result(asynchronous, [1, 2]))
    assert [fault.field for fault in caught.value.errors] == ["teams"]
    both = sync_result(asynchronous, [1, 2]).model_copy(update={"teams": None})
    with pytest.raises(InvalidRequest, match="async mode") as caught:
        world.report(asynchronous.game_id, both)
    assert [fault.field for fault in caught.value.errors] == ["participants"]


def test_an_empty_list_of_teams_is_none_and_a_null_no_forfeit(world: World) -> None:
    """Serializers of typed games write what they have no value for."""
    synchronous, asynchronous = (in_state(world, mode, "live") for mode in ("sync", "async"))
    first = asynchronous.teams[0].members[0].user_id
    plain = player_result(asynchronous.match_id, first, 3)
    assert world.report(asynchronous.game_id, plain.model_copy(update={"teams": []})).accepted
    assert world.report(asynchronous.game_id, plain).accepted, "the same result"
    with refused(InvalidRequest, "teams"):
        whole = sync_result(synchronous, [1, 2]).model_copy(update={"teams": []})
        world.report(synchronous.game_id, whole)
    body = sync_result(synchronous, [1, 2]).model_dump()
    body["teams"][0]["forfeit"] = None
    assert world.report(synchronous.game_id, contract.FinishRequest.model_validate(body)).accepted
    assert world.report(synchronous.game_id, sync_result(synchronous, [1, 2])).accepted, "the same result"
    assert kept_aside(world, synchronous.match_id) == kept_aside(world, asynchronous.match_id) == 0


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_suspended_game_finishes_what_is_live_and_then_reports_nothing(world: World, mode: str) -> None:
    match = in_state(world, mode, "live")
    ann = Caller(match.teams[0].members[0].user_id, match.teams[0].members[0].username)
    world.db.run_set(launch.launch, LaunchJob(ann, match.match_id, "browser", "token", world.now))
    question = TokenQuestion(match.game_id, hash_token("token"), world.now)
    world.suspend_game(match.game_id)
    assert world.db.run_set(launch.token_info, question).match_status == "live"
    world.run(matches.check_not_shut, match.game_id)
    # Whatever it asks about: its live match keeps the game open.
    with refused(NotFound):
        world.db.run_set(launch.token_info, replace(question, token_hash="unknown"))
    reports = some_result(match, mode)
    for report in reports:
        assert world.report(match.game_id, report).accepted
    with refused(Forbidden):
        world.report(match.game_id, reports[0].model_copy(update={"match_id": "0" * 24}))
    for token in ("token", "unknown"):
        with refused(Forbidden):
            world.db.run_set(launch.token_info, TokenQuestion(match.game_id, hash_token(token), world.now))
    with refused(Forbidden):
        world.run(matches.check_not_shut, match.game_id)
    world.approve_game(match.game_id)
    assert world.report(match.game_id, reports[0]).accepted
    assert world.db.run_set(launch.token_info, question).match_status == "finished"


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_suspended_game_is_told_what_became_of_a_result_whose_answer_was_lost(world: World, mode: str) -> None:
    match, called_off = (in_state(world, mode, "live") for _ in range(2))
    reports = some_result(match, mode)
    world.report_batch([(match.game_id, report) for report in reports])
    world.abort(called_off.match_id)
    for game_id in (match.game_id, called_off.game_id):
        world.suspend_game(game_id)
    first = reports[0].participants[0]
    other = reports[0].model_copy(
        update={"participants": [first.model_copy(update={"score": first.score + 1}), *reports[0].participants[1:]]}
    )
    before = (world.count("postings"), world.count("results"))
    # With what it has no answer to expect for, in one transaction: another's match, and one that no result ended.
    *again, different, foreign, never = world.report_batch(
        [
            *((match.game_id, report) for report in (*reports, other)),
            (called_off.game_id, reports[0]),
            (called_off.game_id, some_result(called_off, mode)[0]),
        ]
    )
    finished = contract.FinishAnswer(match_id=match.match_id, accepted=True, match_status="finished")
    assert again == [finished] * len(reports)
    assert different == finished.model_copy(update={"accepted": False})
    assert isinstance(foreign, Forbidden)
    assert isinstance(never, Forbidden)
    assert (world.count("postings"), world.count("results")) == before
    assert kept_aside(world, match.match_id) == 1


def test_a_suspended_game_whose_match_is_starting_is_not_shut(world: World) -> None:
    match = in_state(world, "sync", "starting")
    world.suspend_game(match.game_id)
    world.run(matches.check_not_shut, match.game_id)
    with refused(MatchStarting):
        world.report(match.game_id, some_result(match, "sync")[0])


# --- synchronous games -----------------------------------------------------------------------------------------------


def test_the_winner_is_paid_and_the_fee_is_shared(world: World) -> None:
    ann, bob = world.players(2, 1_000)
    match = world.live(world.game(fee_bps=1_000, studio_share_bps=2_500), [ann, bob], 333)
    scores = {ann.user_id: 300, bob.user_id: 100}
    world.now += 5 * SECOND
    world.report(match.game_id, sync_result(match, [1, 2], scores=scores))
    assert (world.house("house:fees"), world.house(f"studio:{world.studio_id}")) == (50, 16), "of 66"
    assert [world.wallet(player) for player in (ann, bob)] == [(1_267, 0), (667, 0)]

    after = world.read(bob, match.match_id)
    assert after.status == "finished"
    assert after.finished_at is not None
    assert int(after.finished_at.timestamp() * 1000) == world.now
    assert after.winnings == [contract.Winning(user_id=ann.user_id, amount=600)]
    assert [(team.ranking, team.forfeit) for team in after.teams] == [(1, False), (2, False)]
    assert [team.members[0].score for team in after.teams] == [300, 100]
    page, _ = world.run(statement.entries, ann.user_id, statement.ALL, None, 1)
    assert [(entry.kind, entry.amount, entry.match_id) for entry in page.entries] == [("settle", 600, match.match_id)]


def test_an_identical_retry_is_accepted_again_and_changes_nothing(world: World) -> None:
    ann, bob = world.players(2, 500)
    match = world.live(world.game(), [ann, bob])
    report = sync_result(match, [2, 1])
    world.report(match.game_id, report)
    before = (world.read(ann, match.match_id), world.available(ann, bob), world.count("postings"))
    turned = report.model_copy(update={"participants": report.participants[::-1], "teams": (report.teams or [])[::-1]})
    for again in (report, turned):
        world.now += SECOND
        answer = world.report(match.game_id, again)
        assert (answer.accepted, answer.match_status) == (True, "finished")
    assert (world.read(ann, match.match_id), world.available(ann, bob), world.count("postings")) == before
    assert world.count("results") == 1
    assert kept_aside(world, match.match_id) == 0


def test_a_different_result_is_kept_for_the_operator_and_changes_nothing(world: World) -> None:
    ann, bob = world.players(2, 500)
    match = world.live(world.game(), [ann, bob])
    world.report(match.game_id, sync_result(match, [1, 2]))
    before = (world.read(ann, match.match_id), world.available(ann, bob))
    others = [
        sync_result(match, [2, 1]),
        sync_result(match, [1, 2], forfeits=[1]),
        sync_result(match, [1, 2], scores={ann.user_id: 11}),
    ]
    for other in [*others, *others]:
        answer = world.report(match.game_id, other)
        assert (answer.accepted, answer.match_status) == (False, "finished")
    assert (world.read(ann, match.match_id), world.available(ann, bob)) == before
    assert kept_aside(world, match.match_id) == 3, "each once"
    assert world.report(match.game_id, sync_result(match, [1, 2])).accepted, "the first stays the valid one"


def test_conflicting_results_are_kept_up_to_a_bound(world: World) -> None:
    ann, bob = world.players(2)
    match = world.live(world.game(), [ann, bob], 0)
    world.report(match.game_id, sync_result(match, [1, 2]))
    for first in range(0, 120, 40):
        flood = [sync_result(match, [1, 2], scores={ann.user_id: 100 + first + number}) for number in range(40)]
        outcomes = world.report_batch([(match.game_id, each) for each in flood])
        assert all(isinstance(each, contract.FinishAnswer) and not each.accepted for each in outcomes)
        shown = world.run(operators.refused_results, match.match_id)
        assert (len(shown.results), shown.more) == (min(40 + first, results.MAX_REFUSED), first == 80)
    assert kept_aside(world, match.match_id) == results.MAX_REFUSED + 1, (
        "one more than is shown says that there are more"
    )
    whole = world.run(operators.match, match.match_id)
    assert (whole.refused_results, whole.more_refused_results) == (shown.results, True)


def test_what_is_sent_again_takes_no_other_results_place(world: World) -> None:
    ann, bob = world.players(2)
    match = world.live(world.game(), [ann, bob], 0)
    world.report(match.game_id, sync_result(match, [1, 2]))
    flood = [
        sync_result(match, [1, 2], scores={ann.user_id: 100 + number}) for number in range(results.MAX_REFUSED + 1)
    ]
    world.report_batch([(match.game_id, each) for each in flood[:-1]])
    assert not world.run(operators.refused_results, match.match_id).more, "all of them are kept"
    world.report_batch([(match.game_id, each) for each in flood])
    assert world.run(operators.refused_results, match.match_id).more


Change = Callable[[dict[str, Any]], object]


def _swap(report: dict[str, Any], listed: str, index: int, name: str, value: object) -> None:
    report[listed][index][name] = value


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        (lambda r: _swap(r, "participants", 1, "id", "stranger"), ["participants", "participants.1.id"]),
        (
            lambda r: _swap(r, "participants", 2, "id", r["participants"][0]["id"]),
            ["participants", "participants.2.id"],
        ),
        (lambda r: r["participants"].pop(), ["participants"]),
        (lambda r: r["participants"].append({"id": "x", "score": 1}), ["participants.3.id"]),
        (lambda r: _swap(r, "teams", 0, "id", "stranger"), ["teams", "teams.0.id"]),
        (lambda r: _swap(r, "teams", 1, "id", r["teams"][0]["id"]), ["teams", "teams.1.id"]),
        (lambda r: r["teams"].pop(), ["teams"]),
        (lambda r: _swap(r, "teams", 0, "ranking", 2), ["teams.0.ranking", "teams.1.ranking"]),
        (lambda r: _swap(r, "teams", 2, "ranking", 4), ["teams.2.ranking"]),
        (lambda r: _swap(r, "teams", 0, "ranking", 4), ["teams.1.ranking"]),
        (lambda r: _swap(r, "teams", 0, "forfeit", True), ["teams.0.ranking"]),
        (lambda r: (_swap(r, "teams", 2, "ranking", 9), r["participants"].pop()), ["participants", "teams.2.ranking"]),
    ],
    ids=[
        "unknown player",
        "player twice",
        "player missing",
        "player too many",
        "unknown team",
        "team twice",
        "team missing",
        "ranks start above 1",
        "gap at the end",
        "gap at the start",
        "forfeited above one that played",
        "two faults",
    ],
)
@pytest.mark.parametrize("status", ["live", "finished"])
def test_a_faulty_result_names_its_fields_and_stores_nothing(
    world: World, change: Change, fields: Sequence[str], status: str
) -> None:
    who = world.players(3, 500)
    match = world.live(world.game(), who, teams=3)
    good = sync_result(match, [1, 2, 3])
    if status == "finished":
        world.report(match.game_id, good)
    body = good.model_dump()
    change(body)
    stored = (world.count("results"), world.count("postings"))
    with refused(InvalidRequest, *fields):
        world.report(match.game_id, contract.FinishRequest.model_validate(body))
    assert (world.count("results"), world.count("postings")) == stored
    assert kept_aside(world, match.match_id) == 0
    assert world.report(match.game_id, good).accepted, "and the right one still counts"


@pytest.mark.parametrize(
    ("ranks", "forfeits", "shares", "prizes"),
    [
        ([1, 2, 3], (), None, [1_500, 0, 0]),
        ([2, 3, 1], (), [5_000, 3_000, 2_000], [450, 300, 750]),
        ([1, 1, 2], (), None, [750, 750, 0]),
        ([1, 1, 3], (), [5_000, 3_000, 2_000], [600, 600, 300]),
        ([1, 2, 2], (), [6_000, 4_000], [900, 300, 300]),
        ([1, 1, 1], (), None, [500, 500, 500]),
        ([1, 2, 3], (1, 2), [6_000, 4_000], [1_500, 0, 0]),
        ([1, 2, 3], (2,), [5_000, 3_000, 2_000], [938, 562, 0]),
        ([3, 1, 2], (0, 2), None, [0, 1_500, 0]),
    ],
    ids=[
        "winner takes all",
        "shares",
        "a tie in front",
        "a tie with shares",
        "a tie behind",
        "all tied",
        "one played",
        "two played for three shares",
        "the others gave up",
    ],
)
def test_prizes_follow_ranks_shares_ties_and_forfeits(
    world: World, ranks: list[int], forfeits: tuple[int, ...], shares: list[int] | None, prizes: list[int]
) -> None:
    who = world.players(3, 500)
    match = world.live(world.game(fee_bps=0), who, teams=3, shares=shares)
    world.report(match.game_id, sync_result(match, ranks, forfeits=forfeits))
    assert world.available(*who) == prizes


def test_a_teams_prize_is_split_and_what_is_left_over_goes_to_the_earlier(world: World) -> None:
    who = world.players(6, 7)
    match = world.live(world.game(fee_bps=0), who, 7, teams=2, team_size=3)
    world.report(match.game_id, sync_result(match, [1, 1]))
    assert world.available(*who) == [7] * 6
    again = world.live(world.game(fee_bps=500), who, 7, teams=2, team_size=3)
    world.report(again.game_id, sync_result(again, [2, 1]))
    assert world.available(*who) == [0, 0, 0, 14, 13, 13], "42, less a fee of 2, among three"


def test_when_everyone_forfeits_everyone_is_refunded(world: World) -> None:
    who = world.players(2, 500)
    match = world.live(world.game(), who)
    answer = world.report(match.game_id, sync_result(match, [1, 1], forfeits=[0, 1]))
    assert (answer.accepted, answer.match_status) == (True, "finished")
    assert [world.wallet(player) for player in who] == [(500, 0)] * 2
    assert (world.house("house:fees"), world.read(who[0], match.match_id).winnings) == (0, [])


def test_a_free_match_is_finished_without_a_posting(world: World) -> None:
    who = world.players(2)
    match = world.live(world.game(), who, 0)
    assert world.report(match.game_id, sync_result(match, [1, 2])).match_status == "finished"
    assert world.count("postings") == 0
    assert world.read(who[0], match.match_id).winnings == []


# --- asynchronous games ----------------------------------------------------------------------------------------------


def test_each_players_first_result_counts_and_the_last_one_ends_the_match(world: World) -> None:
    ann, bob = world.players(2, 500)
    match = world.live(world.game(mode="async", fee_bps=0), [ann, bob])

    def report(player: Caller, score: int) -> tuple[bool, str]:
        answer = world.report(match.game_id, player_result(match.match_id, player.user_id, score))
        return answer.accepted, answer.match_status

    assert report(ann, 7) == (True, "live")
    assert report(ann, 7) == (True, "live")
    assert report(ann, 8) == (False, "live")
    assert report(bob, 9) == (True, "finished")
    assert report(ann, 7) == (True, "finished")
    assert report(ann, 8) == (False, "finished")
    assert report(bob, 1) == (False, "finished")
    assert world.available(ann, bob) == [0, 1_000]
    assert kept_aside(world, match.match_id) == 2
    assert world.count("results") == 2


def test_scores_are_hidden_until_the_match_is_finished(world: World) -> None:
    ann, bob = world.players(2, 500)
    match = world.live(world.game(mode="async"), [ann, bob])
    world.report(match.game_id, player_result(match.match_id, ann.user_id, 7_654_321))
    for player in (ann, bob):
        seen = world.read(player, match.match_id)
        assert "7654321" not in seen.model_dump_json()
        assert [(team.score, team.ranking, team.members[0].score) for team in seen.teams] == [(None, None, None)] * 2
    world.report(match.game_id, player_result(match.match_id, bob.user_id, 7_654_322))
    seen = world.read(ann, match.match_id)
    assert [(team.score, team.ranking, team.members[0].score) for team in seen.teams] == [
        (7_654_321, 2, 7_654_321),
        (7_654_322, 1, 7_654_322),
    ]


def test_a_token_says_whether_its_players_result_is_in(world: World) -> None:
    ann, bob = world.players(2)
    match = world.live(world.game(mode="async"), [ann, bob], 0)
    for player in (ann, bob):
        world.db.run_set(launch.launch, LaunchJob(player, match.match_id, "browser", player.user_id, world.now))

    def left() -> list[tuple[str, int]]:
        infos = [
            world.db.run_set(launch.token_info, TokenQuestion(match.game_id, hash_token(player.user_id), world.now))
            for player in (ann, bob)
        ]
        return [(info.match_status, info.submissions_left) for info in infos]

    assert left() == [("live", 1), ("live", 1)]
    world.report(match.game_id, player_result(match.match_id, bob.user_id, 1))
    assert left() == [("live", 1), ("live", 0)]
    world.report(match.game_id, player_result(match.match_id, ann.user_id, 1))
    assert left() == [("finished", 0), ("finished", 0)]


@pytest.mark.parametrize(
    ("order", "scores", "ranks"),
    [
        ("high", [3, 4, 1, 1, 5, 1], [1, 3, 2]),
        ("low", [3, 4, 1, 1, 5, 0], [3, 1, 2]),
        ("high", [1, 2, 3, 0, 1, 1], [1, 1, 3]),
        ("low", [BEST_SCORE, BEST_SCORE, BEST_SCORE, 0, 0, 0], [3, 2, 1]),
    ],
)
def test_ranks_follow_from_the_sums_of_scores(world: World, order: str, scores: list[int], ranks: list[int]) -> None:
    who = world.players(6)
    match = world.live(world.game(mode="async", score_order=order), who, 0, teams=3, team_size=2)
    for player, score in zip(who, scores, strict=True):
        world.report(match.game_id, player_result(match.match_id, player.user_id, score))
    seen = world.read(who[0], match.match_id)
    assert [team.ranking for team in seen.teams] == ranks
    assert [team.score for team in seen.teams] == [sum(scores[at : at + 2]) for at in (0, 2, 4)]


def test_a_result_of_a_stranger_is_refused_by_field(world: World) -> None:
    match = in_state(world, "async", "live")
    with refused(InvalidRequest, "participants.0.id"):
        world.report(match.game_id, player_result(match.match_id, "stranger", 5))
    assert (world.count("results"), kept_aside(world, match.match_id)) == (0, 0)


@pytest.mark.parametrize("score", [-1, 2**53, 1.0, "5", True, None])
@pytest.mark.parametrize("where", ["participants", "teams"])
def test_scores_are_integers_from_0_to_2_to_the_53_less_1(where: str, score: object) -> None:
    body: dict[str, Any] = {
        "match_id": "0" * 24,
        "participants": [{"id": "u", "score": BEST_SCORE}],
        "teams": [{"id": "t", "score": 0, "ranking": 1}],
    }
    contract.FinishRequest.model_validate(body)
    body[where][0]["score"] = score
    with pytest.raises(ValueError, match=f"{where}.0.score"):
        contract.FinishRequest.model_validate(body)


# --- several in one batch --------------------------------------------------------------------------------------------


def test_reports_of_one_batch_are_decided_in_order_and_each_alone(world: World) -> None:
    ann, bob, cem, dan = world.players(4, 500)
    game, asynchronous = world.game(fee_bps=0), world.game(mode="async", fee_bps=0)
    one = world.live(game, [ann, bob])
    two = world.live(asynchronous, [cem, dan])
    outcomes = world.report_batch(
        [
            (game, sync_result(one, [1, 3])),
            (game, sync_result(one, [2, 1])),
            (asynchronous, sync_result(one, [1, 2])),
            (game, sync_result(one, [1, 2])),
            (game, sync_result(one, [2, 1])),
            (asynchronous, player_result(two.match_id, cem.user_id, 1)),
            (asynchronous, player_result(two.match_id, cem.user_id, 2)),
            (asynchronous, player_result(two.match_id, dan.user_id, 2)),
            (asynchronous, player_result(two.match_id, cem.user_id, 1)),
        ]
    )
    assert [type(each) if isinstance(each, OklpError) else (each.accepted, each.match_status) for each in outcomes] == [
        InvalidRequest,
        (True, "finished"),
        NotFound,
        (False, "finished"),
        (True, "finished"),
        (True, "live"),
        (False, "live"),
        (True, "finished"),
        (True, "finished"),
    ]
    assert world.available(ann, bob, cem, dan) == [0, 1_000, 0, 1_000]


def test_one_batch_pays_a_player_from_several_matches(world: World) -> None:
    ann, bob = world.players(2, 1_500)
    game = world.game(fee_bps=0)
    made = [world.live(game, [ann, bob]) for _ in range(3)]
    world.report_batch([(game, sync_result(match, [1, 2])) for match in made])
    assert world.available(ann, bob) == [3_000, 0]


# --- deadlines -------------------------------------------------------------------------------------------------------


def test_a_synchronous_match_without_a_result_is_refunded(world: World) -> None:
    ann, bob = world.players(2, 500)
    match = world.live(world.game(results_due_seconds=60), [ann, bob])
    world.now += 60 * SECOND - 1
    assert world.close_overdue() == 0
    world.now += 1
    assert world.close_overdue() == 1
    after = world.read(ann, match.match_id)
    assert (after.status, after.abort_reason) == ("aborted", "no-results")
    assert [world.wallet(player) for player in (ann, bob)] == [(500, 0)] * 2
    with refused(WrongState):
        world.report(match.game_id, sync_result(match, [1, 2]))
    assert [each.method for each in world.claim()] == ["DELETE"], "the game may still hold it"
    assert world.close_overdue() == 0


@pytest.mark.parametrize(
    ("order", "scores", "winner"),
    [
        ("high", {0: 1}, 0),
        ("high", {0: 1, 2: 5}, 1),
        ("low", {2: 0}, 1),
        # When the lowest score wins, a missing result must not be a perfect one.
        ("low", {0: 9, 1: 9, 2: 1}, 0),
    ],
    ids=["one played", "one of each team", "a score of 0 is a score", "a whole team before half of one"],
)
def test_at_the_deadline_the_missing_are_ranked_last(
    world: World, order: str, scores: dict[int, int], winner: int
) -> None:
    who = world.players(4, 500)
    game = world.game(mode="async", score_order=order, fee_bps=2_500)
    match = world.live(game, who, teams=2, team_size=2)
    for index, score in scores.items():
        world.report(game, player_result(match.match_id, who[index].user_id, score))
    world.now += HOUR
    assert world.close_overdue() == 1
    after = world.read(who[0], match.match_id)
    assert after.status == "finished"
    assert [team.ranking for team in after.teams] == ([1, 2] if winner == 0 else [2, 1])
    assert world.available(*who) == ([750, 750, 0, 0] if winner == 0 else [0, 0, 750, 750])


def test_a_player_without_a_result_counts_as_forfeited_and_may_not_add_one_later(world: World) -> None:
    ann, bob = world.players(2, 500)
    match = world.live(world.game(mode="async", fee_bps=0), [ann, bob])
    world.report(match.game_id, player_result(match.match_id, bob.user_id, 0))
    world.now += HOUR
    world.close_overdue()
    after = world.read(ann, match.match_id)
    assert [(team.ranking, team.forfeit, team.score) for team in after.teams] == [(2, True, None), (1, False, 0)]
    late = world.report(match.game_id, player_result(match.match_id, ann.user_id, 99))
    assert (late.accepted, late.match_status) == (False, "finished")
    again = world.report(match.game_id, player_result(match.match_id, bob.user_id, 0))
    assert again.accepted
    assert world.available(ann, bob) == [0, 1_000]
    assert kept_aside(world, match.match_id) == 1


def test_when_no_one_has_a_result_all_are_refunded(world: World) -> None:
    who = world.players(3, 500)
    match = world.live(world.game(mode="async"), who, teams=3)
    world.now += HOUR
    assert world.close_overdue() == 1
    assert world.read(who[0], match.match_id).status == "aborted"
    assert world.available(*who) == [500] * 3


def test_deadlines_close_what_is_due_and_nothing_else(world: World) -> None:
    game = world.game(results_due_seconds=10)
    who = world.players(6, 500)
    due = world.live(game, who[:2])
    world.now += 5 * SECOND
    later = world.live(game, who[2:4])
    starting = world.paid(game, who[4:])
    world.now += 5 * SECOND
    assert world.close_overdue() == 1
    assert [world.read(who[at], each.match_id).status for at, each in ((0, due), (2, later), (4, starting))] == [
        "aborted",
        "live",
        "starting",
    ]


# --- operators -------------------------------------------------------------------------------------------------------


def settle(world: World, match: contract.Match, ranks: Sequence[int], scores: dict[str, int] | None = None) -> None:
    request = contract.SettleRequest(
        reason="because",
        participants=[contract.ParticipantResult(id=user, score=score) for user, score in (scores or {}).items()],
        teams=[
            contract.TeamResult(id=team.id, score=0, ranking=rank)
            for team, rank in zip(match.teams, ranks, strict=True)
        ],
    )
    world.run(results.settle, match.match_id, request, world.now)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_an_operator_settles_a_live_match_in_the_games_place(world: World, mode: str) -> None:
    ann, bob = world.players(2, 500)
    match = world.live(world.game(mode=mode, fee_bps=0), [ann, bob])
    if mode == "async":
        world.report(match.game_id, player_result(match.match_id, ann.user_id, 4))
    with refused(InvalidRequest, "teams.1.ranking"):
        settle(world, match, [1, 3])
    with refused(InvalidRequest, "participants.0.id"):
        settle(world, match, [1, 2], {"stranger": 1})
    settle(world, match, [2, 1], {bob.user_id: 8})
    after = world.read(ann, match.match_id)
    assert after.status == "finished"
    assert [team.members[0].score for team in after.teams] == [4 if mode == "async" else None, 8]
    assert world.available(ann, bob) == [0, 1_000]
    with refused(WrongState):
        settle(world, match, [1, 2])
    report = sync_result(match, [1, 2]) if mode == "sync" else player_result(match.match_id, bob.user_id, 8)
    assert not world.report(match.game_id, report).accepted
    if mode == "async":
        assert world.report(match.game_id, player_result(match.match_id, ann.user_id, 4)).accepted, "it was in before"


@pytest.mark.parametrize("status", ["pending", "starting", "aborted", "finished"])
def test_only_a_live_match_is_settled(world: World, status: str) -> None:
    match = in_state(world, "sync", status)
    with refused(WrongState):
        settle(world, match, [1, 2])
    with refused(NotFound):
        settle(world, match.model_copy(update={"match_id": "0" * 24}), [1, 2])


@pytest.mark.parametrize("status", STATUSES)
def test_an_abort_refunds_whatever_is_not_finished(world: World, status: str) -> None:
    match = in_state(world, "sync", status)
    done = world.abort(match.match_id)
    assert done == ([] if status in ("finished", "aborted") else [match.match_id])
    paid_out = world.count("postings", "set_id LIKE :settle", settle="%:settle")
    assert (paid_out > 0) == (status == "finished")


# --- winnings of suspended players -----------------------------------------------------------------------------------


def test_winnings_of_a_suspended_player_are_held_until_they_are_decided(world: World) -> None:
    ann, bob, cem, dan = world.players(4, 500)
    match = world.live(world.game(fee_bps=0), [ann, bob, cem, dan], teams=2, team_size=2)
    world.suspend(ann)
    world.report(match.game_id, sync_result(match, [1, 2]))
    assert world.available(ann, bob) == [0, 1_000]
    assert world.house(f"held:{ann.user_id}") == 1_000
    assert world.read(bob, match.match_id).winnings[0].amount == 1_000
    shown = world.run(players.operator_player, world.settings, ann.user_id)
    assert [(held.match_id, held.amount, held.state) for held in shown.held_winnings] == [
        (match.match_id, 1_000, "held")
    ]

    for other in (bob, cem):
        with refused(NotFound):
            world.run(ledger.release_held, match.match_id, other.user_id, world.now)
    assert world.run(ledger.release_held, match.match_id, ann.user_id, world.now) == 1_000
    assert (world.available(ann), world.house(f"held:{ann.user_id}")) == ([1_000], 0)
    for decide in (ledger.release_held, ledger.confiscate_held):
        with refused(NotFound):
            world.run(decide, match.match_id, ann.user_id, world.now)
    assert world.available(ann) == [1_000]


def test_confiscated_winnings_go_to_the_platform_once(world: World) -> None:
    ann, bob = world.players(2, 500)
    match = world.live(world.game(fee_bps=0), [ann, bob])
    world.suspend(ann)
    world.report(match.game_id, sync_result(match, [1, 2]))
    assert world.run(ledger.confiscate_held, match.match_id, ann.user_id, world.now) == 1_000
    for decide in (ledger.release_held, ledger.confiscate_held):
        with refused(NotFound):
            world.run(decide, match.match_id, ann.user_id, world.now)
    assert (world.house("house:fees"), world.available(ann)) == (1_000, [0])


def test_a_refund_is_no_winning_and_a_reinstated_player_is_paid(world: World) -> None:
    ann, bob = world.players(2, 1_000)
    game = world.game(fee_bps=0)
    one, two = world.live(game, [ann, bob]), world.live(game, [ann, bob])
    world.suspend(ann)
    world.abort(one.match_id)
    assert world.available(ann) == [500]
    world.reinstate(ann)
    world.report(game, sync_result(two, [1, 2]))
    assert world.available(ann) == [1_500]


# --- the house's accounts --------------------------------------------------------------------------------------------


def test_rolling_up_changes_no_balance(world: World) -> None:
    who = world.players(2, 5_000)
    game = world.game(fee_bps=1_000, studio_share_bps=5_000)
    accounts = world.run(housekeeping.accounts)
    assert {"house:fees", f"studio:{world.studio_id}", "clearing:grant"} <= set(accounts)
    for played in range(1, 4):
        match = world.live(game, who, 100)
        world.report(game, sync_result(match, [1, 2]))
        world.await_horizon()
        for _ in range(2):
            for account in accounts:
                world.run(housekeeping.roll_up, account)
            assert world.house("house:fees") == world.house(f"studio:{world.studio_id}") == 10 * played
            assert world.house("clearing:grant") == -10_000
    assert world.count("rollups", "balance <> 0") > 0

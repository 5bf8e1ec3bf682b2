"""Rankings, reported and from scores, against definitions that count and compare where the code sorts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oklp.domain.results import (
    Ranking,
    Roster,
    RosterTeam,
    TeamStanding,
    check_player,
    rank_reported,
    rank_scored,
)
from oklp.errors import FieldError, InvalidRequest, InvariantBroken

properties = settings(deadline=None)

TeamReport = tuple[str, int, int, bool]
DUEL: Roster = (RosterTeam("t1", ("u1",)), RosterTeam("t2", ("u2",)))


def roster_of(sizes: Sequence[int]) -> Roster:
    return tuple(
        RosterTeam(f"t{team}", tuple(f"u{team}.{seat}" for seat in range(size))) for team, size in enumerate(sizes)
    )


def players_of(roster: Roster) -> list[str]:
    return [user_id for team in roster for user_id in team.user_ids]


rosters = st.lists(st.integers(1, 3), min_size=2, max_size=5).map(roster_of)


def faults(make: Callable[[], Ranking | None]) -> list[FieldError]:
    """The faults of a refusal, [] when there is none."""
    try:
        make()
    except InvalidRequest as refusal:
        if not refusal.errors or refusal.errors[0].field not in refusal.detail:
            pytest.fail(f"the refusal {refusal.detail!r} does not name the field")
        return list(refusal.errors)
    return []


def fields(make: Callable[[], Ranking | None]) -> list[str]:
    return [fault.field for fault in faults(make)]


def report_teams(ranks: Sequence[int], forfeits: Sequence[bool] = ()) -> list[str]:
    """The fields at fault when teams of one player report these ranks."""
    roster = roster_of([1] * len(ranks))
    forfeits = forfeits or [False] * len(ranks)
    teams = [(team.team_id, 0, rank, out) for team, rank, out in zip(roster, ranks, forfeits, strict=True)]
    return fields(lambda: rank_reported(roster, [(user_id, 0) for user_id in players_of(roster)], teams))


# --- Reported rankings -----------------------------------------------------------------------------------------------


def test_the_contracts_example_ranks() -> None:
    ranking = rank_reported(DUEL, [("u1", 300), ("u2", 100)], [("t1", 300, 1, False), ("t2", 100, 2, True)])
    assert ranking == Ranking(
        (TeamStanding("t1", ("u1",), 300, 1, False), TeamStanding("t2", ("u2",), 100, 2, True)),
        {"u1": 300, "u2": 100},
    )


def test_ranks_outrank_scores() -> None:
    ranking = rank_reported(DUEL, [("u1", 1), ("u2", 100)], [("t1", 1, 1, False), ("t2", 100, 2, False)])
    assert [team.ranking for team in ranking.teams] == [1, 2]


def rank_styles(count: int) -> set[tuple[int, ...]]:
    """Every way to write every order of `count` teams: 1 + better ranks (1,1,2), or 1 + better teams (1,1,3)."""
    accepted = set()
    for order in product(range(count), repeat=count):
        accepted.add(tuple(1 + len({other for other in order if other < own}) for own in order))
        accepted.add(tuple(1 + sum(other < own for other in order) for own in order))
    return accepted


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_ranks_are_accepted_exactly_when_written_in_one_of_the_two_styles(count: int) -> None:
    accepted = rank_styles(count)
    for ranks in product(range(count + 2), repeat=count):
        at_fault = report_teams(ranks)
        assert (not at_fault) == (ranks in accepted), ranks
        assert set(at_fault) <= {f"teams.{index}.ranking" for index in range(count)}


@pytest.mark.parametrize("count", [2, 3])
def test_a_forfeited_team_is_never_ranked_above_one_that_played(count: int) -> None:
    for ranks in rank_styles(count):
        for forfeits in product([False, True], repeat=count):
            pairs = list(zip(ranks, forfeits, strict=True))
            wrong = [
                f"teams.{index}.ranking"
                for index, (rank, out) in enumerate(pairs)
                if out and any(rank < other for other, other_out in pairs if not other_out)
            ]
            assert report_teams(ranks, forfeits) == wrong, pairs


@pytest.mark.parametrize(
    ("ranks", "at_fault", "wanted"),
    [
        ((2, 2), [0, 1], "must be 1"),
        ((0, 1), [0], "must be 1"),
        ((1, 3), [1], "must be 2"),
        ((1, 1, 4), [2], "must be 2 or 3"),
        ((1, 1, 2, 4), [3], "must be 3"),
        ((1, 1, 3, 5, 5), [3, 4], "must be 4"),
    ],
)
def test_the_first_rank_that_leaves_a_gap_is_named(ranks: tuple[int, ...], at_fault: list[int], wanted: str) -> None:
    roster = roster_of([1] * len(ranks))
    teams = [(team.team_id, 0, rank, False) for team, rank in zip(roster, ranks, strict=True)]
    found = faults(lambda: rank_reported(roster, [(user_id, 0) for user_id in players_of(roster)], teams))
    assert [fault.field for fault in found] == [f"teams.{index}.ranking" for index in at_fault]
    for fault in found:
        assert fault.message.startswith(f"{wanted}:")


@properties
@given(st.data())
def test_a_report_ranks_the_same_in_whatever_order_it_is_written(data: st.DataObject) -> None:
    roster = data.draw(rosters)
    ranks = data.draw(st.sampled_from(sorted(rank_styles(min(len(roster), 3)))))
    roster = roster[: len(ranks)]
    participants = [(user_id, data.draw(st.integers(0, 2**53 - 1))) for user_id in players_of(roster)]
    teams = [(team.team_id, rank * 7, rank, False) for team, rank in zip(roster, ranks, strict=True)]

    ranking = rank_reported(roster, participants, teams)

    assert ranking.scores == dict(participants)
    assert ranking.teams == tuple(
        TeamStanding(team.team_id, team.user_ids, rank * 7, rank, False)
        for team, rank in zip(roster, ranks, strict=True)
    )
    shuffled = rank_reported(roster, data.draw(st.permutations(participants)), data.draw(st.permutations(teams)))
    assert shuffled == ranking


def id_faults(field: str, ids: Sequence[str], expected: Sequence[str]) -> list[str]:
    wrong = [f"{field}.{at}.id" for at in range(len(ids)) if ids[at] not in expected or ids[at] in ids[:at]]
    return wrong + [field] * any(wanted not in ids for wanted in expected)


@properties
@given(
    st.lists(st.sampled_from(["u0.0", "u0.1", "u1.0", "t0", "x", ""]), max_size=5),
    st.lists(st.sampled_from(["t0", "t1", "u0.0", "x", ""]), max_size=4),
)
def test_every_player_and_team_that_is_unknown_doubled_or_missing_is_named(
    user_ids: list[str], team_ids: list[str]
) -> None:
    roster = roster_of([2, 1])
    teams = [(team_id, 0, rank, False) for rank, team_id in enumerate(team_ids, 1)]
    found = fields(lambda: rank_reported(roster, [(user_id, 0) for user_id in user_ids], teams))
    assert found == id_faults("participants", user_ids, players_of(roster)) + id_faults("teams", team_ids, ["t0", "t1"])


def test_all_faults_are_told_at_once() -> None:
    found = faults(
        lambda: rank_reported(
            roster_of([1, 1, 1]),
            [("u0.0", 1), ("u0.0", 1), ("stranger", 1)],
            [("t0", 1, 2, True), ("t0", 1, 3, False), ("t7", 1, 4, False)],
        )
    )
    assert found == [
        FieldError("participants.1.id", "is there already"),
        FieldError("participants.2.id", "is not a player of this match"),
        FieldError("participants", "has no result for player u1.0, u2.0"),
        FieldError("teams.1.id", "is there already"),
        FieldError("teams.2.id", "is not a team of this match"),
        FieldError("teams", "has no result for team t1, t2"),
        FieldError("teams.0.ranking", "must be 1: ranks start at 1 without a gap"),
        FieldError("teams.0.ranking", "ranks a forfeited team above one that played"),
    ]


def test_a_gap_where_a_team_is_missing_is_told_as_the_missing_team() -> None:
    roster = roster_of([1, 1, 1])
    participants = [(user_id, 0) for user_id in players_of(roster)]
    teams: list[TeamReport] = [("t0", 0, 1, False), ("t2", 0, 3, False)]
    assert fields(lambda: rank_reported(roster, participants, teams)) == ["teams"]


# --- Rankings from scores --------------------------------------------------------------------------------------------


@st.composite
def scored(draw: st.DrawFn) -> tuple[Roster, dict[str, int]]:
    """A roster and the scores of some of its players; mostly small ones, so that ties happen."""
    roster = draw(rosters)
    scores = draw(
        st.dictionaries(
            st.sampled_from(players_of(roster)), st.one_of(st.integers(0, 3), st.just(2**53 - 1)), max_size=15
        )
    )
    return roster, scores


def beats(one: RosterTeam, other: RosterTeam, scores: Mapping[str, int], score_order: str) -> bool:
    """The rules, one after the other, for two teams."""
    one_has = [user_id for user_id in one.user_ids if user_id in scores]
    other_has = [user_id for user_id in other.user_ids if user_id in scores]
    if not one_has:
        return False
    if not other_has:
        return True
    one_sum, other_sum = sum(scores[user_id] for user_id in one_has), sum(scores[user_id] for user_id in other_has)
    if score_order == "high":
        return one_sum > other_sum
    one_lacks, other_lacks = len(one.user_ids) - len(one_has), len(other.user_ids) - len(other_has)
    if one_lacks != other_lacks:
        return one_lacks < other_lacks
    return one_sum < other_sum


@pytest.mark.parametrize("score_order", ["high", "low"])
@properties
@given(case=scored())
def test_a_teams_rank_is_one_more_than_the_teams_that_beat_it(
    score_order: Literal["high", "low"], case: tuple[Roster, dict[str, int]]
) -> None:
    roster, scores = case
    ranking = rank_scored(roster, scores, score_order)
    assert ranking.scores == scores
    assert len(ranking.teams) == len(roster)
    for team, standing in zip(roster, ranking.teams, strict=True):
        results = [scores[user_id] for user_id in team.user_ids if user_id in scores]
        assert standing == TeamStanding(
            team.team_id,
            team.user_ids,
            sum(results) if results else None,
            1 + sum(beats(other, team, scores, score_order) for other in roster),
            not results,
        )


@pytest.mark.parametrize("score_order", ["high", "low"])
@properties
@given(case=scored(), data=st.data())
def test_leaving_a_result_out_is_never_an_advantage(
    score_order: Literal["high", "low"], case: tuple[Roster, dict[str, int]], data: st.DataObject
) -> None:
    roster, scores = case
    scores = scores or {roster[0].user_ids[0]: 0}
    left_out = data.draw(st.sampled_from(sorted(scores)))
    index = next(at for at, team in enumerate(roster) if left_out in team.user_ids)
    with_it = rank_scored(roster, scores, score_order)
    without_it = rank_scored(roster, {u: score for u, score in scores.items() if u != left_out}, score_order)
    assert without_it.teams[index].ranking >= with_it.teams[index].ranking


@pytest.mark.parametrize("score_order", ["high", "low"])
@properties
@given(case=scored(), data=st.data())
def test_scores_rank_the_same_in_whatever_order_they_came_in(
    score_order: Literal["high", "low"], case: tuple[Roster, dict[str, int]], data: st.DataObject
) -> None:
    roster, scores = case
    later = dict(data.draw(st.permutations(list(scores.items()))))
    assert rank_scored(roster, later, score_order) == rank_scored(roster, scores, score_order)


@pytest.mark.parametrize("score_order", ["high", "low"])
@properties
@given(case=scored())
def test_a_ranking_from_scores_is_one_that_a_game_could_have_reported(
    score_order: Literal["high", "low"], case: tuple[Roster, dict[str, int]]
) -> None:
    roster, scores = case
    ranking = rank_scored(roster, scores, score_order)
    teams = [(team.team_id, team.score or 0, team.ranking, team.forfeit) for team in ranking.teams]
    again = rank_reported(roster, [(user_id, scores.get(user_id, 0)) for user_id in players_of(roster)], teams)
    assert [team.ranking for team in again.teams] == [team.ranking for team in ranking.teams]


@pytest.mark.parametrize(
    ("score_order", "scores", "expected"),
    [
        ("high", {"u0.0": 5, "u1.0": 9, "u2.0": 5}, [(5, 2, False), (9, 1, False), (5, 2, False)]),
        ("low", {"u0.0": 5, "u1.0": 9, "u2.0": 5}, [(5, 1, False), (9, 3, False), (5, 1, False)]),
        ("high", {"u1.0": 0}, [(None, 2, True), (0, 1, False), (None, 2, True)]),
        ("low", {"u1.0": 99}, [(None, 2, True), (99, 1, False), (None, 2, True)]),
        ("high", {}, [(None, 1, True), (None, 1, True), (None, 1, True)]),
        ("low", {}, [(None, 1, True), (None, 1, True), (None, 1, True)]),
    ],
)
def test_three_players_alone(
    score_order: Literal["high", "low"], scores: dict[str, int], expected: list[tuple[int | None, int, bool]]
) -> None:
    ranking = rank_scored(roster_of([1, 1, 1]), scores, score_order)
    assert [(team.score, team.ranking, team.forfeit) for team in ranking.teams] == expected


@pytest.mark.parametrize(("score_order", "ranks"), [("high", [2, 1]), ("low", [2, 1])])
def test_a_missing_member_costs_in_either_order(score_order: Literal["high", "low"], ranks: list[int]) -> None:
    ranking = rank_scored(roster_of([2, 2]), {"u0.0": 10, "u1.0": 10, "u1.1": 10}, score_order)
    assert [(team.score, team.ranking, team.forfeit) for team in ranking.teams] == [
        (10, ranks[0], False),
        (20, ranks[1], False),
    ]


def test_a_score_of_a_stranger_is_a_bug() -> None:
    with pytest.raises(InvariantBroken):
        rank_scored(DUEL, {"u1": 1, "u3": 2}, "high")


def test_an_unknown_score_order_is_a_bug_and_not_a_guess() -> None:
    with pytest.raises(InvariantBroken):
        rank_scored(DUEL, {"u1": 1}, "highest")  # type: ignore[arg-type]


@properties
@given(rosters, st.text(max_size=5))
def test_only_players_of_the_match_have_results(roster: Roster, stranger: str) -> None:
    for user_id in players_of(roster):
        check_player(roster, user_id)
    if stranger in players_of(roster):
        return
    assert fields(lambda: check_player(roster, stranger)) == ["participants.0.id"]
    assert fields(lambda: check_player(roster, stranger, "participants.2.id")) == ["participants.2.id"]

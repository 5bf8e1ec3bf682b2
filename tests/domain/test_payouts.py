"""Every minor unit of a pot goes where the rules say, and none is lost or made."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from math import floor
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from oklp.domain import ledger, payouts
from oklp.domain.payouts import Payout, apportion, entry_pot, pay_out
from oklp.domain.results import Ranking, RosterTeam, TeamStanding, rank_reported
from oklp.errors import InvariantBroken
from tests.examples import examples

properties = settings(deadline=None)

Terms = tuple[int, int, int, list[int] | None]

weights_lists = st.lists(st.one_of(st.integers(1, 5), st.integers(1, 10_000)), min_size=1, max_size=7)
pots = st.one_of(st.integers(0, 50), st.integers(0, 10**6), st.integers(0, ledger.MAX_AMOUNT))
bps = st.one_of(st.sampled_from([0, 1, 1_000, 5_000, 9_999, 10_000]), st.integers(0, 10_000))


def ranking_of(levels: Sequence[int], sizes: Sequence[int], forfeits: Sequence[bool], dense: bool = False) -> Ranking:
    """A ranking whose teams are ordered by level; equal levels tie."""
    teams = []
    for index, (level, size, forfeit) in enumerate(zip(levels, sizes, forfeits, strict=True)):
        better = [other for other in levels if other < level]
        rank = 1 + (len(set(better)) if dense else len(better))
        members = tuple(f"u{index}.{seat}" for seat in range(size))
        teams.append(TeamStanding(f"t{index}", members, 0, rank, forfeit))
    return Ranking(tuple(teams), {})


def singles(*ranks: int) -> Ranking:
    return ranking_of(ranks, [1] * len(ranks), [False] * len(ranks))


@st.composite
def rankings(draw: st.DrawFn, forfeit: bool | None = None) -> Ranking:
    count = draw(st.integers(2, 6))
    levels = draw(st.lists(st.integers(0, count - 1), min_size=count, max_size=count))
    sizes = draw(st.lists(st.integers(1, 4), min_size=count, max_size=count))
    forfeits = draw(st.lists(st.booleans() if forfeit is None else st.just(forfeit), min_size=count, max_size=count))
    return ranking_of(levels, sizes, forfeits, draw(st.booleans()))


def terms_of(pot: st.SearchStrategy[int]) -> st.SearchStrategy[Terms]:
    return st.tuples(pot, bps, bps, st.none() | weights_lists)


def team_prizes(payout: Payout, ranking: Ranking) -> list[int]:
    won = dict(payout.prizes)
    return [sum(won.get(user_id, 0) for user_id in team.user_ids) for team in ranking.teams]


# --- apportion -------------------------------------------------------------------------------------------------------


@properties
@given(pots, weights_lists)
def test_each_part_is_its_quota_rounded_down_or_up(total: int, weights: list[int]) -> None:
    parts = apportion(total, weights)
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert type(part) is int
        assert part >= 0
        assert abs(part - Fraction(total * weight, sum(weights))) < 1


@properties
@given(pots, weights_lists)
def test_the_largest_remainders_are_rounded_up_and_of_equal_ones_the_first(total: int, weights: list[int]) -> None:
    quotas = [Fraction(total * weight, sum(weights)) for weight in weights]
    got_more = [part > quota for part, quota in zip(apportion(total, weights), quotas, strict=True)]
    for one, quota in enumerate(quotas):
        for other, other_quota in enumerate(quotas):
            if quota % 1 > other_quota % 1 or (quota % 1 == other_quota % 1 and one < other):
                assert got_more[one] >= got_more[other]


@properties
@given(pots, weights_lists)
def test_descending_weights_give_descending_parts(total: int, weights: list[int]) -> None:
    parts = apportion(total, sorted(weights, reverse=True))
    assert parts == sorted(parts, reverse=True)


@properties
@given(st.integers(0, 10**6), weights_lists, st.integers(2, 50))
def test_only_the_proportion_of_weights_matters(total: int, weights: list[int], factor: int) -> None:
    assert apportion(total, [weight * factor for weight in weights]) == apportion(total, weights)


@pytest.mark.parametrize(
    ("total", "weights", "parts"),
    [
        (100, [1, 1, 1], [34, 33, 33]),
        (10, [5_000, 3_000, 2_000], [5, 3, 2]),
        (11, [5_000, 3_000, 2_000], [6, 3, 2]),
        (3, [5_000, 3_000, 2_000], [1, 1, 1]),
        (1, [1, 1], [1, 0]),
        (1, [1, 2], [0, 1]),
        (0, [1, 2, 3], [0, 0, 0]),
        (7, [9], [7]),
    ],
)
def test_apportioned_by_hand(total: int, weights: list[int], parts: list[int]) -> None:
    assert apportion(total, weights) == parts


@pytest.mark.parametrize(
    ("total", "weights"),
    [(10, []), (10, [0]), (10, [1, 0]), (10, [3, -1]), (10, [1, 0.5]), (10, [True, 1]), (-1, [1]), (1.0, [1, 1])],
)
def test_what_cannot_be_apportioned_is_refused(total: Any, weights: list[Any]) -> None:
    with pytest.raises(InvariantBroken):
        apportion(total, weights)


# --- entry_pot -------------------------------------------------------------------------------------------------------


@properties
@given(st.integers(0, 1_000_000), st.integers(0, 128))
def test_the_pot_is_every_entry_fee(entry_fee: int, players: int) -> None:
    pot = entry_pot(entry_fee, players)
    assert type(pot) is int
    assert pot == sum([entry_fee] * players)


@pytest.mark.parametrize(
    ("entry_fee", "players"), [(-1, 2), (1, -2), (-1, -1), (2**52, 2), (0.5, 2), (True, 2), (5, 2.0), (Decimal(5), 2)]
)
def test_a_pot_of_anything_else_is_refused(entry_fee: Any, players: Any) -> None:
    with pytest.raises(InvariantBroken):
        entry_pot(entry_fee, players)


# --- pay_out: the whole, against a slow and literal reading of the rules ---------------------------------------------


def deal(total: int, count: int) -> list[int]:
    """Hand out one unit at a time, going round."""
    hands = [0] * count
    for unit in range(total):
        hands[unit % count] += 1
    return hands


def literal_payout(terms: Terms, ranking: Ranking) -> Payout:
    pot, fee_bps, studio_share_bps, shares = terms
    playing = [team for team in ranking.teams if not team.forfeit]
    if not playing:
        return Payout(pot, 0, 0, (), True)
    fee = floor(Fraction(fee_bps, 10_000) * pot)
    studio_fee = floor(Fraction(studio_share_bps, 10_000) * fee)
    pool = pot - fee
    shares = ([1] if shares is None else shares)[: len(playing)]
    quotas = [Fraction(pool * share, sum(shares)) for share in shares]
    places = [floor(quota) for quota in quotas]
    rounded_up: set[int] = set()
    while sum(places) < pool:
        waiting = [place for place in range(len(places)) if place not in rounded_up]
        chosen = max(waiting, key=lambda place: (quotas[place] - places[place], -place))
        places[chosen] += 1
        rounded_up.add(chosen)
    queue = deque(places + [0] * len(playing))
    won: dict[str, int] = {}
    for rank in sorted({team.ranking for team in playing}):
        tied = [team for team in playing if team.ranking == rank]
        for team, prize in zip(tied, deal(sum(queue.popleft() for _ in tied), len(tied)), strict=True):
            won |= dict(zip(team.user_ids, deal(prize, len(team.user_ids)), strict=True))
    in_order = [user_id for team in ranking.teams for user_id in team.user_ids]
    prizes = tuple((user_id, won[user_id]) for user_id in in_order if won.get(user_id))
    return Payout(pot, fee - studio_fee, studio_fee, prizes, False)


@settings(deadline=None, max_examples=examples(150))
@given(terms_of(st.integers(0, 400)), rankings())
def test_a_payout_is_what_the_rules_read_literally_give(terms: Terms, ranking: Ranking) -> None:
    assert pay_out(*terms, ranking) == literal_payout(terms, ranking)


@properties
@given(terms_of(pots), rankings())
@example((ledger.MAX_AMOUNT, 9_999, 9_999, [9_999, 1, 7]), singles(1, 1, 1, 4, 5))
def test_everything_paid_in_is_paid_out_in_whole_units(terms: Terms, ranking: Ranking) -> None:
    payout = pay_out(*terms, ranking)
    amounts = [payout.platform_fee, payout.studio_fee, *(amount for _, amount in payout.prizes)]
    assert all(type(amount) is int for amount in [payout.pot, *amounts])
    assert payout.pot == terms[0]
    assert payout.refunds == all(team.forfeit for team in ranking.teams)
    assert sum(amounts) == (0 if payout.refunds else terms[0])
    assert payout.platform_fee >= 0
    assert payout.studio_fee >= 0
    assert all(amount > 0 for _, amount in payout.prizes)
    winners = [user_id for user_id, _ in payout.prizes]
    in_order = [user_id for team in ranking.teams for user_id in team.user_ids]
    assert winners == [user_id for user_id in in_order if user_id in winners]
    assert len(set(winners)) == len(winners)


@properties
@given(pots, bps, bps, rankings(forfeit=False))
def test_fees_round_down_in_favour_of_the_players(pot: int, fee_bps: int, share_bps: int, ranking: Ranking) -> None:
    payout = pay_out(pot, fee_bps, share_bps, None, ranking)
    fee = payout.platform_fee + payout.studio_fee
    assert 0 <= Fraction(pot * fee_bps, 10_000) - fee < 1
    assert 0 <= Fraction(fee * share_bps, 10_000) - payout.studio_fee < 1


@properties
@given(terms_of(pots), rankings())
def test_who_forfeited_takes_nothing(terms: Terms, ranking: Ranking) -> None:
    payout = pay_out(*terms, ranking)
    for team, prize in zip(ranking.teams, team_prizes(payout, ranking), strict=True):
        assert not (team.forfeit and prize)


@properties
@given(terms_of(pots), rankings())
def test_forfeited_teams_change_nothing_for_those_that_played(terms: Terms, ranking: Ranking) -> None:
    playing = tuple(team for team in ranking.teams if not team.forfeit)
    if playing:
        assert pay_out(*terms, ranking) == pay_out(*terms, Ranking(playing, {}))


@properties
@given(terms_of(pots), rankings(forfeit=False))
def test_a_better_place_never_gets_less_and_a_tie_gets_the_same(terms: Terms, ranking: Ranking) -> None:
    pot, fee_bps, studio_share_bps, shares = terms
    descending = None if shares is None else sorted(shares, reverse=True)
    prizes = team_prizes(pay_out(pot, fee_bps, studio_share_bps, descending, ranking), ranking)
    for one, team in enumerate(ranking.teams):
        for other, other_team in enumerate(ranking.teams):
            if team.ranking < other_team.ranking:
                assert prizes[one] >= prizes[other]


@properties
@given(terms_of(pots), rankings())
def test_ties_and_team_mates_get_the_same_but_for_one_unit_that_goes_to_the_first(
    terms: Terms, ranking: Ranking
) -> None:
    payout = pay_out(*terms, ranking)
    by_team = team_prizes(payout, ranking)
    won = dict(payout.prizes)
    groups: dict[int, list[int]] = {}
    for team, prize in zip(ranking.teams, by_team, strict=True):
        if not team.forfeit:
            groups.setdefault(team.ranking, []).append(prize)
    of_members = [[won.get(user_id, 0) for user_id in team.user_ids] for team in ranking.teams]
    for equals in [*groups.values(), *of_members]:
        assert equals == sorted(equals, reverse=True)
        assert equals[0] - equals[-1] <= 1


@properties
@given(terms_of(pots), st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4), st.booleans()), min_size=2, max_size=6))
def test_dense_and_competition_ranks_pay_the_same(terms: Terms, teams: list[tuple[int, int, bool]]) -> None:
    levels, sizes, forfeits = zip(*teams, strict=True)
    dense, competition = (ranking_of(levels, sizes, forfeits, style) for style in (True, False))
    assert pay_out(*terms, dense) == pay_out(*terms, competition)


@properties
@given(pots, bps, bps, weights_lists, rankings(forfeit=False))
def test_shares_of_places_that_nobody_takes_go_to_the_others(
    pot: int, fee_bps: int, share_bps: int, shares: list[int], ranking: Ranking
) -> None:
    taken = shares[: len(ranking.teams)]
    assert pay_out(pot, fee_bps, share_bps, shares, ranking) == pay_out(pot, fee_bps, share_bps, taken, ranking)


@properties
@given(
    terms_of(pots), st.permutations([0, 1, 2]), st.permutations([0, 1, 2, 3]), st.sampled_from([(1, 1, 2), (1, 1, 1)])
)
def test_the_order_of_a_report_moves_no_money(
    terms: Terms, team_order: list[int], player_order: list[int], ranks: tuple[int, int, int]
) -> None:
    roster = (RosterTeam("t0", ("a", "b")), RosterTeam("t1", ("c",)), RosterTeam("t2", ("d",)))
    participants = [(user_id, 7) for user_id in "abcd"]
    teams = [(team.team_id, 7, rank, False) for team, rank in zip(roster, ranks, strict=True)]
    as_seated = rank_reported(roster, participants, teams)
    shuffled = rank_reported(roster, [participants[at] for at in player_order], [teams[at] for at in team_order])
    assert pay_out(*terms, shuffled) == pay_out(*terms, as_seated)


@properties
@given(terms_of(st.integers(1, 10**9)), rankings())
def test_a_payout_settles_the_escrow(terms: Terms, ranking: Ranking) -> None:
    payout = pay_out(*terms, ranking)
    if payout.refunds:
        return
    made = ledger.settle("m1", "XTS", payout.pot, payout.platform_fee, "st", payout.studio_fee, payout.prizes, {"u0.0"})
    moved = dict(made.postings)
    assert moved.pop("escrow:m1") == -terms[0]
    assert moved.pop("house:fees", 0) == payout.platform_fee
    assert moved.pop("studio:st", 0) == payout.studio_fee
    assert moved == {
        ("held:" if user_id == "u0.0" else "player:") + user_id: amount for user_id, amount in payout.prizes
    }


# --- pay_out: by hand ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terms", "ranking", "expected"),
    [
        pytest.param(
            (1_000, 1_000, 5_000, None),
            singles(1, 2),
            Payout(1_000, 50, 50, (("u0.0", 900),), False),
            id="the default terms of a duel",
        ),
        pytest.param(
            (999, 1_000, 5_000, None),
            singles(2, 1),
            Payout(999, 50, 49, (("u1.0", 900),), False),
            id="the odd unit of the fee stays with the platform",
        ),
        pytest.param(
            (9, 1_000, 5_000, None),
            singles(1, 2),
            Payout(9, 0, 0, (("u0.0", 9),), False),
            id="a fee below one unit is none",
        ),
        pytest.param(
            (101, 0, 0, None),
            singles(1, 1),
            Payout(101, 0, 0, (("u0.0", 51), ("u1.0", 50)), False),
            id="a draw",
        ),
        pytest.param(
            (1_000, 0, 0, [5_000, 3_000, 2_000]),
            singles(1, 2, 2, 4),
            Payout(1_000, 0, 0, (("u0.0", 500), ("u1.0", 250), ("u2.0", 250)), False),
            id="a tie over the second and third place",
        ),
        pytest.param(
            (1_000, 0, 0, [7_000, 3_000]),
            singles(1, 2, 2),
            Payout(1_000, 0, 0, (("u0.0", 700), ("u1.0", 150), ("u2.0", 150)), False),
            id="a tie over the last paid place and one without a prize",
        ),
        pytest.param(
            (1_000, 0, 0, [5_000, 3_000, 2_000]),
            singles(1, 2),
            Payout(1_000, 0, 0, (("u0.0", 625), ("u1.0", 375)), False),
            id="fewer teams than shares",
        ),
        pytest.param(
            (1_000, 0, 0, [6_000, 4_000]),
            ranking_of((0, 1, 2), (1, 1, 1), (False, True, True)),
            Payout(1_000, 0, 0, (("u0.0", 1_000),), False),
            id="one team left takes every place",
        ),
        pytest.param(
            (1_000, 0, 0, [6_000, 4_000]),
            ranking_of((0, 1, 2), (1, 1, 1), (True, False, False)),
            Payout(1_000, 0, 0, (("u1.0", 600), ("u2.0", 400)), False),
            id="places are among those who played",
        ),
        pytest.param(
            (100, 0, 0, None),
            ranking_of((0, 1), (3, 3), (False, False)),
            Payout(100, 0, 0, (("u0.0", 34), ("u0.1", 33), ("u0.2", 33)), False),
            id="a team's prize among its members",
        ),
        pytest.param(
            (2, 0, 0, None),
            ranking_of((0, 1), (3, 3), (False, False)),
            Payout(2, 0, 0, (("u0.0", 1), ("u0.1", 1)), False),
            id="fewer units than members",
        ),
        pytest.param(
            (1_000, 10_000, 2_500, None),
            singles(1, 2),
            Payout(1_000, 750, 250, (), False),
            id="a fee of everything",
        ),
        pytest.param((0, 1_000, 5_000, None), singles(1, 2), Payout(0, 0, 0, (), False), id="a free match"),
        pytest.param(
            (1_000, 1_000, 5_000, [1, 1]),
            ranking_of((0, 0), (2, 2), (True, True)),
            Payout(1_000, 0, 0, (), True),
            id="nobody played",
        ),
    ],
)
def test_paid_out_by_hand(terms: Terms, ranking: Ranking, expected: Payout) -> None:
    assert pay_out(*terms, ranking) == expected


# --- pay_out: what may not be ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pot", "fee_bps", "studio_share_bps", "shares"),
    [
        (-1, 1_000, 5_000, None),
        (ledger.MAX_AMOUNT + 1, 1_000, 5_000, None),
        (1_000.0, 1_000, 5_000, None),
        (True, 1_000, 5_000, None),
        (1_000, -1, 5_000, None),
        (1_000, 10_001, 5_000, None),
        (1_000, 0.1, 5_000, None),
        (1_000, 1_000, -1, None),
        (1_000, 1_000, 10_001, None),
        (1_000, 1_000, 0.5, None),
        (1_000, 1_000, 5_000, []),
        (1_000, 1_000, 5_000, [0]),
        (1_000, 1_000, 5_000, [2, -1]),
        (1_000, 1_000, 5_000, [0.7, 0.3]),
    ],
)
def test_terms_that_cannot_be_are_refused(pot: Any, fee_bps: Any, studio_share_bps: Any, shares: Any) -> None:
    with pytest.raises(InvariantBroken):
        pay_out(pot, fee_bps, studio_share_bps, shares, singles(1, 2))


def test_a_match_without_teams_or_a_winner_without_members_is_refused() -> None:
    with pytest.raises(InvariantBroken):
        pay_out(1_000, 0, 0, None, Ranking((), {}))
    with pytest.raises(InvariantBroken):
        pay_out(1_000, 0, 0, None, ranking_of((0, 1), (0, 1), (False, False)))


def short_of_places(total: int, weights: Sequence[int]) -> list[int]:
    return [total - 1] + [0] * (len(weights) - 1)


def short_of_members(total: int, count: int) -> list[int]:
    return [total] if count == 1 else [total - 1] + [0] * (count - 1)


@pytest.mark.parametrize(
    ("name", "broken", "found"),
    [("apportion", short_of_places, "prize pool"), ("_split_evenly", short_of_members, "not the pot")],
)
def test_arithmetic_that_lost_a_unit_would_not_get_out(
    monkeypatch: pytest.MonkeyPatch, name: str, broken: Callable[..., list[int]], found: str
) -> None:
    monkeypatch.setattr(payouts, name, broken)
    with pytest.raises(InvariantBroken, match=found):
        pay_out(1_000, 1_000, 5_000, None, ranking_of((0, 1), (2, 2), (False, False)))

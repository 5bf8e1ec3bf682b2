"""The plan and the model of a simulation, without a server; and the model's money beside the platform's."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from oklp.domain import payouts, results
from oklp.domain.results import RosterTeam, TeamStanding
from oklp.simulate.model import Model, foretell
from oklp.simulate.money import Standing, divide, rank
from oklp.simulate.plan import KINDS_OF_GAMES, World
from oklp.simulate.script import PUT_FAULTS
from tests.examples import examples

SHARE_BPS = 5_000

seeds = st.integers(0, 2**32)
numbers = st.integers(0, 10**6)


@given(seeds, numbers, st.booleans(), st.booleans())
def test_every_script_ends_and_all_money_is_somewhere(seed: int, number: int, careful: bool, operators: bool) -> None:
    world = World(seed, players=30, careful=careful, operators=operators)
    script, outcome = world.plan(number)
    assert World(seed, players=30, careful=careful, operators=operators).plan(number) == (script, outcome)
    assert foretell(script, world.guests).outcome() == outcome
    assert outcome.status in ("finished", "aborted")
    assert (outcome.status == "aborted") == bool(outcome.reason)
    moved = sum(move.net for _, move in outcome.moves)
    assert moved + outcome.takings.platform + outcome.takings.studio == 0
    assert all(move.held >= move.refunded for _, move in outcome.moves)
    if outcome.status == "aborted":
        assert all(move.net == 0 for _, move in outcome.moves)
    assert world.guests.isdisjoint(player for player, _ in outcome.moves)
    assert script.players <= set(range(30))
    assert operators or not {step.do for step in script.steps} & {"settle", "call-off"}


@given(seeds, numbers, st.data())
def test_a_server_that_dies_leaves_nobody_out_of_pocket(seed: int, number: int, data: st.DataObject) -> None:
    """Whatever a disturbed start comes to, the rest of the script has its answers, and the money is there."""
    world = World(seed, players=30, careful=True)
    script, _ = world.plan(number)
    model = Model(script, world.guests)
    for step in script.steps:
        assert model.expects(step)
        if step.do == "start" and model.status == "starting":
            model.disturbed = True
            status, reason = data.draw(st.sampled_from(sorted(model.allowed_after_start())))
            seen = model._foreseen(step)._replace(status=status, reason=reason)
            model.apply(step, seen)
        else:
            model.apply(step)
    assert model.over or script.game.brief
    held = script.fee * script.teams * script.size if not model.over else 0
    takings = model.takings
    assert sum(move.net for move in model.moves.values()) + takings.platform + takings.studio + held == 0


def test_a_plan_has_everything_in_it() -> None:
    world = World(3)
    plans = [world.plan(number) for number in range(5_000)]
    seen: Counter[str] = Counter()
    for script, outcome in plans:
        seen.update({step.do for step in script.steps})
        seen.update({f"how {step.how}" for step in script.steps if step.how})
        seen.update({f"manner {step.manner}" for step in script.steps if step.manner})
        seen.update({f"answer {answer}" for answer in script.answers})
        seen[f"fault {script.fault}"] += 1
        seen[f"ends {outcome.reason or outcome.status}"] += 1
        seen[f"shape {script.teams} x {script.size}"] += 1
        seen["forfeits"] += any(standing.forfeit for standing in outcome.standings)
        ranks = [standing.rank for standing in outcome.standings]
        seen["ties"] += len(set(ranks)) < len(ranks)
        seen["free"] += not script.fee
    steps = "create misplan invite join decline confirm leave cancel stop-short start launch token-info report wait"
    wanted = [*steps.split(), "settle", "call-off", "deposit", "withdraw", "overdraw", "forfeits", "ties", "free"]
    wanted += [f"answer {each}" for each in ("200", "201", "204", "302", "404", "500", "cut", "late")]
    wanted += [f"manner {each}" for each in ("twin", "cut", "reuse")]
    wanted += [f"fault {each}" for each in PUT_FAULTS]
    ends = "finished cancelled abandoned game-refused no-results operator"
    wanted += [f"ends {each}" for each in ends.split()]
    faults = "foreign negative huge nobody wrong-mode stranger missing gap forfeit-above twice code wrong-code no-team"
    wanted += [f"how {each}" for each in faults.split()]
    assert [each for each in wanted if not seen[each]] == []
    assert {script.game.number for script, _ in plans} == set(range(KINDS_OF_GAMES))


# --- beside the platform's own arithmetic ----------------------------------------------------------------------------


@st.composite
def ended(draw: st.DrawFn) -> tuple[int, int, list[int], list[Standing]]:
    """A fee, basis points, shares and standings as the contract allows them."""
    teams, size = draw(st.integers(2, 8)), draw(st.integers(1, 4))
    members = [tuple(range(team * size, (team + 1) * size)) for team in range(teams)]
    played = draw(st.integers(0, teams))
    ranks = sorted(draw(st.lists(st.integers(1, teams), min_size=played, max_size=played)))
    dense = [len({other for other in ranks if other < each}) + 1 for each in ranks]
    places = [(each, False) for each in dense] + [(max(dense, default=0) + 1, True)] * (teams - played)
    places = draw(st.permutations(places))
    shares = draw(st.lists(st.integers(1, 10_000), min_size=1, max_size=teams))
    standings = [Standing(each, *place) for each, place in zip(members, places, strict=True)]
    return draw(st.integers(0, 1_000_000)), draw(st.integers(0, 4_000)), sorted(shares, reverse=True), standings


@settings(max_examples=examples(100))
@given(ended())
def test_both_divide_a_pot_alike(case: tuple[int, int, list[int], list[Standing]]) -> None:
    fee, fee_bps, shares, standings = case
    pot = fee * sum(len(each.members) for each in standings)
    teams = tuple(
        TeamStanding(f"t{number}", tuple(map(str, each.members)), None, each.rank, each.forfeit)
        for number, each in enumerate(standings)
    )
    payout = payouts.pay_out(pot, fee_bps, SHARE_BPS, shares, results.Ranking(teams, {}))
    divided = divide(pot, fee_bps, SHARE_BPS, shares, standings)
    assert payout.refunds == (divided is None)
    if divided is not None:
        assert dict(payout.prizes) == {str(player): amount for player, amount in divided.prizes.items()}
        assert (payout.platform_fee, payout.studio_fee) == (divided.takings.platform, divided.takings.studio)


@settings(max_examples=examples(100))
@given(
    st.lists(st.lists(st.none() | st.integers(0, 5) | st.integers(0, 2**53 - 1), min_size=3, max_size=3), min_size=2),
    st.booleans(),
)
def test_both_rank_scores_alike(scores: list[list[int | None]], low_wins: bool) -> None:
    roster = tuple(RosterTeam(f"t{team}", tuple(f"{team}.{seat}" for seat in range(3))) for team in range(len(scores)))
    known = {
        f"{team}.{seat}": score
        for team, members in enumerate(scores)
        for seat, score in enumerate(members)
        if score is not None
    }
    ranking = results.rank_scored(roster, known, "low" if low_wins else "high")
    assert rank(scores, low_wins=low_wins) == [(each.ranking, each.forfeit) for each in ranking.teams]

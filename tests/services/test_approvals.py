"""What takes two operators, on both databases: nobody alone, exactly once, and only what is still so."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command

from oklp import contract
from oklp.errors import Forbidden, InvalidRequest, OklpError, RoleMissing, WrongState
from oklp.services import approvals, consequences, operators, proposals
from oklp.services.matches import Caller
from oklp.services.staff import Operator
from oklp.storage import migrations, schema_proposals
from oklp.storage import proposals as store
from oklp.storage.engine import Database, connectable
from tests.services.test_staff import act, operator
from tests.services.world import HOUR, World, check_books, refused

DAY = 24 * HOUR
WHY = contract.OperatorReason(reason="no good")


class Office:
    """Two of finance and one of support, and a match of two players with 1,000 in escrow, which is above 999."""

    def __init__(self, world: World) -> None:
        self.world = world
        world.settings = world.settings.model_copy(update={"approval_above": 999})
        self.olga = operator(world, "olga")
        self.fred, self.fay = (operator(world, name, "finance") for name in ("fred", "fay"))
        self.sue = operator(world, "sue", "support")
        self.game = world.game(discovery="pull")
        self.one, self.two = world.players(2, 10_000)
        self.match = world.live(self.game, [self.one, self.two], 500)

    def settlement(self, match: contract.Match | None = None) -> contract.SettleRequest:
        teams = [
            {"id": team.id, "score": 0, "ranking": 1 if team.members[0].user_id == self.two.user_id else 2}
            for team in (match or self.match).teams
        ]
        return contract.SettleRequest.model_validate({"reason": "its game is gone", "teams": teams})

    def settle(self, who: Operator, match: contract.Match | None = None) -> contract.OperatorMatch | contract.Proposed:
        what = ((match or self.match).match_id, self.settlement(match), str(uuid.uuid4()), self.world.now)
        done: contract.OperatorMatch | contract.Proposed
        done = self.world.run(operators.settle, self.world.settings, who, *what)
        return done

    def abort(self, who: Operator) -> contract.OperatorMatch | contract.Proposed:
        what = (self.match.match_id, WHY, str(uuid.uuid4()), self.world.now)
        done: contract.OperatorMatch | contract.Proposed
        done = self.world.run(operators.abort, self.world.settings, who, *what)
        return done

    def proposed(self, done: object) -> contract.Proposed:
        assert isinstance(done, contract.Proposed), done
        return done

    def decide(
        self, who: Operator, proposal: contract.Proposal, decision: str = "approve", node: Database | None = None
    ) -> contract.Proposal:
        request = contract.ProposalDecision.model_validate({"decision": decision, "reason": "seen"})
        arguments = (self.world.settings, who, proposal.proposal_id, request, self.world.now)
        done: contract.Proposal = (node or self.world.db).run(approvals.decide, *arguments)
        return done

    def withdraw(self, who: Operator, proposal: contract.Proposal, node: Database | None = None) -> contract.Proposal:
        arguments = (who, proposal.proposal_id, contract.OperatorReason(reason="a slip"), self.world.now)
        done: contract.Proposal = (node or self.world.db).run(approvals.withdraw, *arguments)
        return done

    def waiting(self) -> list[str]:
        return [each.proposal_id for each in self.world.run(proposals.waiting, None, 10, self.world.now)[0]]

    def status(self) -> str:
        return str(self.world.run(operators.match, self.match.match_id).status)

    def foretold(self, proposal: contract.Proposal) -> list[tuple[str, int]]:
        """Players' names and what the proposal would pay them, in the order in which an operator reads them."""
        sides = self.world.run(consequences.of_proposals, [proposal])[proposal.proposal_id]
        return [(share.username, share.amount) for side in sides for share in side.shares]

    def log(self) -> list[tuple[str, str, str | None]]:
        entries, _ = self.world.run(operators.audit_log, f"match:{self.match.match_id}", None, 10)
        return [(each.action, each.actor, each.reason) for each in entries]


@pytest.fixture
def office(world: World) -> Iterator[Office]:
    yield Office(world)
    check_books(world)


def balance(world: World, player: Caller) -> int:
    from oklp.services import ledger

    return int(world.run(ledger.wallet, player.user_id, "XTS").balances[0].available)


def test_one_proposes_and_another_has_it_done(office: Office) -> None:
    world = office.world
    proposal = office.proposed(office.settle(office.fred))
    assert (proposal.state, proposal.amount, proposal.proposed_by) == ("waiting", 1_000, "fred")
    assert (office.status(), balance(world, office.two)) == ("live", 9_500)
    assert office.log() == [("proposal.make", "operator:fred", "its game is gone")]
    with refused(Forbidden):
        office.decide(office.fred, proposal)
    with refused(RoleMissing):
        office.decide(office.sue, proposal)
    assert (office.status(), office.waiting()) == ("live", [proposal.proposal_id])
    done = office.decide(office.fay, proposal)
    assert (done.state, done.decided_by, done.decision_reason) == ("approved", "fay", "seen")
    assert (office.status(), balance(world, office.two), office.waiting()) == ("finished", 10_400, [])
    assert office.log()[:2] == [
        ("match.settle", "operator:fred", "its game is gone"),
        ("proposal.approve", "operator:fay", "seen"),
    ]
    with refused(WrongState):
        office.decide(office.olga, proposal)
    assert balance(world, office.two) == 10_400


@pytest.mark.parametrize(("forfeit", "amounts"), [(False, [900, 900, 0, 0]), (True, [500, 500, 500, 500])])
def test_what_a_settlement_would_pay_is_told_by_name_and_comes_true(
    office: Office, forfeit: bool, amounts: list[int]
) -> None:
    world = office.world
    players = world.players(4, 10_000)
    match = world.live(world.game(discovery="pull"), players, 500, teams=2, team_size=2)
    teams = [
        {"id": team.id, "score": 7, "ranking": 1 if forfeit else 2 - n, "forfeit": forfeit}
        for n, team in enumerate(match.teams)
    ]
    request = contract.SettleRequest.model_validate({"reason": "gone", "teams": teams})
    what = (match.match_id, request, str(uuid.uuid4()), world.now)
    proposal = office.proposed(world.run(operators.settle, world.settings, office.fred, *what))
    told = office.foretold(proposal)
    assert [amount for _, amount in told] == amounts
    office.decide(office.fay, proposal)
    assert dict(told) == {each.username: balance(world, each) - 9_500 for each in players}
    assert office.foretold(proposal) == told, "what was done is told of as well"


def test_a_proposal_that_is_never_done_stays_known_with_its_ranking(office: Office) -> None:
    proposal = office.proposed(office.settle(office.fred))
    office.decide(office.fay, proposal, "decline")
    entries, _ = office.world.run(operators.audit_log, f"match:{office.match.match_id}", None, 10)
    wanted = {team.id: team.ranking for team in office.settlement().teams}
    assert [(each.action, dict(each.detail["ranking"])) for each in entries] == [
        ("proposal.decline", wanted),
        ("proposal.make", wanted),
    ]
    assert dict(entries[0].detail["scores"]) == dict.fromkeys(wanted, 0)
    assert office.foretold(office.proposed(office.abort(office.fred))) == [
        (each.username, 500) for each in (office.one, office.two)
    ]


def test_up_to_the_threshold_one_is_enough_and_zero_means_always(office: Office) -> None:
    world = office.world
    world.settings = world.settings.model_copy(update={"approval_above": 1_000})
    assert isinstance(office.settle(office.fred), contract.OperatorMatch)
    world.settings = world.settings.model_copy(update={"approval_above": 0})
    another = world.live(office.game, [office.one, office.two], 2_000)
    assert isinstance(office.settle(office.fred, another), contract.OperatorMatch)


def test_what_could_not_be_done_is_not_proposed_and_a_rehearsal_leaves_nothing(office: Office) -> None:
    wrong = office.settlement().model_copy(update={"teams": office.settlement().teams[:1]})
    with refused(InvalidRequest, "teams"):
        what = (office.match.match_id, wrong, "p", office.world.now)
        office.world.run(operators.settle, office.world.settings, office.fred, *what)
    assert (office.waiting(), office.log()) == ([], [])
    office.proposed(office.settle(office.fred))
    postings = office.world.run(operators.match, office.match.match_id).postings
    assert [each.set_id for each in postings if "settle" in each.set_id] == []


def test_a_declined_proposal_does_nothing_and_makes_room(office: Office) -> None:
    first = office.proposed(office.abort(office.fred))
    with refused(WrongState):
        office.settle(office.fay)  # of two that contradict each other
    assert office.decide(office.fay, first, "decline").state == "declined"
    assert (office.status(), office.log()[0]) == ("live", ("proposal.decline", "operator:fay", "seen"))
    with refused(WrongState):
        office.decide(office.fay, first)
    second = office.proposed(office.abort(office.fay))
    office.decide(office.fred, second)
    assert (office.status(), balance(office.world, office.one)) == ("aborted", 10_000)


def test_who_proposed_it_can_withdraw_it_which_makes_room_and_does_nothing_else(office: Office) -> None:
    world = office.world
    slip = office.proposed(office.settle(office.fred))
    for other in (office.fay, office.olga, office.sue):
        with refused(Forbidden):
            office.withdraw(other, slip)
    for decision in ("approve", "decline"):
        with refused(Forbidden):
            office.decide(office.fred, slip, decision)
    assert office.waiting() == [slip.proposal_id]
    done = office.withdraw(office.fred, slip)
    assert (done.state, done.decided_by, done.decision_reason) == ("withdrawn", None, "a slip")
    assert done.decided_at is not None
    assert (office.status(), balance(world, office.two), office.waiting()) == ("live", 9_500, [])
    assert office.log()[0] == ("proposal.withdraw", "operator:fred", "a slip")
    for late in (lambda: office.decide(office.fay, slip), lambda: office.withdraw(office.fred, slip)):
        with refused(WrongState):
            late()
    assert office.status() == "live"
    office.decide(office.fay, office.proposed(office.abort(office.fred)))
    assert (office.status(), balance(world, office.two)) == ("aborted", 10_000)


def test_what_is_over_cannot_be_withdrawn_and_a_lost_role_keeps_nobody_from_it(office: Office) -> None:
    world = office.world
    declined = office.proposed(office.abort(office.fred))
    office.decide(office.fay, declined, "decline")
    world.now += 1
    expired = office.proposed(office.abort(office.fred))
    world.now += DAY
    own = office.proposed(office.abort(office.fred))
    for over in (declined, expired):
        with refused(WrongState):
            office.withdraw(office.fred, over)
    act(world, office.olga, office.fred, "suspend")
    with refused(Forbidden):  # whatever his session was told
        office.withdraw(office.fred, own)
    act(world, office.olga, office.fred, "reinstate")
    act(world, office.olga, office.fred, "change-role", "support")
    assert office.withdraw(office.fred, own).state == "withdrawn"
    states = [each.state for each in world.run(proposals.page, None, 10, world.now)[0]]
    assert states == ["withdrawn", "expired", "declined"]


def test_the_migration_that_knows_withdrawals_keeps_what_is_there(office: Office) -> None:
    def kept() -> list[tuple[Any, ...]]:
        with connectable(url).connect() as connection:
            return [tuple(row) for row in connection.execute(sa.select(table).order_by(table.c.proposed_at))]

    url, table = office.world.settings.database_url, schema_proposals.proposals
    office.withdraw(office.fred, office.proposed(office.abort(office.fred)))
    office.world.now += 1
    office.decide(office.fay, office.proposed(office.abort(office.fred)), "decline")
    office.world.now += 1
    office.proposed(office.settle(office.fred))
    before = kept()
    config = migrations.alembic_config()
    with connectable(url).connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0013")
        assert [row.state for row in connection.execute(sa.select(table.c.state).order_by(table.c.proposed_at))] == [
            "expired",
            "declined",
            "waiting",
        ]
        command.upgrade(config, "head")
    after = kept()
    assert [row[:12] for row in after] == [row[:12] for row in before]
    assert after[1:] == before[1:]
    with refused(WrongState):
        office.settle(office.fay)  # of one match, one proposal waits


def test_a_proposal_that_waited_too_long_is_over(office: Office) -> None:
    world = office.world
    proposal = office.proposed(office.abort(office.fred))
    world.now += DAY
    assert office.waiting() == []
    assert world.run(proposals.read, proposal.proposal_id, world.now).state == "expired"
    with refused(WrongState):
        office.decide(office.fay, proposal)
    world.run(operators.abort_now, world.settings, office.fred, office.match.match_id, WHY, world.now)
    assert world.run(proposals.read, proposal.proposal_id, world.now).state == "expired"  # what came first stands


def test_a_place_is_free_once_a_proposal_is_over(office: Office) -> None:
    world = office.world
    office.proposed(office.abort(office.fred))
    world.now += DAY
    again = office.proposed(office.abort(office.fred))
    assert office.waiting() == [again.proposal_id]
    found, _ = world.run(proposals.page, None, 10, world.now)
    assert [each.state for each in found] == ["waiting", "expired"]
    office.decide(office.fay, again)


def test_what_has_changed_meanwhile_is_looked_at_again(office: Office) -> None:
    world = office.world
    proposal = office.proposed(office.settle(office.fred))
    act(world, office.olga, office.fred, "change-role", "support")
    with refused(WrongState):
        office.decide(office.fay, proposal)
    act(world, office.olga, office.fred, "change-role", "finance")
    act(world, office.olga, office.fay, "change-role", "support")
    with refused(RoleMissing):  # whatever her session was told
        office.decide(office.fay, proposal)
    assert office.status() == "live"
    world.settings = world.settings.model_copy(update={"approval_above": 0})
    office.abort(office.fred)  # as the game or a deadline might end it
    assert office.waiting() == []
    assert world.run(proposals.read, proposal.proposal_id, world.now).state == "obsolete"
    assert [each.state for each in world.run(proposals.page, None, 10, world.now)[0]] == ["obsolete"]
    assert [each.state for each in world.run(proposals.past, None, 10, world.now)[0]] == ["obsolete"]
    for end in (
        lambda: office.decide(office.olga, proposal, "decline"),
        lambda: office.withdraw(office.fred, proposal),
    ):
        with refused(WrongState):
            end()
    world.now += DAY
    world.run(store.expire, world.now)
    assert world.run(proposals.read, proposal.proposal_id, world.now).state == "obsolete"
    with refused(WrongState):
        office.decide(office.olga, proposal)
    assert (office.status(), balance(world, office.two)) == ("aborted", 10_000)


def test_held_winnings_take_two_as_well(office: Office) -> None:
    world = office.world
    world.suspend(office.two)
    office.decide(office.fay, office.proposed(office.settle(office.fred)))
    assert balance(world, office.two) == 9_500
    world.settings = world.settings.model_copy(update={"approval_above": 899})
    decision = contract.HeldDecision(decision="release", reason="proved")
    what = (office.two.user_id, office.match.match_id, decision, str(uuid.uuid4()), world.now)
    proposal = office.proposed(world.run(operators.decide_held, world.settings, office.fay, *what))
    assert (proposal.action, proposal.amount, proposal.user_id) == ("held-winnings.release", 900, office.two.user_id)
    assert office.foretold(proposal) == [(office.two.username, 900)]
    for player, waits in ((office.two, [proposal.proposal_id]), (office.one, [])):
        about, _ = world.run(proposals.waiting, None, 10, world.now, None, player.user_id)
        assert [each.proposal_id for each in about] == waits
    assert office.waiting() == [proposal.proposal_id]
    office.decide(office.fred, proposal)
    assert balance(world, office.two) == 10_400
    entries, _ = world.run(operators.audit_log, f"player:{office.two.user_id}", None, 3)
    assert [(each.action, each.actor) for each in entries] == [
        ("held-winnings.release", "operator:fay"),
        ("proposal.approve", "operator:fred"),
        ("proposal.make", "operator:fay"),
    ]


def test_what_waits_is_read_by_the_page_and_counted_for_each_operator(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = office.world
    made = []
    for number in range(4):
        match = world.live(office.game, [office.one, office.two], 500)
        world.now += 1
        made.append(office.proposed(office.settle(office.fred if number else office.fay, match)).proposal_id)
    ended = office.proposed(office.abort(office.fred))
    world.abort(office.match.match_id)  # as the game or a deadline might end it: that one waits no more

    def listed(wanted: Callable[..., Any]) -> list[str]:
        found, place = [], None
        while True:
            page, place = world.run(wanted, place, 3, world.now)
            found += [each.proposal_id for each in page]
            if place is None:
                return found

    def glance(who: Operator) -> proposals.Glance:
        return world.run(proposals.glance, who, world.now)

    assert (listed(proposals.waiting), listed(proposals.past)) == (made, [ended.proposal_id])
    assert sorted(listed(proposals.page)) == sorted([*made, ended.proposal_id])
    [about], _ = world.run(proposals.waiting, None, 3, world.now, match.match_id)
    assert about.proposal_id == made[-1]
    operators_seen = (office.fred, office.fay, office.olga, office.sue)
    assert [glance(who) for who in operators_seen] == [(made, count) for count in (1, 3, 4, 0)]
    monkeypatch.setattr(proposals, "GLANCE", 2)
    assert glance(office.olga) == (made[:2], 2)
    assert glance(office.fred) == (made[:2], 1), "what others proposed is found behind what he has"


@pytest.mark.parametrize("decisions", [("approve", "approve"), ("approve", "decline"), ("approve", "withdraw")])
def test_of_two_decisions_at_once_one_counts(office: Office, decisions: tuple[str, str]) -> None:
    world = office.world
    proposal = office.proposed(office.settle(office.fred))
    there = world.another_node()

    def decide(who: Operator, decision: str, node: Database) -> str | None:
        try:
            if decision == "withdraw":
                return office.withdraw(office.fred, proposal, node).state
            return office.decide(who, proposal, decision, node).state
        except OklpError as refusal:
            assert isinstance(refusal, WrongState), refusal
            return None

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(decide, (office.fay, office.olga), decisions, (world.db, there)))
    [state] = [each for each in done if each is not None]
    assert balance(world, office.two) == (10_400 if state == "approved" else 9_500)
    assert office.status() == ("finished" if state == "approved" else "live")
    ends = ("proposal.approve", "proposal.decline", "proposal.withdraw")
    assert len([action for action, _, _ in office.log() if action in ends]) == 1

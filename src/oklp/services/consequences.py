"""What a proposal would do to whom: its money by the names of the players, as whoever decides on it has to know.

It is worked out from the proposal and its match by what would carry it out, and nothing of it is kept: the terms and
the roster of a match stay as they were when it started.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from oklp import contract
from oklp.domain import matches as rules
from oklp.domain.payouts import Payout
from oklp.services import results
from oklp.storage import matches as match_store
from oklp.storage.engine import Tx
from oklp.storage.tx import Row


class Share(NamedTuple):
    """A player, and what he would be paid: minor units of the proposal's currency, nothing included."""

    user_id: str
    username: str
    amount: int


class Side(NamedTuple):
    """A team with its players, and its place in a settlement. Of held winnings, which are one player's, no team."""

    team_id: str | None
    place: contract.TeamResult | None
    shares: list[Share]


def of_proposals(tx: Tx, found: Sequence[contract.Proposal]) -> dict[str, list[Side]]:
    """By the proposal's id; for a settlement in the order of its ranking, which was proposed."""
    rows = match_store.get(tx, {each.match_id for each in found})
    seats = match_store.seats(tx, rows) if rows else {}
    asked = {
        each.proposal_id: (each.match_id, contract.SettleRequest.model_validate(each.request))
        for each in found
        if each.action == "match.settle"
    }
    payouts = results.payouts(tx, asked)
    sides = {}
    for each in found:
        taken = [seat for seat in seats.get(each.match_id, []) if seat.state == rules.CONFIRMED]
        if each.user_id is not None:
            sides[each.proposal_id] = [_held(each, each.user_id, taken)]
        elif each.action == "match.settle":
            request = asked[each.proposal_id][1]
            fee = rows[each.match_id].entry_fee
            sides[each.proposal_id] = _settled(request, payouts[each.proposal_id], taken, fee)
        else:
            sides[each.proposal_id] = _refunded(rows[each.match_id], taken)
    return sides


def _held(proposal: contract.Proposal, user_id: str, taken: Sequence[Row]) -> Side:
    names = {seat.user_id: seat.username for seat in taken}
    paid = proposal.amount if proposal.action == "held-winnings.release" else 0
    return Side(None, None, [Share(user_id, names.get(user_id, user_id), paid)])


def _settled(request: contract.SettleRequest, payout: Payout, taken: Sequence[Row], fee: int) -> list[Side]:
    """`fee` is what everybody has back, minor units, when all teams forfeit."""
    prizes = dict(payout.prizes)
    members: dict[str, list[Share]] = {}
    for seat in taken:
        amount = fee if payout.refunds else prizes.get(seat.user_id, 0)
        members.setdefault(seat.team_id, []).append(Share(seat.user_id, seat.username, amount))
    ranked = sorted(request.teams, key=lambda team: team.ranking)
    return [Side(team.id, team, members.get(team.id, [])) for team in ranked]


def _refunded(match: Row, taken: Sequence[Row]) -> list[Side]:
    teams: dict[str, list[Share]] = {}
    for seat in taken:
        teams.setdefault(seat.team_id, []).append(Share(seat.user_id, seat.username, match.entry_fee))
    return [Side(team_id, None, shares) for team_id, shares in teams.items()]

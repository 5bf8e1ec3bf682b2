"""Deciding on proposals: a second operator has something done, exactly once, or keeps it from being done.

Whoever proposed it can do one thing about it, which does nothing: withdraw it.

The first guard is who: another person, in a role that may do it, while both still have theirs. The second is what: the
work itself is done again from the beginning, with every check that it has, and for the amount that was proposed. The
third is once: the proposal stops waiting in the transaction of the work, by an update that counts.
"""

from __future__ import annotations

from oklp import contract
from oklp.errors import Forbidden, WrongState
from oklp.services import operators, proposals, staff
from oklp.services.staff import Operator
from oklp.settings import Settings
from oklp.storage import matches as match_store
from oklp.storage import proposals as store
from oklp.storage.engine import Tx
from oklp.storage.tx import Row

OVER = "Nobody can decide on this proposal any more: it was approved, declined, withdrawn, or waited for too long."
ONE_PERSON = "This takes two persons: whoever proposed it does not decide on it."
NOT_HIS = "Only whoever proposed it can withdraw it. Others approve or decline."
SUSPENDED = "You are suspended."
CHANGED = "The money that this is about has changed since. Decline it, and propose it anew."


def decide(
    tx: Tx,
    settings: Settings,
    who: Operator,
    proposal_id: str,
    request: contract.ProposalDecision,
    now: int,
) -> contract.Proposal:
    """Approve, which does what was proposed, or decline.

    Raises NotFound, RoleMissing, Forbidden (one person), WrongState (decided, expired, or not possible any more).
    """
    row = proposals.found(tx, proposal_id)
    who.need(row.action)
    if row.proposer_id == who.id:
        raise Forbidden(ONE_PERSON)
    now_is = staff.active(tx, who.id)
    if now_is is None:
        raise Forbidden(SUSPENDED)
    now_is.need(row.action)
    approved = request.decision == "approve"
    # Matches are locked before anything else, in whatever order these two are asked for elsewhere.
    match = match_store.lock(tx, [row.match_id]).get(row.match_id) if approved else None
    state = "approved" if approved else "declined"
    if not store.decide(tx, proposal_id, state, who.id, who.username, request.reason, now):
        raise WrongState(OVER)
    subject = proposals.subject_of(row)
    detail = proposals.detail_of(proposals.view(row, now)) | {"proposed_by": row.proposer}
    proposals.audit(tx, who, f"proposal.{request.decision}", subject, request.reason, detail, now)
    if approved:
        _carry_out(tx, settings, row, match, now)
    return proposals.read(tx, proposal_id, now)


def withdraw(tx: Tx, who: Operator, proposal_id: str, request: contract.OperatorReason, now: int) -> contract.Proposal:
    """Take one's own proposal back, whatever one's role is by now: nothing is done, and another can be made.

    Raises NotFound, Forbidden (somebody else's), WrongState (decided, withdrawn or expired).
    """
    row = proposals.found(tx, proposal_id)
    if row.proposer_id != who.id:
        raise Forbidden(NOT_HIS)
    if staff.active(tx, who.id) is None:
        raise Forbidden(SUSPENDED)
    if not store.withdraw(tx, proposal_id, who.id, request.reason, now):
        raise WrongState(OVER)
    detail = proposals.detail_of(proposals.view(row, now))
    proposals.audit(tx, who, "proposal.withdraw", proposals.subject_of(row), request.reason, detail, now)
    return proposals.read(tx, proposal_id, now)


def _carry_out(tx: Tx, settings: Settings, row: Row, match: Row | None, now: int) -> None:
    """In the name of whoever proposed it. Raises WrongState, and what the action refuses."""
    proposer = staff.active(tx, row.proposer_id)
    if proposer is None or not proposer.may(row.action):
        raise WrongState("Whoever proposed this may not do it any more.")
    if not row.user_id and (match is None or match.escrow not in (row.amount, 0)):
        raise WrongState(CHANGED)
    if row.action == "match.settle":
        settlement = contract.SettleRequest.model_validate_json(row.request)
        operators.settle_now(tx, proposer, row.match_id, settlement, now)
    elif row.action == "match.abort":
        why = contract.OperatorReason.model_validate_json(row.request)
        operators.abort_now(tx, settings, proposer, row.match_id, why, now)
    else:
        decision = contract.HeldDecision.model_validate_json(row.request)
        operators.decide_held_now(tx, proposer, row.user_id, row.match_id, decision, now)

"""Two persons for what is above a threshold: one proposes, another decides (`services.approvals`).

A proposal holds nothing and changes nothing. What it is about goes on, and is looked at again when it is approved.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, get_args

from oklp import contract
from oklp.domain import matches as rules
from oklp.errors import NotFound, WrongState
from oklp.services import views
from oklp.services.staff import Operator
from oklp.settings import Settings
from oklp.storage import events
from oklp.storage import proposals as store
from oklp.storage.engine import Tx
from oklp.storage.tx import Row

ACTIONS = get_args(contract.ProposalAction)
GLANCE = 100
Place = tuple[int, str]
WAITS = "There is a proposal about this already, which waits for a second operator."


class Subject(NamedTuple):
    """What a proposal moves: minor units of a match's escrow, or with a `user_id` of what was held for a player."""

    action: str
    match_id: str
    user_id: str
    amount: int
    currency: str

    @property
    def audited(self) -> str:
        """As the audit log names it."""
        return f"player:{self.user_id}" if self.user_id else f"match:{self.match_id}"


class _UndoneError(Exception):
    """Ends a rehearsal."""


@contextmanager
def rehearsal(tx: Tx) -> Iterator[None]:
    """What is inside is done and undone again: it raises what the real thing would, and leaves nothing behind."""
    try:
        with tx.savepoint():
            yield
            raise _UndoneError
    except _UndoneError:
        pass


def needed(settings: Settings, amount: int) -> bool:
    """Whether an amount, in minor units, takes two persons."""
    return 0 < settings.approval_above < amount


def needed_to_end(settings: Settings, match: contract.Match) -> bool:
    """Whether to settle a match that is not over, or to call it off, takes two persons."""
    paid = sum(each.state == rules.CONFIRMED for team in match.teams for each in team.members)
    return needed(settings, match.entry_fee.amount * paid)


def propose(
    tx: Tx,
    settings: Settings,
    who: Operator,
    subject: Subject,
    request: contract.SettleRequest | contract.OperatorReason | contract.HeldDecision,
    proposal_id: str,
    now: int,
) -> contract.Proposed:
    """Keep what `who` would have done, for another to decide on. Raises WrongState while there is one already."""
    store.expire(tx, now)
    with tx.refusing(WrongState(WAITS)):
        store.insert(
            tx,
            id=proposal_id,
            **subject._asdict(),
            request=request.model_dump_json(),
            reason=request.reason,
            proposer_id=who.id,
            proposer=who.username,
            proposed_at=now,
            expires_at=now + settings.approval_seconds * 1000,
            state="waiting",
        )
    made = contract.Proposed.model_validate(view(found(tx, proposal_id), now).model_dump())
    audit(tx, who, "proposal.make", subject, request.reason, detail_of(made), now)
    return made


def detail_of(proposal: contract.Proposal) -> dict[str, Any]:
    """What the audit log keeps of a proposal: all that was asked for, since it may never be done."""
    detail: dict[str, Any] = {
        "proposal_id": proposal.proposal_id,
        "action": proposal.action,
        "amount": proposal.amount,
        "currency": proposal.currency,
    }
    if proposal.action == "match.settle":
        request = contract.SettleRequest.model_validate(proposal.request)
        detail["ranking"] = [[team.id, team.ranking] for team in request.teams]
        detail["scores"] = [[team.id, team.score] for team in request.teams]
        detail["scores"] += [[player.id, player.score] for player in request.participants]
        if forfeits := [team.id for team in request.teams if team.forfeit]:
            detail["forfeits"] = forfeits
    elif proposal.user_id is not None:
        detail["match_id"] = proposal.match_id  # the log is the player's
    return detail


class Glance(NamedTuple):
    """What every page of the console tells of: the oldest that wait, by id, and how many an operator may decide on.

    Neither has more than `GLANCE`, which stands for as many or more.
    """

    ids: list[str]
    to_decide: int


def glance(tx: Tx, who: Operator, now: int) -> Glance:
    mine = [action for action in ACTIONS if who.may(action)]
    to_decide = store.count_for(tx, who.id, mine, now, GLANCE) if mine else 0
    return Glance(store.waiting_ids(tx, now, GLANCE), to_decide)


def waiting(
    tx: Tx, after: Place | None, limit: int, now: int, match_id: str | None = None, user_id: str | None = None
) -> tuple[list[contract.Proposal], Place | None]:
    """What can still be decided, oldest first, and after which the rest is; all of it, or what is about one match or
    about winnings that are held for one player.
    """
    return _page(store.waiting(tx, now, after, limit + 1, match_id, user_id), limit, now)


def page(tx: Tx, before: Place | None, limit: int, now: int) -> tuple[list[contract.Proposal], Place | None]:
    """All of them, newest first, and the place before which the rest follows."""
    return _page(store.page(tx, before, limit + 1), limit, now)


def past(tx: Tx, before: Place | None, limit: int, now: int) -> tuple[list[contract.Proposal], Place | None]:
    """As `page`, without what still waits."""
    return _page(store.page(tx, before, limit + 1, over_at=now), limit, now)


def _page(rows: Sequence[Row], limit: int, now: int) -> tuple[list[contract.Proposal], Place | None]:
    more = (int(rows[limit - 1].proposed_at), str(rows[limit - 1].id)) if len(rows) > limit else None
    return [view(row, now) for row in rows[:limit]], more


def read(tx: Tx, proposal_id: str, now: int) -> contract.Proposal:
    """Raises NotFound."""
    return view(found(tx, proposal_id), now)


def found(tx: Tx, proposal_id: str) -> Row:
    """Raises NotFound."""
    row = store.get(tx, proposal_id)
    if row is None:
        raise NotFound("There is no such proposal.")
    return row


def subject_of(row: Row) -> Subject:
    return Subject(row.action, row.match_id, row.user_id, row.amount, row.currency)


def view(row: Row, now: int) -> contract.Proposal:
    state = row.state
    if state in ("waiting", "expired"):
        state = "obsolete" if row.match_over else "expired" if row.expires_at <= now else state
    return contract.Proposal.model_validate(
        {
            "proposal_id": row.id,
            "action": row.action,
            "match_id": row.match_id,
            "user_id": row.user_id or None,
            "amount": row.amount,
            "currency": row.currency,
            "request": json.loads(row.request),
            "reason": row.reason,
            "proposed_by": row.proposer,
            "proposed_at": views.when(row.proposed_at),
            "expires_at": views.when(row.expires_at),
            "state": state,
            "decided_by": row.decider,
            "decided_at": views.maybe_when(row.decided_at),
            "decision_reason": row.decision_reason,
        }
    )


def audit(
    tx: Tx, who: Operator, action: str, subject: Subject, reason: str, detail: Mapping[str, Any], now: int
) -> None:
    """In the log of what the proposal is about."""
    events.insert_audit(
        tx,
        at=now,
        actor=who.actor,
        action=action,
        subject=subject.audited,
        reason=reason,
        detail=json.dumps(detail),
    )

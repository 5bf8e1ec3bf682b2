"""What operators do and see (contract section B4).

Every action needs a role that may do it (`domain.roles`) and a reason, and its line in the audit log is written in the
action's own transaction: none without the other. Players are told what happened to their match, not the reason, which
may be about somebody else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from oklp import contract
from oklp.domain import matches as rules
from oklp.errors import NotFound, OklpError, WrongState
from oklp.services import books, games, ledger, matches, players, proposals, records, results, views, webhooks
from oklp.services.proposals import Subject
from oklp.services.staff import Operator
from oklp.services.vault import Vault
from oklp.settings import Settings
from oklp.storage import events
from oklp.storage import games as game_store
from oklp.storage import ledger as ledger_store
from oklp.storage import matches as match_store
from oklp.storage import webhooks as outbox
from oklp.storage.engine import Tx
from oklp.storage.tx import Row

ABORTED_BY_OPERATOR = "operator"
LISTED_WITH_A_MATCH = 200


# --- games -----------------------------------------------------------------------------------------------------------


def list_games(
    tx: Tx, vetting: str | None, after: str, limit: int, studio_id: str | None = None
) -> tuple[list[contract.OperatorGame], str | None]:
    """All of them or a studio's, in the order of their ids, and the id after which the rest follows."""
    rows = game_store.by_vetting(tx, vetting, after, limit + 1, studio_id)
    return [_game(row) for row in rows[:limit]], rows[limit - 1].id if len(rows) > limit else None


def review_queue(
    tx: Tx, after: tuple[int, str] | None, limit: int
) -> tuple[list[contract.OperatorGame], tuple[int, str] | None]:
    """The games in review, the one that waits for the longest first, and the place after which the rest follows."""
    rows = game_store.in_review(tx, after, limit + 1)
    more = (int(rows[limit - 1].vetting_at), str(rows[limit - 1].id)) if len(rows) > limit else None
    return [_game(row) for row in rows[:limit]], more


def game(tx: Tx, game_id: str) -> contract.OperatorGame:
    row = game_store.game(tx, game_id)
    if row is None:
        raise NotFound("There is no such game.")
    return _game(row)


def _game(row: Row) -> contract.OperatorGame:
    return contract.OperatorGame(**views.studio_game(row).model_dump(), studio=row.studio_name)


def vet(
    tx: Tx, settings: Settings, who: Operator, game_id: str, request: contract.VettingDecision, now: int
) -> contract.OperatorGame:
    who.need("game.vet")
    games.vet(tx, settings, who.actor, game_id, request, now)
    return game(tx, game_id)


# --- players ---------------------------------------------------------------------------------------------------------


def act_on_player(
    tx: Tx,
    settings: Settings,
    vault: Vault,
    who: Operator,
    user_id: str,
    request: contract.PlayerAction,
    mail_id: str,
    now: int,
) -> contract.OperatorPlayer:
    who.need(f"player.{request.action}")
    players.act(tx, settings, vault, who.actor, user_id, request, mail_id, now)
    return players.operator_player(tx, settings, user_id)


def decide_held(
    tx: Tx,
    settings: Settings,
    who: Operator,
    user_id: str,
    match_id: str,
    request: contract.HeldDecision,
    proposal_id: str,
    now: int,
) -> contract.HeldWinning | contract.Proposed:
    """Winnings that were held while a player was suspended go to the player, or stay with the platform.

    Above the threshold it is a proposal. Raises NotFound when nothing was held there, WrongState once it is decided.
    """
    action = f"held-winnings.{request.decision}"
    who.need(action)
    held = _held(tx, user_id, match_id)
    if not proposals.needed(settings, held.amount):
        return decide_held_now(tx, who, user_id, match_id, request, now)
    subject = Subject(action, match_id, user_id, held.amount, held.currency)
    return proposals.propose(tx, settings, who, subject, request, proposal_id, now)


def _held(tx: Tx, user_id: str, match_id: str) -> Row:
    held = next((row for row in ledger_store.held_of(tx, [user_id]) if row.match_id == match_id), None)
    if held is None:
        raise NotFound("Nothing was held for this player from this match.")
    if held.state != "held":
        raise WrongState(f"These winnings were {held.state} already.")
    return held


def decide_held_now(
    tx: Tx, who: Operator, user_id: str, match_id: str, request: contract.HeldDecision, now: int
) -> contract.HeldWinning:
    """As `decide_held`, without a second person."""
    held = _held(tx, user_id, match_id)
    decide = ledger.release_held if request.decision == "release" else ledger.confiscate_held
    amount = decide(tx, match_id, user_id, now)
    detail = {"match_id": match_id, "amount": amount, "currency": held.currency}
    _audit(tx, who.actor, f"held-winnings.{request.decision}", f"player:{user_id}", request.reason, detail, now)
    state = "released" if request.decision == "release" else "confiscated"
    return contract.HeldWinning.model_validate(
        {"match_id": match_id, "amount": amount, "currency": held.currency, "state": state}
    )


# --- matches ---------------------------------------------------------------------------------------------------------


def match(tx: Tx, match_id: str) -> contract.OperatorMatch:
    """Everything there is about one match."""
    row = match_store.get(tx, [match_id]).get(match_id)
    if row is None:
        raise NotFound(matches.NOT_FOUND)
    shown: contract.Match = matches.views_of(tx, [row], views.match)[0]
    refused = results.refused_of(tx, match_id)
    return contract.OperatorMatch(
        **shown.model_dump(),
        postings=[views.posting(each) for each in ledger_store.postings_of_match(tx, match_id)],
        deliveries=[views.delivery(each) for each in outbox.of_match(tx, match_id)],
        launches=[views.launch(each) for each in match_store.launches_of(tx, match_id, LISTED_WITH_A_MATCH)],
        refused_results=refused.results,
        more_refused_results=refused.more,
        audit=[
            views.audit(each) for each in events.audit_page(tx, _subject_of_match(match_id), None, LISTED_WITH_A_MATCH)
        ],
    )


def refused_results(tx: Tx, match_id: str) -> contract.RefusedResults:
    """Results that came after the accepted one and said something else (A7)."""
    if match_id not in match_store.get(tx, [match_id]):
        raise NotFound(matches.NOT_FOUND)
    return results.refused_of(tx, match_id)


def settle(
    tx: Tx,
    settings: Settings,
    who: Operator,
    match_id: str,
    request: contract.SettleRequest,
    proposal_id: str,
    now: int,
) -> contract.OperatorMatch | contract.Proposed:
    """End a live match with a result of the operator's; above the threshold it is a proposal.

    Raises WrongState, InvalidRequest (roster, ranks).
    """
    who.need("match.settle")
    subject = _escrow(tx, "match.settle", match_id)
    if not proposals.needed(settings, subject.amount):
        return settle_now(tx, who, match_id, request, now)
    with proposals.rehearsal(tx):
        settle_now(tx, who, match_id, request, now)
    return proposals.propose(tx, settings, who, subject, request, proposal_id, now)


def _escrow(tx: Tx, action: str, match_id: str) -> Subject:
    """The money of a match, which stays so: the match is locked."""
    row = match_store.lock(tx, [match_id]).get(match_id)
    if row is None:
        raise NotFound(matches.NOT_FOUND)
    return Subject(action, match_id, "", row.escrow, row.currency)


def settle_now(
    tx: Tx, who: Operator, match_id: str, request: contract.SettleRequest, now: int
) -> contract.OperatorMatch:
    """As `settle`, without a second person."""
    detail = results.settle(tx, match_id, request, now)
    _audit(tx, who.actor, "match.settle", _subject_of_match(match_id), request.reason, detail, now)
    return match(tx, match_id)


def abort(
    tx: Tx,
    settings: Settings,
    who: Operator,
    match_id: str,
    request: contract.OperatorReason,
    proposal_id: str,
    now: int,
) -> contract.OperatorMatch | contract.Proposed:
    """Call off a match that is not over: every fee goes back, and a game that may know of it is told.

    Above the threshold it is a proposal. Raises WrongState.
    """
    who.need("match.abort")
    subject = _escrow(tx, "match.abort", match_id)
    if not proposals.needed(settings, subject.amount):
        return abort_now(tx, settings, who, match_id, request, now)
    with proposals.rehearsal(tx):
        abort_now(tx, settings, who, match_id, request, now)
    return proposals.propose(tx, settings, who, subject, request, proposal_id, now)


def abort_now(
    tx: Tx, settings: Settings, who: Operator, match_id: str, request: contract.OperatorReason, now: int
) -> contract.OperatorMatch:
    """As `abort`, without a second person."""
    row = match_store.lock(tx, [match_id]).get(match_id)
    if row is None:
        raise NotFound(matches.NOT_FOUND)
    rules.permit(row.status, "abort")
    matches.abort(tx, settings, [match_id], ABORTED_BY_OPERATOR, "An operator called the match off.", now)
    _audit(tx, who.actor, "match.abort", _subject_of_match(match_id), request.reason, {"was": row.status}, now)
    return match(tx, match_id)


def _subject_of_match(match_id: str) -> str:
    return f"match:{match_id}"


def resend(tx: Tx, who: Operator, delivery_id: str, request: contract.OperatorReason, now: int) -> contract.Delivery:
    """One more attempt of a delivery that is over (`webhooks.resend`). Raises NotFound, WrongState."""
    who.need("delivery.resend")
    row = webhooks.resend(tx, delivery_id, now)
    _audit(tx, who.actor, "delivery.resend", f"delivery:{delivery_id}", request.reason, {"game_id": row.game_id}, now)
    return views.delivery(row)


# --- the platform ----------------------------------------------------------------------------------------------------


def audit_log(
    tx: Tx, subject: str | None, before: int | None, limit: int
) -> tuple[list[contract.AuditEntry], int | None]:
    """Newest first, and the entry before which the rest follows."""
    rows = events.audit_page(tx, subject, before, limit + 1)
    return [views.audit(row) for row in rows[:limit]], int(rows[limit - 1].id) if len(rows) > limit else None


def export_postings(
    tx: Tx, who: Operator, account: str, before: tuple[int, int] | None, limit: int
) -> tuple[list[contract.LedgerPosting], tuple[int, int] | None]:
    """As `ledger.account_page`, for those who may take the ledger out of the house."""
    who.need("ledger.export")
    return ledger.account_page(tx, account, before, limit)


def verify_books(tx: Tx, asking: Sequence[Operator]) -> list[contract.Books | OklpError]:
    """`books.verify`, once for all who ask at the same time. Set-based; the outcome of who may not is RoleMissing."""
    outcomes: list[contract.Books | OklpError] = []
    proved: contract.Books | None = None
    for who in asking:
        try:
            who.need("books.verify")  # the whole ledger is read, which not everybody may have the server do
        except OklpError as refusal:
            outcomes.append(refusal)
        else:
            proved = proved or books.verify(tx)
            outcomes.append(proved)
    return outcomes


class Backlog(NamedTuple):
    """What waits, failed or is late."""

    deliveries_waiting: int
    deliveries_failed: int
    matches_overdue: int
    counting_lag_ms: int


def backlog(tx: Tx, now: int) -> Backlog:
    return Backlog(
        outbox.count(tx, "waiting"),
        outbox.count(tx, "failed"),
        match_store.count_overdue(tx, now),
        records.behind(tx, now).lag_ms,
    )


def _audit(
    tx: Tx, actor: str, action: str, subject: str, reason: str | None, detail: Mapping[str, Any], now: int
) -> None:
    events.insert_audit(
        tx, at=now, actor=actor, action=action, subject=subject, reason=reason, detail=json.dumps(detail)
    )

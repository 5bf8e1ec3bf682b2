"""What operators call (contract section B4). Every action has a reason, is in the audit log, and needs a role for it.

Actions move money or stop it from moving, so each honours an `Idempotency-Key`.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from oklp import contract
from oklp.services import approvals, conformance, mails, matches, operators, players, proposals, staff, webhooks
from oklp.services.mails import Pen
from oklp.storage.engine import inspect_database
from oklp.web.caller import AsOperator, AsSelf, Cursor, Here, Limit, from_cursor, once, to_cursor
from oklp.web.context import new_uuid
from oklp.web.languages import language_of
from oklp.web.sessions import log_in_as, log_out_of

router = APIRouter(prefix="/api/operator/v1", tags=["operator"])

GamePath = Annotated[contract.GameId, Path()]
PlayerPath = Annotated[contract.UserId, Path()]
OperatorPath = Annotated[contract.UserId, Path()]
ProposalPath = Annotated[contract.UserId, Path()]
MatchPath = Annotated[contract.MatchId, Path()]
ReportPath = Annotated[contract.ReportId, Path()]
OR_PROPOSED: dict[int | str, dict[str, Any]] = {
    202: {"model": contract.Proposed, "description": "It takes two operators, and waits for the second"}
}
Subject = Annotated[str | None, Query(pattern=r"^[a-z]{1,20}:[A-Za-z0-9_-]{1,64}$", examples=["game:tile-rush"])]


# --- sessions --------------------------------------------------------------------------------------------------------


@router.post("/sessions", status_code=201, response_model=contract.Session)
async def log_in(here: Here, request: Request, body: contract.LogIn) -> contract.Session:
    return await log_in_as(here, request, "operator", body)


@router.delete("/sessions/current", status_code=204)
async def log_out(here: Here, request: Request, operator: AsSelf) -> Response:
    return await log_out_of(here, request)


@router.get("/me", response_model=contract.OperatorProfile)
async def me(here: Here, operator: AsSelf) -> contract.OperatorProfile:
    return await here.db.read(staff.profile, operator.id)


# --- operators -------------------------------------------------------------------------------------------------------


@router.get("/operators", response_model=contract.OperatorAccounts)
async def list_operators(here: Here, operator: AsOperator) -> contract.OperatorAccounts:
    """Who runs the platform, by name, and what each may do."""
    return await here.db.read(staff.accounts)


@router.get("/operators/{operator_id}", response_model=contract.OperatorAccount)
async def read_operator(here: Here, operator: AsOperator, operator_id: OperatorPath) -> contract.OperatorAccount:
    return await here.db.read(staff.account, operator_id)


@router.post("/operators/{operator_id}", response_model=contract.OperatorAccount)
async def act_on_operator(
    here: Here, request: Request, operator: AsOperator, operator_id: OperatorPath, body: contract.OperatorAction
) -> Response:
    """Give another role, suspend, reinstate, or remove the second factors of somebody who has lost them.

    All sessions end. For admins, of whom one stays; nobody removes his own factors like this.
    """
    pen = Pen(here.settings, here.vault, new_uuid(), language_of(request))
    return await once(here, request, operator.id, 200, staff.act, pen, operator, operator_id, body, here.clock())


# --- games -----------------------------------------------------------------------------------------------------------


@router.get("/games", response_model=contract.OperatorGamePage)
async def list_games(
    here: Here,
    operator: AsOperator,
    vetting: Annotated[contract.Vetting | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> contract.OperatorGamePage:
    """Games of all studios, in the order of their ids."""
    after = from_cursor(cursor, str)
    found, more = await here.db.read(operators.list_games, vetting, after[0] if after is not None else "", limit)
    return contract.OperatorGamePage(games=found, next_cursor=to_cursor(more) if more is not None else None)


@router.get("/games/{game_id}", response_model=contract.OperatorGame)
async def read_game(here: Here, operator: AsOperator, game_id: GamePath) -> contract.OperatorGame:
    return await here.db.read(operators.game, game_id)


@router.get("/games/{game_id}/conformance-reports", response_model=contract.ConformancePage)
async def list_conformance_reports(here: Here, operator: AsOperator, game_id: GamePath) -> contract.ConformancePage:
    """What the studio has handed in of `oklp check`, newest first. It is the studio's word."""
    return await here.db.read(conformance.of_game, game_id)


@router.get("/games/{game_id}/conformance-reports/{report_id}", response_model=contract.ConformanceDetail)
async def read_conformance_report(
    here: Here, operator: AsOperator, game_id: GamePath, report_id: ReportPath
) -> contract.ConformanceDetail:
    return await here.db.read(conformance.read, game_id, report_id)


@router.post("/games/{game_id}/vetting", response_model=contract.OperatorGame)
async def vet_game(
    here: Here, request: Request, operator: AsOperator, game_id: GamePath, body: contract.VettingDecision
) -> Response:
    """Approve, refuse (back to draft) or suspend. Suspending aborts and refunds pending matches."""
    return await once(
        here, request, operator.id, 200, operators.vet, here.settings, operator, game_id, body, here.clock()
    )


# --- players ---------------------------------------------------------------------------------------------------------


@router.get("/players", response_model=contract.OperatorPlayerPage)
async def list_players(
    here: Here,
    operator: AsOperator,
    query: Annotated[str, Query(pattern=r"^[A-Za-z0-9_-]{0,32}$")] = "",
    cursor: Cursor = None,
    limit: Limit = 50,
) -> contract.OperatorPlayerPage:
    """Players whose name starts so, by name."""
    after = from_cursor(cursor, str)
    page, more = await here.db.read(players.operator_page, query, after[0] if after is not None else "", limit)
    return page.model_copy(update={"next_cursor": to_cursor(more) if more is not None else None})


@router.get("/players/{user_id}", response_model=contract.OperatorPlayer)
async def read_player(here: Here, operator: AsOperator, user_id: PlayerPath) -> contract.OperatorPlayer:
    return await here.db.read(players.operator_player, here.settings, user_id)


@router.post("/players/{user_id}", response_model=contract.OperatorPlayer)
async def act_on_player(
    here: Here, request: Request, operator: AsOperator, user_id: PlayerPath, body: contract.PlayerAction
) -> Response:
    """Suspend (pending matches are aborted, live ones go on, winnings are held), reinstate, or verify.

    Or remove the second factors of somebody who has lost them: his sessions end, and he is told by mail.
    """
    return await once(
        here,
        request,
        operator.id,
        200,
        operators.act_on_player,
        here.settings,
        here.vault,
        operator,
        user_id,
        body,
        new_uuid(),
        here.clock(),
    )


@router.post("/players/{user_id}/held-winnings/{match_id}", response_model=contract.HeldWinning, responses=OR_PROPOSED)
async def decide_held_winnings(
    here: Here,
    request: Request,
    operator: AsOperator,
    user_id: PlayerPath,
    match_id: MatchPath,
    body: contract.HeldDecision,
) -> Response:
    """Pay held winnings to the player, or keep them with the platform's fees. Above the threshold it is a proposal."""
    made = (here.settings, operator, user_id, match_id, body, new_uuid(), here.clock())
    return await once(here, request, operator.id, 200, operators.decide_held, *made)


# --- matches ---------------------------------------------------------------------------------------------------------


@router.get("/matches", response_model=contract.OperatorMatchPage)
async def list_matches(
    here: Here,
    operator: AsOperator,
    status: Annotated[contract.MatchStatus | None, Query()] = None,
    game_id: Annotated[contract.GameId | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> contract.OperatorMatchPage:
    """Newest first."""
    before = from_cursor(cursor, int, str)
    found, more = await here.db.report(matches.list_newest, game_id, status, before, limit)
    return contract.OperatorMatchPage(matches=found, next_cursor=to_cursor(*more) if more is not None else None)


@router.get("/matches/{match_id}", response_model=contract.OperatorMatch)
async def read_match(here: Here, operator: AsOperator, match_id: MatchPath) -> contract.OperatorMatch:
    """Everything about one match: postings, deliveries, results that were refused, what operators did."""
    return await here.db.read(operators.match, match_id)


@router.get("/matches/{match_id}/refused-results", response_model=contract.RefusedResults)
async def refused_results(here: Here, operator: AsOperator, match_id: MatchPath) -> contract.RefusedResults:
    """Results that came after the accepted one and differed from it."""
    return await here.db.read(operators.refused_results, match_id)


@router.post("/matches/{match_id}/settle", response_model=contract.OperatorMatch, responses=OR_PROPOSED)
async def settle(
    here: Here, request: Request, operator: AsOperator, match_id: MatchPath, body: contract.SettleRequest
) -> Response:
    """End a live match with this result, and pay it out. Above the threshold it is a proposal."""
    made = (here.settings, operator, match_id, body, new_uuid(), here.clock())
    return await once(here, request, operator.id, 200, operators.settle, *made)


@router.post("/matches/{match_id}/abort", response_model=contract.OperatorMatch, responses=OR_PROPOSED)
async def abort(
    here: Here, request: Request, operator: AsOperator, match_id: MatchPath, body: contract.OperatorReason
) -> Response:
    """Call off a match that is not over, and refund everyone. Above the threshold it is a proposal."""
    made = (here.settings, operator, match_id, body, new_uuid(), here.clock())
    return await once(here, request, operator.id, 200, operators.abort, *made)


# --- two persons -----------------------------------------------------------------------------------------------------


@router.get("/proposals", response_model=contract.ProposalPage)
async def list_proposals(
    here: Here, operator: AsOperator, waiting: bool = False, cursor: Cursor = None, limit: Limit = 50
) -> contract.ProposalPage:
    """What takes two operators, newest first; or what still waits, oldest first."""
    wanted = proposals.waiting if waiting else proposals.page
    found, more = await here.db.read(wanted, from_cursor(cursor, int, str), limit, here.clock())
    return contract.ProposalPage(proposals=found, next_cursor=to_cursor(*more) if more is not None else None)


@router.get("/proposals/{proposal_id}", response_model=contract.Proposal)
async def read_proposal(here: Here, operator: AsOperator, proposal_id: ProposalPath) -> contract.Proposal:
    return await here.db.read(proposals.read, proposal_id, here.clock())


@router.post("/proposals/{proposal_id}/decision", response_model=contract.Proposal)
async def decide_proposal(
    here: Here, request: Request, operator: AsOperator, proposal_id: ProposalPath, body: contract.ProposalDecision
) -> Response:
    """Approve, which does what was proposed, or decline. Never by whoever proposed it."""
    made = (here.settings, operator, proposal_id, body, here.clock())
    return await once(here, request, operator.id, 200, approvals.decide, *made)


@router.post("/proposals/{proposal_id}/withdrawal", response_model=contract.Proposal)
async def withdraw_proposal(
    here: Here, request: Request, operator: AsOperator, proposal_id: ProposalPath, body: contract.OperatorReason
) -> Response:
    """Take back what one has proposed oneself, while nobody has decided on it."""
    made = (operator, proposal_id, body, here.clock())
    return await once(here, request, operator.id, 200, approvals.withdraw, *made)


# --- the platform ----------------------------------------------------------------------------------------------------


@router.get("/deliveries", response_model=contract.DeliveryPage)
async def list_deliveries(
    here: Here,
    operator: AsOperator,
    state: Annotated[contract.DeliveryState | None, Query()] = None,
    game_id: Annotated[contract.GameId | None, Query()] = None,
    match_id: Annotated[contract.MatchId | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> contract.DeliveryPage:
    """What games were told, newest first."""
    chosen = webhooks.Chosen(game_id, state, match_id=match_id)
    found, more = await here.db.report(webhooks.page, chosen, from_cursor(cursor, int, str), limit)
    return contract.DeliveryPage(deliveries=found, next_cursor=to_cursor(*more) if more is not None else None)


@router.get("/deliveries/{delivery_id}", response_model=contract.DeliveryDetail)
async def read_delivery(
    here: Here, operator: AsOperator, delivery_id: Annotated[contract.DeliveryId, Path()]
) -> contract.DeliveryDetail:
    return await here.db.read(webhooks.detail, delivery_id)


@router.get("/audit", response_model=contract.AuditPage)
async def audit_log(
    here: Here,
    operator: AsOperator,
    subject: Subject = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> contract.AuditPage:
    """Who did what to whom and why, newest first. A subject is a kind and an id: `game:tile-rush`, `match:…`."""
    before = from_cursor(cursor, int)
    found, more = await here.db.read(operators.audit_log, subject, before[0] if before is not None else None, limit)
    return contract.AuditPage(entries=found, next_cursor=to_cursor(more) if more is not None else None)


@router.get("/mails", response_model=contract.MailPage)
async def list_mails(
    here: Here,
    operator: AsOperator,
    recipient: Annotated[contract.Email | None, Query()] = None,
    state: Annotated[contract.MailState | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> contract.MailPage:
    """Mails that were sent, wait or failed, newest first. In the sandbox with what they say."""
    before = from_cursor(cursor, int, str)
    found, more = await here.db.read(mails.page, here.settings, here.vault, recipient, state, before, limit)
    return contract.MailPage(mails=found, next_cursor=to_cursor(*more) if more is not None else None)


@router.get("/books", response_model=contract.Books)
async def verify_books(here: Here, operator: AsOperator) -> contract.Books:
    """Prove the ledger, on one snapshot: totals, and every row that is off. Takes as long as the ledger is large."""
    return await here.db.audit(operators.verify_books, operator)


@router.get("/health", response_model=contract.Health)
async def health(here: Here, operator: AsOperator) -> contract.Health:
    """How the platform is, as this process sees it."""
    state = await asyncio.get_running_loop().run_in_executor(None, inspect_database, here.settings.database_url)
    backlog = await here.db.read(operators.backlog, here.clock())
    return contract.Health(
        database="postgresql" if here.db.postgres else "sqlite",
        schema_current=state.current,
        sandbox=here.settings.sandbox,
        write_queue=sum(map(len, here.db.writing_lanes)),
        read_queue=len(here.db.read_lane) + len(here.db.browse_lane),
        **backlog._asdict(),
    )

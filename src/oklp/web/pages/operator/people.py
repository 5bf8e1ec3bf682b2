"""Players: finding one, everything about one, and what is decided about one."""

from __future__ import annotations

import re
from functools import partial

from starlette.responses import Response
from starlette.routing import Route

from oklp import contract
from oklp.errors import OklpError
from oklp.services import matches as match_service
from oklp.services import operators, players, proposals, statement
from oklp.web.caller import from_cursor, to_cursor
from oklp.web.context import new_uuid
from oklp.web.pages import forms
from oklp.web.pages.forms import Form
from oklp.web.pages.frame import go, show
from oklp.web.pages.operator.desk import (
    A_PAGE,
    done_or_proposed,
    operator,
    operator_form,
    operator_page,
    proposed,
    refused,
)
from oklp.web.pages.visit import Visit

LISTED = 10
MOST_PROPOSED = 100


async def list_players(visit: Visit) -> Response:
    query = (visit.argument("q") or "").strip()
    known = re.fullmatch(r"[A-Za-z0-9_-]{0,32}", query) is not None
    after = from_cursor(visit.argument("cursor"), str)
    found: list[contract.Profile] = []
    more = None
    if known:
        page, more = await visit.here.db.read(players.operator_page, query, after[0] if after else "", A_PAGE)
        found = page.players
    return await show(visit, "operator/players.html", players=found, q=query, more=to_cursor(more) if more else None)


async def player(visit: Visit) -> Response:
    return await _show(visit, Form())


async def _show(visit: Visit, form: Form, status: int = 200) -> Response:
    here, user_id = visit.here, visit.request.path_params["user_id"]
    found = await here.db.read(players.operator_player, here.settings, user_id)
    before = from_cursor(visit.argument("cursor"), int, str) if visit.request.method == "GET" else None
    matches, more = await here.db.read(match_service.list_for_player, user_id, None, "mine", before, LISTED)
    entries, _ = await here.db.read(statement.entries, user_id, statement.ALL, None, LISTED)
    audit, _ = await here.db.read(operators.audit_log, f"player:{user_id}", None, LISTED)
    waiting, _ = await here.db.read(proposals.waiting, None, MOST_PROPOSED, here.clock(), None, user_id)
    return await show(
        visit,
        "operator/player.html",
        status,
        player=found,
        proposed={each.match_id: each for each in waiting},
        matches=matches,
        more=to_cursor(*more) if more else None,
        entries=entries.entries,
        audit=audit,
        takes_two=partial(proposals.needed, visit.here.settings),
        form=form,
    )


async def act(visit: Visit) -> Response:
    here, user_id = visit.here, visit.request.path_params["user_id"]
    try:
        values = {"action": visit.fields.get("action"), "reason": visit.fields.get("reason", "")}
        body = forms.model(contract.PlayerAction, values)
        args = (here.settings, here.vault, operator(visit), user_id, body, new_uuid(), here.clock())
        await forms.once(visit, contract.OperatorPlayer, operators.act_on_player, *args)
    except OklpError as refusal:
        form = refused(visit, refusal)
        return await _show(visit, form, refusal.status)
    return go(visit, f"/operator/players/{user_id}", visit._("Done, and kept in the audit log."))


async def decide(visit: Visit) -> Response:
    """Held winnings, to the player or to the platform."""
    here, params = visit.here, visit.request.path_params
    try:
        values = {"decision": visit.fields.get("decision"), "reason": visit.fields.get("reason", "")}
        body = forms.model(contract.HeldDecision, values)
        what = (params["user_id"], params["match_id"], body, new_uuid(), here.clock())
        args = (here.settings, operator(visit), *what)
        if not await done_or_proposed(visit, contract.HeldWinning, operators.decide_held, *args):
            return proposed(visit)
    except OklpError as refusal:
        form = refused(visit, refusal)
        return await _show(visit, form, refusal.status)
    return go(visit, f"/operator/players/{params['user_id']}", visit._("Done, and kept in the audit log."))


PLAYER = "/operator/players/{user_id}"
routes: list[Route] = [
    operator_page("/operator/players", list_players),
    operator_page(PLAYER, player),
    operator_form(f"{PLAYER}/act", act, _show, PLAYER),
    operator_form(f"{PLAYER}/held/{{match_id}}", decide, _show, PLAYER),
]

"""Matches: the list, everything about one on one page, and calling it off or settling it in the game's place."""

from __future__ import annotations

from typing import get_args

from starlette.responses import Response
from starlette.routing import Route

from oklp import contract
from oklp.errors import OklpError
from oklp.services import matches as service
from oklp.services import operators, proposals, webhooks
from oklp.web.caller import from_cursor, to_cursor
from oklp.web.context import new_uuid
from oklp.web.pages import forms
from oklp.web.pages.forms import Form
from oklp.web.pages.frame import go, show
from oklp.web.pages.operator.desk import (
    A_PAGE,
    done_or_proposed,
    one_of,
    operator,
    operator_form,
    operator_page,
    proposed,
    reason_of,
    refused,
)
from oklp.web.pages.visit import Visit

MOST_DETAILS = 10
POSTINGS = 50
SCORE_DIGITS = len(str(contract.MAX_SCORE))


async def list_matches(visit: Visit) -> Response:
    status = one_of(visit.argument("status"), get_args(contract.MatchStatus))
    game_id = (visit.argument("game") or "").strip() or None
    before = from_cursor(visit.argument("cursor"), int, str)
    found, more = await visit.here.db.read(service.list_newest, game_id, status, before, A_PAGE)
    return await show(
        visit,
        "operator/matches.html",
        matches=found,
        status=status or "",
        game_id=game_id or "",
        more=to_cursor(*more) if more else None,
    )


async def match(visit: Visit) -> Response:
    return await _show(visit, Form())


async def _show(visit: Visit, form: Form, status: int = 200) -> Response:
    db = visit.here.db
    found = await db.read(operators.match, visit.request.path_params["match_id"])
    details = [await db.read(webhooks.detail, each.delivery_id) for each in found.deliveries[:MOST_DETAILS]]
    waiting, _more = await db.read(proposals.waiting, None, A_PAGE, visit.here.clock(), found.match_id)
    shown = {"match": found, "deliveries": details, "proposals": waiting, "form": form, **_postings(visit, found)}
    shown["two"] = proposals.needed_to_end(visit.here.settings, found)
    return await show(visit, "operator/match.html", status, **shown)


def _postings(visit: Visit, match: contract.OperatorMatch) -> dict[str, object]:
    """The part of a match's postings that the page shows, and where its neighbours begin."""
    given = from_cursor(visit.argument("cursor"), int) if visit.request.method == "GET" else None
    first = given[0] if given else 0
    after = first + POSTINGS
    return {
        "postings": match.postings[first:after],
        "first": first,
        "before": to_cursor(max(first - POSTINGS, 0)) if first else None,
        "more": to_cursor(after) if after < len(match.postings) else None,
    }


async def abort(visit: Visit) -> Response:
    here, match_id = visit.here, visit.request.path_params["match_id"]
    try:
        args = (here.settings, operator(visit), match_id, reason_of(visit), new_uuid(), here.clock())
        if not await done_or_proposed(visit, contract.OperatorMatch, operators.abort, *args):
            return proposed(visit)
    except OklpError as refusal:
        form = refused(visit, refusal)
        return await _show(visit, form, refusal.status)
    return go(visit, f"/operator/matches/{match_id}", visit._("The match is called off, and every fee is back."))


async def settle(visit: Visit) -> Response:
    """`ranking-<n>`, `score-<n>` and `forfeit-<n>` are of the n-th team."""
    here, match_id = visit.here, visit.request.path_params["match_id"]
    try:
        seen = await here.db.read(operators.match, match_id)
        teams = [
            {
                "id": team.id,
                "score": forms.number(visit, f"score-{n}", 0, SCORE_DIGITS),
                "ranking": forms.number(visit, f"ranking-{n}", 0),
                "forfeit": f"forfeit-{n}" in visit.fields,
            }
            for n, team in enumerate(seen.teams)
        ]
        body = forms.model(contract.SettleRequest, {"reason": visit.fields.get("reason", ""), "teams": teams})
        args = (here.settings, operator(visit), match_id, body, new_uuid(), here.clock())
        if not await done_or_proposed(visit, contract.OperatorMatch, operators.settle, *args):
            return proposed(visit)
    except OklpError as refusal:
        form = refused(visit, refusal)
        return await _show(visit, form, refusal.status)
    return go(visit, f"/operator/matches/{match_id}", visit._("The match is settled and paid out."))


MATCH = "/operator/matches/{match_id}"
routes: list[Route] = [
    operator_page("/operator/matches", list_matches),
    operator_page(MATCH, match),
    operator_form(f"{MATCH}/abort", abort, _show, MATCH),
    operator_form(f"{MATCH}/settle", settle, _show, MATCH),
]

"""Games of all studios: which are waiting for a decision, what is known of one, and the decision."""

from __future__ import annotations

from typing import get_args

from starlette.responses import Response
from starlette.routing import Route

from oklp import contract
from oklp.errors import OklpError
from oklp.services import conformance, console, operators
from oklp.services import matches as match_service
from oklp.services.webhooks import Chosen, page
from oklp.web.caller import from_cursor, to_cursor
from oklp.web.pages import forms
from oklp.web.pages.forms import Form
from oklp.web.pages.frame import go, show
from oklp.web.pages.operator.desk import A_PAGE, one_of, operator, operator_form, operator_page, refused
from oklp.web.pages.visit import Visit

LISTED = 8


async def games(visit: Visit) -> Response:
    vetting = one_of(visit.argument("vetting"), get_args(contract.Vetting))
    studio_id = (visit.argument("studio") or "").strip()
    db, cursor = visit.here.db, visit.argument("cursor")
    if vetting == "in-review" and not studio_id:
        found, place = await db.read(operators.review_queue, from_cursor(cursor, int, str), A_PAGE)
        more = to_cursor(*place) if place else None
    else:
        after = from_cursor(cursor, str)
        wanted = (vetting, after[0] if after else "", A_PAGE, studio_id or None)
        found, last = await db.read(operators.list_games, *wanted)
        more = to_cursor(last) if last else None
    shown = {"games": found, "vetting": vetting or "", "studio_id": studio_id, "more": more}
    return await show(visit, "operator/games.html", **shown)


async def game(visit: Visit) -> Response:
    return await _show(visit, Form())


async def _show(visit: Visit, form: Form, status: int = 200) -> Response:
    db, game_id = visit.here.db, visit.request.path_params["game_id"]
    found = await db.read(operators.game, game_id)
    reports = await db.read(conformance.of_game, game_id)
    matches, _ = await db.read(match_service.list_newest, game_id, None, None, LISTED)
    deliveries, _ = await db.read(page, Chosen(game_id), None, LISTED)
    audit = await db.read(console.audit_log, f"game:{game_id}", None, LISTED)
    return await show(
        visit,
        "operator/game.html",
        status,
        game=found,
        reports=reports.reports,
        matches=matches,
        deliveries=deliveries,
        audit=audit.entries,
        studios=audit.studios,
        currency=visit.here.settings.currency,
        form=form,
    )


async def vet(visit: Visit) -> Response:
    here, game_id = visit.here, visit.request.path_params["game_id"]
    try:
        values = {"decision": visit.fields.get("decision"), "reason": visit.fields.get("reason", "")}
        body = forms.model(contract.VettingDecision, values)
        args = (here.settings, operator(visit), game_id, body, here.clock())
        done = await forms.once(visit, contract.OperatorGame, operators.vet, *args)
    except OklpError as refusal:
        form = refused(visit, refusal)
        return await _show(visit, form, refusal.status)
    _ = visit._
    said = {"approve": _("The game is approved: players see it now."), "refuse": _("The game is back with its studio."),
            "suspend": _("The game is suspended.")}  # fmt: skip
    return go(visit, f"/operator/games/{done.game_id}", said[body.decision])


async def report(visit: Visit) -> Response:
    """What one run of `oklp check` has seen, as the studio handed it in."""
    params = visit.request.path_params
    found = await visit.here.db.read(conformance.read, params["game_id"], params["report_id"])
    return await show(visit, "operator/report.html", game_id=params["game_id"], report=found)


GAME = "/operator/games/{game_id}"
routes: list[Route] = [
    operator_page("/operator/games", games),
    operator_page(GAME, game),
    operator_form(f"{GAME}/vetting", vet, _show, GAME),
    operator_page(f"{GAME}/reports/{{report_id}}", report),
]

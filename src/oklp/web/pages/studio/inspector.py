"""The webhook inspector: what the game was told, each attempt with what came back; sending again, and tests.

What games answer is text from strangers. It is shown as text, wherever it is shown.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from urllib.parse import urlencode

from starlette.responses import Response
from starlette.routing import Route

from oklp import contract
from oklp.errors import InvalidRequest, NotFound, OklpError, WrongState
from oklp.services import matches, studios, webhooks
from oklp.services.studios import DEVELOPER
from oklp.services.webhooks import Chosen
from oklp.web.caller import from_cursor, milliseconds, to_cursor
from oklp.web.context import new_uuid
from oklp.web.pages import doors, forms
from oklp.web.pages.forms import Form
from oklp.web.pages.frame import go
from oklp.web.pages.studio import live
from oklp.web.pages.studio.desk import (
    GAME,
    change_game,
    game_id_of,
    member_of,
    of_game,
    show_game,
    studio_form,
    studio_page,
)
from oklp.web.pages.visit import Visit

A_PAGE = 30
WEBHOOKS = f"{GAME}/webhooks"
ONE = f"{WEBHOOKS}/{{delivery_id}}"
STATES = ("waiting", "sending", "delivered", "failed")
EVENTS = ("match.started", "match.aborted", "test")
FILTERS = ("state", "event", "match", "since", "until")
LONGEST_PRETTY = 100_000


def chosen(visit: Visit) -> tuple[Chosen, Form]:
    """What the address asks for; what makes no sense in it is said beside its field, and not used."""
    given = {name: (visit.argument(name) or "").strip() for name in FILTERS}
    form = Form(given)
    state = given["state"] if given["state"] in STATES else None
    event = given["event"] if given["event"] in EVENTS else None
    match_id = given["match"].lower() or None
    if match_id is not None and not (len(match_id) == 24 and all(char in "0123456789abcdef" for char in match_id)):
        form.errors["match"] = visit._("24 digits from 0 to f.")
        match_id = None
    times: list[int | None] = []
    for name in ("since", "until"):
        at = _moment(given[name])
        if given[name] and at is None:
            form.errors[name] = visit._("A date and a time.")
        if at is not None:
            form.values[name] = at.replace(tzinfo=None).isoformat()
        times.append(milliseconds(at))
    return Chosen(game_id_of(visit), state, event, match_id, *times), form


def _moment(text: str) -> datetime | None:
    """A date and a time in UTC: of a browser's field, which has no zone, or of a link that may name another."""
    try:
        at = datetime.fromisoformat(text) if len(text) <= 32 else None
        return at and (at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        return None


async def _found(visit: Visit) -> tuple[list[contract.Delivery], tuple[int, str] | None]:
    before = from_cursor(visit.argument("cursor"), int, str)
    wanted, _ = chosen(visit)
    return await of_game(visit, webhooks.page, wanted, before, A_PAGE)


async def deliveries(visit: Visit) -> Response:
    return await _show(visit, Form({"participants": "2", "teams": "2", "event": "match.started"}))


async def _show(visit: Visit, test: Form, status: int = 200) -> Response:
    found, more = await _found(visit)
    form = chosen(visit)[1]
    kept = {name: form[name] for name in FILTERS if form[name] and name not in form.errors}
    return await show_game(
        visit,
        "webhooks.html",
        status,
        deliveries=found,
        more=to_cursor(*more) if more is not None else None,
        form=form,
        kept=f"{urlencode(kept)}&" if kept else "",
        test=test,
        live=live.address(visit),
    )


async def _detail(visit: Visit) -> contract.DeliveryDetail:
    """Raises NotFound for what is not this game's."""
    try:
        delivery_id = visit.request.path_params["delivery_id"]
        found = await of_game(visit, webhooks.detail, delivery_id)
    except InvalidRequest as refusal:
        raise NotFound("There is no such delivery.") from refusal
    if found.game_id != game_id_of(visit):
        raise NotFound("There is no such delivery.")
    return found


async def one(visit: Visit) -> Response:
    found = await _detail(visit)
    return await show_game(
        visit,
        "delivery.html",
        delivery=found,
        body=json.dumps(found.request_body, indent=2, ensure_ascii=False),
        pretty=pretty,
        live=live.address(visit),
    )


def pretty(text: str) -> str:
    """JSON with its lines, anything else as it is."""
    if len(text) > LONGEST_PRETTY:
        return text
    try:
        lines = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
        lines.encode()  # half a surrogate pair can be written in JSON, and on no page
        return lines
    except (ValueError, RecursionError):
        return text


async def resend(visit: Visit) -> Response:
    found = await _detail(visit)
    back = ONE.format(game_id=found.game_id, delivery_id=found.delivery_id)
    try:
        await change_game(visit, studios.resend, member_of(visit).actor, found.delivery_id, visit.here.clock())
    except WrongState:
        return go(visit, back, visit._("It is on its way already."))
    return go(visit, back, visit._("On its way again. The match does not change by it."))


async def send_test(visit: Visit) -> Response:
    """A PUT or DELETE about a match that does not exist."""
    game_id, now = game_id_of(visit), visit.here.clock()
    try:
        body = forms.model(
            contract.TestEvent,
            {
                "event": visit.fields.get("event", ""),
                "participants": forms.number(visit, "participants", 2),
                "teams": forms.number(visit, "teams", 2),
            },
        )
        work = (member_of(visit).actor, game_id, new_uuid(), matches.new_id(now), body, now)
        sent = await change_game(visit, studios.send_test_event, *work)
    except OklpError as refusal:
        if refusal.status >= 500 or refusal.status in (403, 404):
            raise
        problem = visit._("The game has no webhook URL: it asks for its matches.")
        if not isinstance(refusal, WrongState):
            problem = visit._("2 to 16 teams, filled evenly, with 1 to 8 players in each.")
        visit.address = doors.page_of(visit.at) or ""
        return await _show(visit, Form(dict(visit.fields), {}, problem, visit.at), refusal.status)
    return go(visit, ONE.format(game_id=game_id, delivery_id=sent.delivery_id), visit._("The test is on its way."))


routes: list[Route] = [
    studio_page(WEBHOOKS, deliveries),
    live.live_route(WEBHOOKS, _found),
    studio_form(f"{GAME}/test-event", send_test, _show, WEBHOOKS, DEVELOPER),
    studio_page(ONE, one),
    live.live_route(ONE, _detail),
    studio_page(f"{ONE}/resend", resend, "POST", least=DEVELOPER),
]

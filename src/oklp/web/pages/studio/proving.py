"""Whether a game's integration holds: reports of the checker, faults to inject, and the guide to build it by."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from starlette.responses import Response
from starlette.routing import Route

from oklp import contract
from oklp.errors import FieldError, InvalidRequest, NotFound, OklpError
from oklp.services import conformance, faults, games
from oklp.services.studios import DEVELOPER
from oklp.web.pages import forms
from oklp.web.pages.forms import Form
from oklp.web.pages.frame import go
from oklp.web.pages.studio.desk import (
    GAME,
    change_game,
    game_id_of,
    member_of,
    of_game,
    show_game,
    studio_form,
    studio_page,
    the_game,
)
from oklp.web.pages.visit import Visit

REPORTS, FAULTS, GUIDE = f"{GAME}/conformance", f"{GAME}/faults", f"{GAME}/guide"


async def reports(visit: Visit) -> Response:
    found = await of_game(visit, conformance.of_game, game_id_of(visit))
    return await show_game(visit, "reports.html", reports=found.reports)


async def report(visit: Visit) -> Response:
    report_id = visit.request.path_params["report_id"]
    found = await of_game(visit, conformance.read, game_id_of(visit), report_id)
    return await show_game(visit, "report.html", found=found)


async def report_file(visit: Visit) -> Response:
    """The checker's own page of HTML: a file and, were it opened here all the same, one with nothing allowed."""
    from oklp.check.output import to_html
    from oklp.check.report import Report

    report_id = visit.request.path_params["report_id"]
    found = await of_game(visit, conformance.read, game_id_of(visit), report_id)
    text = to_html(Report.model_validate(found.report.model_dump()))
    headers = {
        "Content-Disposition": 'attachment; filename="conformance.html"',
        "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'",
        "Cache-Control": "private, no-store",
    }
    return Response(text, 200, headers, "text/html")


async def all_faults(visit: Visit) -> Response:
    return await _show_faults(visit, Form())


def _points(visit: Visit) -> dict[str, str]:
    """Where faults strike, in the order of a match."""
    _ = visit._
    return {
        "put": _("The webhook that starts a match"),
        "delete": _("The webhook that calls it off"),
        "issuer": _("Access tokens"),
        "token-info": _("Who comes to play"),
        "finish": _("The result"),
        "any": _("Any call of the game's"),
    }


async def _show_faults(visit: Visit, form: Form, status: int = 200) -> Response:
    if not visit.here.settings.sandbox:
        raise NotFound("Faults are injected in the sandbox only.")
    found = await of_game(visit, faults.of_game, visit.here.settings, game_id_of(visit))
    shown = {"faults": found.faults, "kinds": faults.KINDS, "points": _points(visit)}
    return await show_game(visit, "faults.html", status, **shown, form=form)


def _wanted(visit: Visit) -> contract.NewFault:
    """Of the options only those that were filled in: the others have their usual values. Raises InvalidRequest."""
    fields = {name: text.strip() for name, text in visit.fields.items() if text.strip()}
    given: dict[str, object] = {"kind": fields.get("kind", ""), "times": forms.number(visit, "times", 1)}
    for name, read in (("delay_seconds", float), ("offset_seconds", int), ("retry_after_seconds", int), ("call", str)):
        if name in fields:
            try:
                given[name] = read(fields[name])
            except ValueError as error:
                raise InvalidRequest("not a number", errors=(FieldError(name, "is not a number"),)) from error
    return forms.model(contract.NewFault, given)


def _wrong(visit: Visit) -> dict[str, str]:
    _ = visit._
    return {
        "kind": _("Choose one of these."),
        "times": _("A number from 1 to 1,000."),
        "delay_seconds": _("A number of seconds from 0 to 60."),
        "offset_seconds": _("A whole number of seconds, a day at the most."),
        "retry_after_seconds": _("A whole number of seconds from 0 to 60."),
        "call": _("Choose one of these."),
    }


async def inject(visit: Visit) -> Response:
    game_id, here = game_id_of(visit), visit.here
    try:
        body = _wanted(visit)
        await change_game(visit, faults.inject, here.settings, member_of(visit).actor, game_id, body, here.clock())
    except OklpError as refusal:
        if refusal.status >= 500 or refusal.status in (403, 404):
            raise
        wrong = _wrong(visit)
        form = Form(dict(visit.fields), {each.field: wrong.get(each.field, each.message) for each in refusal.errors})
        if not isinstance(refusal, InvalidRequest):
            form.error = visit._("There are as many as a game may have. Clear some.")
        return await _show_faults(visit, form, refusal.status)
    await here.reload_faults()
    return go(visit, FAULTS.format(game_id=game_id), visit._("Armed. It strikes from now on."))


async def clear(visit: Visit) -> Response:
    game_id, here = game_id_of(visit), visit.here
    given = visit.fields.get("fault", "")
    fault_id = given if given.isascii() and given.isdigit() and len(given) <= 18 else None
    if given and fault_id is None:
        raise NotFound("There is no such fault.")
    await change_game(visit, faults.clear, here.settings, member_of(visit).actor, game_id, fault_id, here.clock())
    await here.reload_faults()
    return go(visit, FAULTS.format(game_id=game_id), visit._("Cleared."))


async def guide(visit: Visit) -> Response:
    """The integration with this game's own addresses. `path` is its webhook's, as a server routes it: decoded, and
    written as Python writes it.
    """
    config = games.developer_config(visit.here.settings, game_id_of(visit))
    game = await the_game(visit)
    path = unquote(urlsplit(game.webhook_url or "").path) or "/"
    shown = {"config": config.authentication, "url": config.okletsplay_url, "path": repr(path)}
    return await show_game(visit, "guide.html", game=game, **shown)


routes: list[Route] = [
    studio_page(REPORTS, reports),
    studio_page(f"{REPORTS}/{{report_id}}", report),
    studio_page(f"{REPORTS}/{{report_id}}/report.html", report_file),
    studio_page(FAULTS, all_faults),
    studio_form(FAULTS, inject, _show_faults, FAULTS, DEVELOPER),
    studio_page(f"{FAULTS}/clear", clear, "POST", least=DEVELOPER),
    studio_page(GUIDE, guide),
]

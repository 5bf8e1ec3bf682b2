"""The way in: the front page, signing up."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from oklp import contract
from oklp.errors import MalformedRequest, OklpError
from oklp.services import accounts, games, players, vault
from oklp.web.context import new_draft, new_uuid
from oklp.web.pages import forms, words
from oklp.web.pages.charts import Point
from oklp.web.pages.doors import doors, without_secrets
from oklp.web.pages.forms import Form
from oklp.web.pages.frame import go, page, show
from oklp.web.pages.visit import PLAYER, Visit, local_path
from oklp.web.sessions import log_in_as

SHOWN_GAMES = 6
TREND = [3, 5, 4, 7, 9, 6, 11, 12, 10, 14, 13, 17]  # of nothing: what charts look like


async def landing(visit: Visit) -> Response:
    if visit.person is not None:
        return go(visit, PLAYER.home)
    found = await visit.here.db.read(games.playable, visit.here.settings, "", SHOWN_GAMES)
    return await show(visit, "landing.html", games=found.games, currency=visit.here.settings.currency)


# --- signing up ------------------------------------------------------------------------------------------------------


async def sign_up_page(visit: Visit) -> Response:
    if visit.person is not None:
        return go(visit, PLAYER.home)
    return await _sign_up_page(visit, Form({"next": local_path(visit.argument("next")) or ""}))


async def _sign_up_page(visit: Visit, form: Form, status: int = 200) -> Response:
    named = words.countries(visit.language)
    countries = sorted(
        ((named.get(code, code), code) for code in players.countries()), key=lambda each: each[0].lower()
    )
    minimum_age = visit.here.settings.minimum_age_years
    return await show(visit, "sign_up.html", status, form=form, countries=countries, minimum_age=minimum_age)


async def sign_up(visit: Visit) -> Response:
    """A new player, logged in at once."""
    fields, here = visit.fields, visit.here
    names = ("username", "email", "password", "date_of_birth", "country")
    try:
        if not visit.trusted:
            raise MalformedRequest("The form is not from a page of this visitor's.")
        body = forms.model(contract.SignUp, {name: fields.get(name, "") for name in names})
        now = here.clock()
        players.check_sign_up(here.settings, body, now)
        password_hash = await here.in_pool(vault.hash_password, body.password)
        made = (new_uuid(), body, password_hash, new_draft(visit.language), now)
        await here.db.write(accounts.sign_up_player, here.settings, here.vault, *made)
    except OklpError as refusal:
        if refusal.status >= 500:
            raise
        form = forms.refused(visit, refusal)
        form.values = without_secrets(form.values)
        if not visit.trusted:
            form.error = visit._("This page was open for too long. Choose your password again, and send it once more.")
        return await _sign_up_page(visit, form, refusal.status)
    login = contract.LogIn(username=body.username, password=body.password)
    session = await log_in_as(here, visit.request, "player", login)
    await visit.begin_session(session.token, session.expires_in)
    wanted = local_path(fields.get("next"))
    if wanted is not None:
        return go(visit, wanted)
    return go(visit, "/wallet", visit._("Welcome. Deposit something to play for, or start with a free match."))


# --- others ----------------------------------------------------------------------------------------------------------


async def settings_page(visit: Visit) -> Response:
    profile = await visit.here.db.read(players.profile, visit.player.user_id)
    return await show(visit, "settings.html", profile=profile)


async def style_page(visit: Visit) -> Response:
    """Every component of the design system."""
    points = [Point(f"2026-{month:02}", value) for month, value in enumerate(TREND, 1)]
    results = [Point(point.label, point.value - 8) for point in points]
    example = visit.money(500, visit.here.settings.currency)
    wrong = visit._("An amount of money, such as %(example)s.", example=example)
    form = Form({"name": "Ada", "pick": "one"}, {"fee": wrong}, "")
    return await show(visit, "style.html", form=form, trend=TREND, points=points, results=results)


routes: list[Route] = [
    page("/", landing, open_to_all=True),
    *doors(PLAYER),
    page("/sign-up", sign_up_page, open_to_all=True),
    page("/sign-up", sign_up, "POST", open_to_all=True),
    page("/settings", settings_page),
    page("/style", style_page, open_to_all=True),
]

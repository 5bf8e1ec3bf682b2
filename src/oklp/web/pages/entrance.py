"""The way in: the front page, signing up, logging in and out."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from oklp import contract
from oklp.errors import MalformedRequest, OklpError, Unauthenticated
from oklp.services import accounts, games, players, vault
from oklp.web.context import new_draft, new_uuid
from oklp.web.pages import forms, words
from oklp.web.pages.forms import Form
from oklp.web.pages.frame import go, page, show
from oklp.web.pages.visit import Visit, local_path
from oklp.web.sessions import log_in_as

HOME = "/games"
CARRIED = "_carried"
MAX_CARRIED_CHARS = 20_000
SHOWN_GAMES = 6

# Forms that are filled in again after a log-in in between: address of the form → what shows it.
Renderer = Callable[[Visit, Form], Awaitable[Response]]
RESUMED: dict[str, Renderer] = {}


async def landing(visit: Visit) -> Response:
    if visit.person is not None:
        return go(visit, HOME)
    found = await visit.here.db.read(games.playable, visit.here.settings, "", SHOWN_GAMES)
    return await show(visit, "landing.html", games=found.games)


# --- logging in ------------------------------------------------------------------------------------------------------


async def before(visit: Visit) -> Response:
    """Instead of a page that is for players: the log-in, with status 401 for a form that was sent."""
    if visit.request.method == "GET":
        return await _log_in_page(visit, Form(), next_path=visit.path, why="expired" if visit.expired else "")
    path = visit.request.url.path
    carried = json.dumps({"path": path, "fields": _without_secrets(visit.fields)}) if path in RESUMED else ""
    if len(carried) > MAX_CARRIED_CHARS:
        carried = ""
    why = "form" if carried else "expired"
    # The address of a form that only acts has a page as well, one step up: /matches/…/confirm.
    after = path if carried else path.rpartition("/")[0] if path.count("/") > 1 else HOME
    return await _log_in_page(visit, Form(), 401, next_path=after, carried=carried, why=why)


def _without_secrets(fields: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if "password" not in name}


async def _log_in_page(visit: Visit, form: Form, status: int = 200, /, **values: Any) -> Response:
    shown = {"next_path": "", "carried": "", "why": ""} | values
    return await show(visit, "log_in.html", status, form=form, **shown)


async def log_in_page(visit: Visit) -> Response:
    after = local_path(visit.argument("next")) or ""
    if visit.person is not None:
        return go(visit, after or HOME)
    return await _log_in_page(visit, Form(), next_path=after)


async def log_in(visit: Visit) -> Response:
    """A session, and on to where somebody wanted to go; or the form that was waiting, filled in."""
    fields = visit.fields
    after, carried = local_path(fields.get("next")) or "", fields.get(CARRIED, "")
    if not visit.trusted:  # an old page, or a browser that takes no cookies
        return await _again(visit, visit._("Your browser has to take cookies for you to log in. Try again."), 400)
    try:
        body = forms.model(contract.LogIn, {"username": fields.get("username"), "password": fields.get("password")})
        session = await log_in_as(visit.here, visit.request, "player", body)
    except Unauthenticated:
        return await _again(visit, visit._("The name or the password is wrong."), 401)
    except OklpError as refusal:
        if refusal.status >= 500:
            raise
        return await _again(visit, forms.refused(visit, refusal).error or visit._("Give a name and a password."), 422)
    await visit.begin_session(session.token, session.expires_in)
    resumed = _resumed(visit, carried)
    return await resumed if resumed is not None else go(visit, after or HOME)


async def _again(visit: Visit, error: str, status: int) -> Response:
    form = Form({"username": visit.fields.get("username", "")}, {}, error)
    after = local_path(visit.fields.get("next")) or ""
    return await _log_in_page(visit, form, status, next_path=after, carried=visit.fields.get(CARRIED, ""))


def _resumed(visit: Visit, carried: str) -> Awaitable[Response] | None:
    """The form that somebody was filling in when the session ended, with what was typed."""
    if not carried or len(carried) > MAX_CARRIED_CHARS:
        return None
    try:
        kept = json.loads(carried)
        path, fields = kept["path"], {str(name): str(value) for name, value in kept["fields"].items()}
        renderer = RESUMED[path]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    visit.fields = fields
    return renderer(visit, Form(fields))


async def log_out(visit: Visit) -> Response:
    await visit.end_session()
    return go(visit, "/")


# --- signing up ------------------------------------------------------------------------------------------------------


async def sign_up_page(visit: Visit) -> Response:
    if visit.person is not None:
        return go(visit, HOME)
    return await _sign_up_page(visit, Form({"next": local_path(visit.argument("next")) or ""}))


async def _sign_up_page(visit: Visit, form: Form, status: int = 200) -> Response:
    named = words.countries(visit.language)
    countries = sorted(((named.get(code, code), code) for code in players.COUNTRIES), key=lambda each: each[0].lower())
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
        await here.db.write(
            accounts.sign_up_player, here.settings, here.vault, new_uuid(), body, password_hash, new_draft(), now
        )
    except OklpError as refusal:
        if refusal.status >= 500:
            raise
        form = forms.refused(visit, refusal)
        form.values = _without_secrets(form.values)
        return await _sign_up_page(visit, form, refusal.status)
    login = contract.LogIn(username=body.username, password=body.password)
    session = await log_in_as(here, visit.request, "player", login)
    await visit.begin_session(session.token, session.expires_in)
    return go(visit, local_path(fields.get("next")) or "/wallet?done=welcome")


# --- others ----------------------------------------------------------------------------------------------------------


async def settings_page(visit: Visit) -> Response:
    profile = await visit.here.db.read(players.profile, visit.player.user_id)
    return await show(visit, "settings.html", profile=profile)


async def style_page(visit: Visit) -> Response:
    """Every component of the design system."""
    return await show(visit, "style.html", form=Form({"name": "Ada"}, {"fee": "An amount such as 5.00."}, ""))


routes: list[Route] = [
    page("/", landing, open_to_all=True),
    page("/log-in", log_in_page, open_to_all=True),
    page("/log-in", log_in, "POST", open_to_all=True),
    page("/log-out", log_out, "POST"),
    page("/sign-up", sign_up_page, open_to_all=True),
    page("/sign-up", sign_up, "POST", open_to_all=True),
    page("/settings", settings_page),
    page("/style", style_page, open_to_all=True),
]

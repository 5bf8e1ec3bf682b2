"""The doors of every surface: logging in, with what was typed carried through it, and logging out."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from oklp import contract
from oklp.errors import OklpError, Unauthenticated
from oklp.web.pages import forms
from oklp.web.pages.forms import Form
from oklp.web.pages.frame import go, page, show
from oklp.web.pages.visit import PLAYER, Realm, Visit, local_path
from oklp.web.sessions import log_in_as

CARRIED = "_carried"
MAX_CARRIED_CHARS = 20_000

# Forms that are filled in again after a log-in in between: address of the form → what shows it.
Renderer = Callable[[Visit, Form], Awaitable[Response]]
RESUMED: dict[str, Renderer] = {}


async def before(visit: Visit) -> Response:
    """Instead of a page that is for players: the log-in, with status 401 for a form that was sent."""
    if visit.request.method == "GET":
        return await _log_in_page(visit, Form(), next_path=visit.path, why="expired" if visit.expired else "")
    path = visit.request.url.path
    carried = json.dumps({"path": path, "fields": without_secrets(visit.fields)}) if path in RESUMED else ""
    if len(carried) > MAX_CARRIED_CHARS:
        carried = ""
    why = "form" if carried else "expired"
    # The address of a form that only acts has a page as well, one step up: /matches/…/confirm.
    after = path if carried else path.rpartition("/")[0] if path.count("/") > 1 else visit.realm.home
    return await _log_in_page(visit, Form(), 401, next_path=after, carried=carried, why=why)


def without_secrets(fields: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if "password" not in name}


async def _log_in_page(visit: Visit, form: Form, status: int = 200, /, **values: Any) -> Response:
    shown = {"next_path": "", "carried": "", "why": ""} | values
    return await show(visit, "log_in.html", status, form=form, **shown)


async def log_in_page(visit: Visit) -> Response:
    after = local_path(visit.argument("next")) or ""
    if visit.person is not None:
        return go(visit, after or visit.realm.home)
    return await _log_in_page(visit, Form(), next_path=after)


async def log_in(visit: Visit) -> Response:
    """A session, and on to where somebody wanted to go; or the form that was waiting, filled in."""
    fields = visit.fields
    after, carried = local_path(fields.get("next")) or "", fields.get(CARRIED, "")
    if not visit.trusted:  # an old page, or a browser that takes no cookies
        return await _again(visit, visit._("Your browser has to take cookies for you to log in. Try again."), 400)
    try:
        body = forms.model(contract.LogIn, {"username": fields.get("username"), "password": fields.get("password")})
        session = await log_in_as(visit.here, visit.request, visit.realm.kind, body)
    except Unauthenticated:
        return await _again(visit, visit._("The name or the password is wrong."), 401)
    except OklpError as refusal:
        if refusal.status >= 500:
            raise
        return await _again(visit, forms.refused(visit, refusal).error or visit._("Give a name and a password."), 422)
    await visit.begin_session(session.token, session.expires_in)
    resumed = _resumed(visit, carried)
    return await resumed if resumed is not None else go(visit, after or visit.realm.home)


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
    return go(visit, "/" if visit.realm is PLAYER else visit.realm.log_in, visit._("You are logged out."))


def doors(realm: Realm) -> list[Route]:
    """The log-in page of a surface and its log-out button, the ways back in, and everybody's own account."""
    from oklp.web.pages import recovery, security

    return [
        page(realm.log_in, log_in_page, open_to_all=True, realm=realm),
        page(realm.log_in, log_in, "POST", open_to_all=True, realm=realm),
        page(realm.log_out, log_out, "POST", realm=realm),
        *recovery.routes(realm),
        *security.routes(realm),
    ]

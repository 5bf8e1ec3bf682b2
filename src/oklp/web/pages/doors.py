"""The doors of every surface: logging in, with what was typed carried through it, and logging out."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from starlette.responses import JSONResponse, Response
from starlette.routing import Route, compile_path

from oklp import contract
from oklp.errors import (
    Forbidden,
    NotFound,
    OklpError,
    SecondFactorRequired,
    TooManyRequests,
    Unauthenticated,
)
from oklp.web import second_step
from oklp.web.pages import forms
from oklp.web.pages.forms import Form
from oklp.web.pages.frame import go, page, show
from oklp.web.pages.visit import PLAYER, Realm, Visit, local_path, realm_of
from oklp.web.sessions import NO_STORE, log_in_as

CARRIED = "_carried"
METHODS = ("totp", "passkey", "recovery-code")
SECRET = ("code", "recovery_code", "credential", "pending_token", "secret")
MAX_CARRIED_CHARS = 20_000
NOT_YOURS = "This form is not from a page of yours. Load the page again, and send it again."


class Resumed(NamedTuple):
    """A form that is filled in again after a log-in in between.

    `page` is the address of its page, as of a route, where that is not the form's own.
    """

    show: Callable[[Visit, Form, int], Awaitable[Response]]
    page: str = ""


# By the address of the form, as of a route.
RESUMED: dict[str, Resumed] = {}


async def before(visit: Visit) -> Response:
    """Instead of a page that is for players: the log-in, with status 401 for a form that was sent, and for a script."""
    if visit.request.method == "GET":
        status, why = (401 if visit.refreshes else 200), ("expired" if visit.expired else "")
        return await _log_in_page(visit, Form(), status, next_path=visit.path, why=why)
    path = visit.at
    kept = json.dumps({"path": path, "fields": without_secrets(visit.fields)}) if _known(path) is not None else ""
    carried = kept if len(kept) <= MAX_CARRIED_CHARS else ""
    why = "form" if carried else "expired"
    return await _log_in_page(visit, Form(), 401, next_path=_page_of(visit), carried=carried, why=why)


def _page_of(visit: Visit) -> str:
    """The page that a form was on. One that only acts is one step above its address: /matches/…/confirm."""
    path = visit.at
    if (page := page_of(path)) is not None:
        return page
    if path.startswith(f"{visit.realm.security}/"):
        return visit.realm.security
    if path.count("/") > 1:
        code = visit.fields.get("code", "")  # of a link to a private match, which is not seen without it
        return _above(path) + (f"?{urlencode({'code': code})}" if code else "")
    return local_path(urlsplit(visit.request.headers.get("referer", "")).path) or visit.realm.home


def _above(path: str) -> str:
    return path.rpartition("/")[0]


async def again(visit: Visit) -> Response:
    """A form from before another log-in, in another tab perhaps: as it was typed, to be looked through and sent again.

    That of a log-in leads on, to the form that it carries if there is one; nobody is logged in by it.

    Raises Forbidden for a form that is not known to be filled in by people.
    """
    said = visit._("You have logged in again since this page was loaded. Look through it, and send it once more.")
    if visit.at in _entries(visit.realm):
        after = local_path(visit.fields.get("next")) or visit.realm.home
        resumed = _resumed(visit, visit.fields.get(CARRIED, ""), 403, said)
        return await resumed if resumed is not None else go(visit, after, visit._("You are logged in already."))
    known = _known(visit.at)
    if known is None:
        raise Forbidden(NOT_YOURS)
    fields = without_secrets(visit.fields)
    visit.address = page_of(visit.at) or ""  # what is shown is that page, and goes on being kept up to date
    try:
        return await known[0].show(visit, Form(fields, {}, said, visit.at), 403)
    except NotFound:
        raise Forbidden(NOT_YOURS) from None


def _entries(realm: Realm) -> tuple[str, ...]:
    """Where forms are sent that log somebody in."""
    return realm.log_in, f"{realm.log_in}/second-step", f"{realm.log_in}/passkey"


def _known(path: str) -> tuple[Resumed, dict[str, str]] | None:
    """What shows the form of an address, and the parts of that address."""
    for pattern, resumed in RESUMED.items():
        match = compile_path(pattern)[0].match(path)
        if match is not None:
            return resumed, match.groupdict()
    return None


def page_of(path: str) -> str | None:
    """The address of the page with the form that is sent to `path`, if it is one that is filled in by people."""
    known = _known(path)
    if known is None:
        return None
    resumed, parts = known
    return resumed.page.format(**{name: quote(part, safe="") for name, part in parts.items()}) or path


def without_secrets(fields: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if not name.startswith(SECRET) and "password" not in name}


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
    if not visit.trusted:  # an old page, or a browser that takes no cookies
        return await _again(visit, visit._("Your browser has to take cookies for you to log in. Try again."), 400)
    try:
        body = forms.model(contract.LogIn, {"username": fields.get("username"), "password": fields.get("password")})
        session = await log_in_as(visit.here, visit.request, visit.realm.kind, body)
    except SecondFactorRequired as step:
        return await _second_page(visit, Form(), pending_token=step.pending_token, methods=step.methods)
    except Unauthenticated:
        return await _again(visit, visit._("The name or the password is wrong."), 401)
    except OklpError as refusal:
        if refusal.status >= 500:
            raise
        said = forms.refused(visit, refusal).error or visit._("Give a name and a password.")
        return await _again(visit, said, refusal.status)
    return await enter(visit, session)


async def enter(visit: Visit, session: contract.Session) -> Response:
    """In, with a new session, and on."""
    after, carried = local_path(visit.fields.get("next")) or "", visit.fields.get(CARRIED, "")
    await visit.begin_session(session.token, session.expires_in)
    resumed = _resumed(visit, carried)
    return await resumed if resumed is not None else go(visit, after or visit.realm.home)


async def _again(visit: Visit, error: str, status: int) -> Response:
    form = Form({"username": visit.fields.get("username", "")}, {}, error)
    after = local_path(visit.fields.get("next")) or ""
    return await _log_in_page(visit, form, status, next_path=after, carried=visit.fields.get(CARRIED, ""))


# --- the second step, and passkeys -----------------------------------------------------------------------------------


async def _second_page(visit: Visit, form: Form, status: int = 200, /, **values: Any) -> Response:
    """`methods` are what may complete the log-in that `pending_token` stands for."""
    after = local_path(visit.fields.get("next")) or ""
    shown = {"next_path": after, "carried": visit.fields.get(CARRIED, "")} | values
    return await show(visit, "second_step.html", status, form=form, **shown)


async def second(visit: Visit) -> Response:
    """The second step of a log-in, by one of three ways."""
    fields = visit.fields
    methods = [each for each in fields.get("methods", "").split() if each in METHODS]
    pending_token = fields.get("pending_token", "")
    if not visit.trusted:
        return await _again(visit, visit._("Your browser has to take cookies for you to log in. Try again."), 400)
    given = {
        "code": fields.get("code", "").replace(" ", ""),
        "recovery_code": fields.get("recovery_code", "").strip(),
        "credential": _credential(fields),
    }
    try:
        values = {"pending_token": pending_token} | {name: value for name, value in given.items() if value}
        body = forms.model(contract.SecondFactor, values)
        session = await second_step.finish(visit.here, visit.request, visit.realm.kind, body)
    except Unauthenticated as refusal:
        if refusal.token_refused:
            return await _again(visit, visit._("That took too long, or was done already. Log in once more."), 401)
        error, status = visit._("This is not right, or was used before."), 401
    except OklpError as refusal:
        if refusal.status >= 500:
            raise
        limited = isinstance(refusal, TooManyRequests)
        error = forms.refused(visit, refusal).error if limited else visit._("This is not right, or was used before.")
        status = refusal.status
    else:
        return await enter(visit, session)
    return await _second_page(visit, Form({}, {}, error), status, pending_token=pending_token, methods=methods)


def _credential(fields: dict[str, str]) -> object:
    """What the browser's authenticator said, as it came; None for nothing, or nothing that can be read."""
    try:
        return json.loads(fields.get("credential", "") or "null")
    except (ValueError, RecursionError):
        return None


async def passkey_options(visit: Visit) -> Response:
    """For the script of the log-in, and of its second step."""
    if not visit.trusted:
        raise Forbidden("The form is not from a page of this visitor's.")
    pending_token = visit.fields.get("pending_token")
    options = await second_step.log_in_options(visit.here, visit.request, visit.realm.kind, pending_token)
    return JSONResponse(options, headers=NO_STORE)


async def by_passkey(visit: Visit) -> Response:
    """Log in by a passkey alone."""
    try:
        if not visit.trusted:
            return await _again(visit, visit._("Your browser has to take cookies for you to log in. Try again."), 400)
        body = forms.model(contract.PasskeyLogIn, {"credential": _credential(visit.fields)})
        session = await second_step.by_passkey(visit.here, visit.request, visit.realm.kind, body.credential)
    except OklpError as refusal:
        if refusal.status >= 500:
            raise
        if isinstance(refusal, TooManyRequests):
            return await _again(visit, forms.refused(visit, refusal).error, 429)
        return await _again(visit, visit._("This passkey is not known here. Log in with your password."), 401)
    return await enter(visit, session)


def _resumed(visit: Visit, carried: str, status: int = 200, error: str = "") -> Awaitable[Response] | None:
    """The form that somebody was filling in when the session ended, with what was typed."""
    if not carried or len(carried) > MAX_CARRIED_CHARS:
        return None
    try:
        kept = json.loads(carried)
        path, fields = str(kept["path"]), {str(name): str(value) for name, value in kept["fields"].items()}
        "".join(fields.values()).encode()  # half a surrogate pair can be written in JSON, and on no page
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    known = _known(path)
    if known is None or realm_of(path) is not visit.realm:
        return None
    resumed, visit.request.scope["path_params"] = known
    visit.fields, visit.address = fields, page_of(path) or path
    return resumed.show(visit, Form(fields, {}, error, path), status)


async def log_out(visit: Visit) -> Response:
    await visit.end_session()
    return go(visit, "/" if visit.realm is PLAYER else visit.realm.log_in, visit._("You are logged out."))


def doors(realm: Realm) -> list[Route]:
    """The log-in page of a surface and its log-out button, the ways back in, and everybody's own account."""
    from oklp.web.pages import factors, recovery, security

    return [
        page(realm.log_in, log_in_page, open_to_all=True, realm=realm),
        page(realm.log_in, log_in, "POST", open_to_all=True, realm=realm),
        page(f"{realm.log_in}/second-step", second, "POST", open_to_all=True, realm=realm),
        page(f"{realm.log_in}/passkey", by_passkey, "POST", open_to_all=True, realm=realm),
        page(f"{realm.log_in}/passkey-options", passkey_options, "POST", open_to_all=True, realm=realm),
        page(realm.log_out, log_out, "POST", realm=realm),
        *recovery.routes(realm),
        *security.routes(realm),
        *factors.routes(realm),
    ]

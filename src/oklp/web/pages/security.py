"""Everybody's own account, in every realm: password, e-mail address, where else he is logged in."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from oklp import contract
from oklp.errors import FieldError, OklpError, Unauthenticated
from oklp.services import accounts, auth, factors
from oklp.signing import hash_token
from oklp.web import sessions
from oklp.web.caller import address_of
from oklp.web.context import new_draft
from oklp.web.pages import doors, forms
from oklp.web.pages.forms import Form
from oklp.web.pages.frame import go, page, show
from oklp.web.pages.visit import Realm, Visit

# What browsers call themselves, more special names first: each claims to be the ones below it as well.
BROWSERS = {
    "Edg/": "Edge",
    "OPR/": "Opera",
    "Firefox/": "Firefox",
    "Chrome/": "Chrome",
    "Safari/": "Safari",
    "curl/": "curl",
}
SYSTEMS = {
    "Android": "Android",
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Windows": "Windows",
    "Mac OS X": "macOS",
    "CrOS": "ChromeOS",
    "Linux": "Linux",
}


def device(user_agent: str | None) -> str:
    """A `User-Agent` as people say it: `Firefox, Linux`. Empty when it is none that is known."""
    said = user_agent or ""
    known = [next((name for sign, name in signs.items() if sign in said), "") for signs in (BROWSERS, SYSTEMS)]
    return ", ".join(filter(None, known))


def session_of(visit: Visit) -> str:
    if visit.session is None:
        raise Unauthenticated("Log in first.")
    return visit.session


async def security_page(visit: Visit) -> Response:
    return await show_security(visit, Form())


async def show_security(visit: Visit, form: Form, status: int = 200) -> Response:
    """`form` is the one that was sent: the names of its fields tell it from the others."""
    here, me = visit.here, visit.me
    contact = await here.db.read(accounts.contact, me.kind, me.id)
    open_now = await here.db.read(auth.open_sessions, me.id, hash_token(session_of(visit)), here.clock())
    own = await here.db.read(factors.factors, me.id)
    values = {"contact": contact, "sessions": open_now.sessions, "device": device, "own": own}
    return await show(visit, "security.html", status, form=form, **values)


async def refused(visit: Visit, refusal: OklpError, proof: str = "") -> Response:
    """The page with what is wrong beside the fields. `proof` is the name that the field `password` has on it."""
    if refusal.status >= 500:
        raise refusal
    named = {"password": proof}
    refusal.errors = tuple(FieldError(named.get(each.field, each.field), each.message) for each in refusal.errors)
    form = forms.refused(visit, refusal)
    form.values = {name: value for name, value in form.values.items() if "password" not in name}
    return await show_security(visit, form, refusal.status)


async def change_password(visit: Visit) -> Response:
    given = {
        "current_password": visit.fields.get("current_password", ""),
        "password": visit.fields.get("new_password", ""),
    }
    try:
        body = forms.model(contract.PasswordChange, given)
        current, new = body.current_password, body.password
        await sessions.change_password(visit.here, visit.request, visit.me, current, new, session_of(visit))
    except OklpError as refusal:
        return await refused(visit, refusal, "new_password")
    await visit.renew_session()
    return go(visit, visit.realm.security, visit._("The new password works. You are logged out everywhere else."))


async def change_email(visit: Visit) -> Response:
    here, me = visit.here, visit.me
    try:
        given = {"email": visit.fields.get("email", "").strip(), "password": visit.fields.get("email_password", "")}
        body = forms.model(contract.EmailChange, given)
        await sessions.prove_password(here, visit.request, me, body.password, "password")
        made = (me.kind, me.id, body.email, address_of(visit.request), new_draft(visit.language), here.clock())
        await here.db.write(accounts.change_email, here.settings, here.vault, *made)
    except OklpError as refusal:
        return await refused(visit, refusal, "email_password")
    said = visit._("A mail with a link is on its way to %(email)s. The address is yours once you followed it.")
    return go(visit, visit.realm.security, said % {"email": body.email})


async def verify_again(visit: Visit) -> Response:
    here, me = visit.here, visit.me
    try:
        made = (me.kind, me.id, address_of(visit.request), new_draft(visit.language), here.clock())
        await here.db.write(accounts.verify_again, here.settings, here.vault, *made)
    except OklpError as refusal:
        return await refused(visit, refusal)
    return go(visit, visit.realm.security, visit._("A mail with a new link is on its way."))


async def end_session(visit: Visit) -> Response:
    session_id = visit.request.path_params["session_id"]
    await visit.here.db.write(auth.end_session, visit.me.id, session_id, visit.here.clock())
    return go(visit, visit.realm.security, visit._("That device is logged out."))


async def end_others(visit: Visit) -> Response:
    await visit.here.db.write(auth.end_other_sessions, visit.me.id, hash_token(session_of(visit)))
    return go(visit, visit.realm.security, visit._("You are logged out everywhere else."))


def routes(realm: Realm) -> list[Route]:
    here = realm.security
    doors.RESUMED[f"{here}/email"] = doors.Resumed(show_security, here)
    return [
        page(here, security_page, realm=realm),
        page(f"{here}/password", change_password, "POST", realm=realm),
        page(f"{here}/email", change_email, "POST", realm=realm),
        page(f"{here}/email-again", verify_again, "POST", realm=realm),
        page(f"{here}/sessions", end_others, "POST", realm=realm),
        page(f"{here}/sessions/{{session_id}}/end", end_session, "POST", realm=realm),
    ]

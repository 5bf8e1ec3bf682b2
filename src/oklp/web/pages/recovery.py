"""Back in by a mail, in every realm: a forgotten password, a new one by the mail's link, the proof of an address.

Programs that look at mails follow their links too: opening one changes nothing, its button does.
"""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from oklp import contract
from oklp.errors import InvalidRequest, OklpError
from oklp.services import accounts
from oklp.signing import hash_token
from oklp.web.caller import address_of
from oklp.web.context import new_uuid
from oklp.web.pages import forms
from oklp.web.pages.forms import Form
from oklp.web.pages.frame import go, page, show
from oklp.web.pages.visit import Realm, Visit
from oklp.web.sessions import reset_password

MAX_TOKEN_CHARS = 128


async def forgot_page(visit: Visit) -> Response:
    return await show(visit, "forgot_password.html", form=Form(), asked=False)


async def forgot(visit: Visit) -> Response:
    """The same answer for names that are known here and for those that are not."""
    here, kind = visit.here, visit.realm.kind
    try:
        if not visit.trusted:
            return await _stale(visit, "forgot_password.html", asked=False)
        body = forms.model(contract.PasswordReset, {"name_or_email": visit.fields.get("name_or_email", "").strip()})
        args = (body.name_or_email, address_of(visit.request), new_uuid(), visit.language, here.clock())
        await here.db.write(accounts.ask_reset, here.settings, here.vault, kind, *args)
    except OklpError as refusal:
        if refusal.status >= 500:
            raise
        form = forms.refused(visit, refusal)
        return await show(visit, "forgot_password.html", refusal.status, form=form, asked=False)
    return await show(visit, "forgot_password.html", form=Form(visit.fields), asked=True)


async def _stale(visit: Visit, template: str, /, **values: object) -> Response:
    error = visit._("Your browser has to take cookies for this. Try again.")
    return await show(visit, template, 400, form=Form(visit.fields, {}, error), **values)


async def reset_page(visit: Visit) -> Response:
    token = visit.argument("token") or ""
    works = await _works(visit, token)
    status = 200 if works else 404
    return await show(visit, "reset_password.html", status, form=Form(), token=token, works=works)


async def _works(visit: Visit, token: str) -> bool:
    if not token or len(token) > MAX_TOKEN_CHARS:
        return False
    try:
        await visit.here.db.read(accounts.check_reset, visit.realm.kind, hash_token(token), visit.here.clock())
    except InvalidRequest:
        return False
    return True


async def reset(visit: Visit) -> Response:
    """A new password; whoever has the session of this browser has to log in again, as everywhere else."""
    token = visit.fields.get("token", "")
    try:
        if not visit.trusted:
            return await _stale(visit, "reset_password.html", token=token, works=True)
        given = {"token": token, "password": visit.fields.get("password", "")}
        body = forms.model(contract.PasswordResetConfirmation, given)
        await reset_password(visit.here, visit.request, visit.realm.kind, body.token, body.password)
    except OklpError as refusal:
        if refusal.status >= 500:
            raise
        form = forms.refused(visit, refusal)
        works = "token" not in form.errors
        return await show(visit, "reset_password.html", refusal.status, form=form, token=token, works=works)
    await visit.end_session()
    return go(visit, visit.realm.log_in, visit._("The new password works from now on. Log in with it."))


async def verify_page(visit: Visit) -> Response:
    token = visit.argument("token") or ""
    works = 0 < len(token) <= MAX_TOKEN_CHARS
    return await show(visit, "verify_email.html", 200 if works else 404, form=Form(), token=token, works=works)


async def verify(visit: Visit) -> Response:
    here, token = visit.here, visit.fields.get("token", "")
    try:
        if not visit.trusted:
            return await _stale(visit, "verify_email.html", token=token, works=True)
        body = forms.model(contract.EmailConfirmation, {"token": token})
        args = (hash_token(body.token), new_uuid(), visit.language, here.clock())
        await here.db.write(accounts.confirm_email, here.settings, here.vault, visit.realm.kind, *args)
    except OklpError as refusal:
        if refusal.status >= 500:
            raise
        return await show(visit, "verify_email.html", refusal.status, form=Form(), token=token, works=False)
    after = visit.realm.security if visit.person is not None else visit.realm.log_in
    return go(visit, after, visit._("Your e-mail address is confirmed."))


def routes(realm: Realm) -> list[Route]:
    """Where the links of mails lead (contract section B7)."""
    return [
        route
        for name, shown, sent in (
            ("forgot-password", forgot_page, forgot),
            ("reset-password", reset_page, reset),
            ("verify-email", verify_page, verify),
        )
        for route in (
            page(f"{realm.prefix}/{name}", shown, open_to_all=True, realm=realm),
            page(f"{realm.prefix}/{name}", sent, "POST", open_to_all=True, realm=realm),
        )
    ]

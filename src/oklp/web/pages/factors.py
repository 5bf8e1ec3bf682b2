"""One's own second factors, in every realm: an authenticator app, passkeys, recovery codes. Below *Security*."""

from __future__ import annotations

import io
import json
import re

from markupsafe import Markup
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from oklp import contract
from oklp.errors import MalformedRequest, OklpError, invalid
from oklp.services import factors
from oklp.services.factors import Change
from oklp.web import second_step, sessions
from oklp.web.context import new_recovery_codes, new_totp_secret
from oklp.web.pages import forms, refusals
from oklp.web.pages.forms import Form
from oklp.web.pages.frame import go, page, show
from oklp.web.pages.security import refused, session_of
from oklp.web.pages.visit import Realm, Visit
from oklp.web.sessions import NO_STORE

SECRET = re.compile(r"[A-Z2-7]{32}")


async def _proved(visit: Visit) -> Change:
    """A change by somebody who has just given his password. Raises InvalidRequest, TooManyRequests."""
    password = visit.fields.get("factor_password", "")[:256]
    await sessions.prove_password(visit.here, visit.request, visit.me, password, "factor_password")
    return _change(visit)


def _change(visit: Visit) -> Change:
    return second_step.change_of(visit.here, visit.request, visit.me, session_of(visit))


def _qr(text: str) -> Markup:
    import segno  # with the first code that is shown

    out = io.BytesIO()
    segno.make(text, error="m").save(out, kind="svg", xmldecl=False, svgns=False, omitsize=True, border=2)
    return Markup(out.getvalue().decode())  # noqa: S704 - made of squares here


# --- the authenticator app -------------------------------------------------------------------------------------------


async def start_totp(visit: Visit) -> Response:
    try:
        enrolment = await visit.here.db.write(factors.start_totp, await _proved(visit), new_totp_secret())
    except OklpError as refusal:
        return await refused(visit, refusal)
    return await _totp_page(visit, Form(), enrolment)


async def _totp_page(visit: Visit, form: Form, enrolment: contract.TotpEnrolment, status: int = 200) -> Response:
    groups = " ".join(enrolment.secret[at : at + 4] for at in range(0, len(enrolment.secret), 4))
    values = {"secret": enrolment.secret, "groups": groups, "qr": _qr(enrolment.otpauth_uri)}
    return await show(visit, "totp.html", status, form=form, uri=enrolment.otpauth_uri, **values)


async def confirm_totp(visit: Visit) -> Response:
    """The code that proves that the app has the secret. The page comes again for a wrong one."""
    secret = visit.fields.get("secret", "")
    try:
        body = forms.model(contract.TotpCode, {"code": visit.fields.get("code", "").replace(" ", "")})
        added = await second_step.confirm_totp(visit.here, visit.request, _change(visit), body.code)
    except OklpError as refusal:
        if refusal.status >= 500 or SECRET.fullmatch(secret) is None:
            raise
        error = refusals.by_field(visit, refusal) or {"code": refusals.sentence(visit, refusal)}
        enrolment = factors.enrolment(visit.here.settings, visit.me.username, secret)
        return await _totp_page(visit, Form({}, error), enrolment, refusal.status)
    return await _added(visit, added.recovery_codes, visit._("The authenticator app counts from now on."))


async def remove_totp(visit: Visit) -> Response:
    try:
        await visit.here.db.write(factors.remove_totp, await _proved(visit))
    except OklpError as refusal:
        return await refused(visit, refusal)
    await visit.renew_session()
    return go(visit, visit.realm.security, visit._("The authenticator app is removed."))


# --- recovery codes --------------------------------------------------------------------------------------------------


async def _added(visit: Visit, recovery_codes: list[str] | None, said: str) -> Response:
    """After a factor was added: the recovery codes that came with the first, or back."""
    await visit.renew_session()
    if recovery_codes is None:
        return go(visit, visit.realm.security, said)
    return await show(visit, "recovery_codes.html", 200, codes=recovery_codes, said=said)


async def renew_codes(visit: Visit) -> Response:
    try:
        made = await visit.here.db.write(factors.renew_codes, await _proved(visit), new_recovery_codes())
    except OklpError as refusal:
        return await refused(visit, refusal)
    return await _added(visit, made.recovery_codes, visit._("The old recovery codes are worth nothing any more."))


# --- passkeys --------------------------------------------------------------------------------------------------------


async def passkey_options(visit: Visit) -> Response:
    """For the script: what the browser makes a passkey of, or why it may not."""
    try:
        await _proved(visit)
    except OklpError as refusal:
        if refusal.status >= 500:
            raise
        form = forms.refused(visit, refusal)
        said = next(iter(form.errors.values()), form.error)
        return JSONResponse({"refused": said}, headers=NO_STORE)
    return JSONResponse(await second_step.registration_options(visit.here, visit.me), headers=NO_STORE)


async def add_passkey(visit: Visit) -> Response:
    try:
        try:
            credential = json.loads(visit.fields.get("credential", ""))
        except (ValueError, RecursionError):
            raise MalformedRequest("The passkey cannot be read.") from None
        given = {"name": visit.fields.get("passkey_name", ""), "credential": credential}
        body = forms.model(contract.PasskeyRegistration, given)
        made = await second_step.add_passkey(visit.here, _change(visit), body)
    except OklpError as refusal:
        if refusal.status < 500:
            refusal = invalid("passkey_name", "is no name, or the passkey was not made for this account")
        return await refused(visit, refusal)
    return await _added(visit, made.recovery_codes, visit._("The passkey is yours from now on."))


async def remove_passkey(visit: Visit) -> Response:
    passkey_id = visit.request.path_params["passkey_id"]
    try:
        await visit.here.db.write(factors.remove_passkey, await _proved(visit), passkey_id)
    except OklpError as refusal:
        return await refused(visit, refusal)
    await visit.renew_session()
    return go(visit, visit.realm.security, visit._("The passkey is removed."))


def routes(realm: Realm) -> list[Route]:
    here = realm.security
    return [
        page(f"{here}/totp", start_totp, "POST", realm=realm),
        page(f"{here}/totp/confirm", confirm_totp, "POST", realm=realm),
        page(f"{here}/totp/remove", remove_totp, "POST", realm=realm),
        page(f"{here}/recovery-codes", renew_codes, "POST", realm=realm),
        page(f"{here}/passkeys", add_passkey, "POST", realm=realm),
        page(f"{here}/passkeys/options", passkey_options, "POST", realm=realm),
        page(f"{here}/passkeys/{{passkey_id}}/remove", remove_passkey, "POST", realm=realm),
    ]

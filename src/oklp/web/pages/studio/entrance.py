"""The way in for studios: the front page, signing up, and what they see first once they are in."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from oklp import contract
from oklp.errors import MalformedRequest, OklpError
from oklp.services import accounts, studios, vault
from oklp.web.context import new_draft, new_uuid
from oklp.web.pages import forms
from oklp.web.pages.doors import without_secrets
from oklp.web.pages.forms import Form
from oklp.web.pages.frame import go, page, show
from oklp.web.pages.studio.desk import member_of
from oklp.web.pages.visit import STUDIO, Visit
from oklp.web.sessions import log_in_as

SIGN_UP = "/studio/sign-up"


async def home(visit: Visit) -> Response:
    """For strangers what the portal is; for members their games, and what needs looking at."""
    if visit.person is None:
        return await show(visit, "studio/landing.html")
    member = member_of(visit)
    found = await visit.here.db.read(studios.overview, member.studio_id, visit.here.clock())
    return await show(visit, "studio/overview.html", games=found, member=member)


async def sign_up_page(visit: Visit) -> Response:
    if visit.person is not None:
        return go(visit, STUDIO.home)
    return await show(visit, "studio/sign_up.html", form=Form())


async def sign_up(visit: Visit) -> Response:
    """A new studio, its owner logged in at once."""
    fields, here = visit.fields, visit.here
    try:
        if not visit.trusted:
            raise MalformedRequest("The form is not from a page of this visitor's.")
        given = {name: fields.get(name, "") for name in ("name", "username", "email", "password")}
        body = forms.model(contract.NewStudio, given)
        password_hash = await here.in_pool(vault.hash_password, body.password)
        await here.db.write(
            accounts.sign_up_studio,
            here.settings,
            here.vault,
            new_uuid(),
            new_uuid(),
            body,
            password_hash,
            new_draft(visit.language),
            here.clock(),
        )
    except OklpError as refusal:
        if refusal.status >= 500:
            raise
        form = forms.refused(visit, refusal)
        if "name" in form.errors:
            form.errors["name"] = visit._("1 to 80 characters.")
        form.values = without_secrets(form.values)
        if not visit.trusted:
            form.error = visit._("This page was open for too long. Choose your password again, and send it once more.")
        return await show(visit, "studio/sign_up.html", refusal.status, form=form)
    login = contract.LogIn(username=body.username, password=body.password)
    session = await log_in_as(here, visit.request, STUDIO.kind, login)
    await visit.begin_session(session.token, session.expires_in)
    return go(visit, STUDIO.home, visit._("Welcome. Register your first game, and you have its configuration at once."))


async def you(visit: Visit) -> Response:
    return await show(visit, "studio/you.html", profile=await visit.here.db.read(studios.profile, visit.me.id))


routes: list[Route] = [
    page(STUDIO.home, home, open_to_all=True, realm=STUDIO),
    page(SIGN_UP, sign_up_page, open_to_all=True, realm=STUDIO),
    page(SIGN_UP, sign_up, "POST", open_to_all=True, realm=STUDIO),
    page("/studio/you", you, realm=STUDIO),
]

"""Who is in the studio, and what each may."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from oklp import contract
from oklp.errors import Conflict, OklpError
from oklp.services import accounts, studios, vault
from oklp.services.studios import OWNER
from oklp.web.context import new_draft, new_token, new_uuid
from oklp.web.pages import forms
from oklp.web.pages.doors import without_secrets
from oklp.web.pages.forms import Form
from oklp.web.pages.frame import go, show
from oklp.web.pages.studio.desk import member_of, studio_form, studio_page
from oklp.web.pages.visit import Visit

MEMBERS = "/studio/members"


async def members(visit: Visit) -> Response:
    return await _show(visit, Form({"role": "developer"}))


async def _show(visit: Visit, form: Form, status: int = 200) -> Response:
    member = member_of(visit)
    if status != 200:
        visit.address = MEMBERS  # what is shown is that page, and goes on being kept up to date
    found = await visit.here.db.read(studios.members, member.studio_id)
    return await show(visit, "studio/members.html", status, members=found.members, member=member, form=form)


async def add(visit: Visit) -> Response:
    """A member who is invited by mail or, with a first password given, can log in at once."""
    here, member, fields = visit.here, member_of(visit), visit.fields
    try:
        names = ("username", "email", "password", "role")
        given = {name: fields.get(name, "") for name in names}
        body = forms.model(contract.NewStudioMember, given | {"password": given["password"] or None})
        password_hash = await here.in_pool(vault.hash_password, body.password or new_token())
        await here.db.write(
            accounts.add_member,
            here.settings,
            here.vault,
            member.actor,
            member.studio_id,
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
        form.values = without_secrets(form.values)
        return await _show(visit, form, refusal.status)
    if body.password is None:
        return go(visit, MEMBERS, visit._("%(name)s is invited: a mail is on its way.", name=body.username))
    return go(visit, MEMBERS, visit._("%(name)s is a member now.", name=body.username))


async def remove(visit: Visit) -> Response:
    member = member_of(visit)
    work = (member.actor, member.studio_id, visit.fields.get("member", ""), visit.here.clock())
    try:
        await visit.here.db.write(studios.remove_member, *work)
    except Conflict:
        return await _show(visit, Form({}, {}, visit._("A studio keeps at least one owner.")), 409)
    return go(visit, MEMBERS, visit._("Removed. The sessions of that member are over."))


async def change(visit: Visit) -> Response:
    """Another role. Whoever takes his own ownership away sees the page as what he is now."""
    member = member_of(visit)
    body = forms.model(contract.MemberPatch, {"role": visit.fields.get("role", "")})
    work = (member.actor, member.studio_id, visit.fields.get("member", ""), body.role, visit.here.clock())
    try:
        changed = await visit.here.db.write(studios.change_member, *work)
    except Conflict:
        return await _show(visit, Form({}, {}, visit._("A studio keeps at least one owner.")), 409)
    return go(visit, MEMBERS, visit._("%(name)s has another role now.", name=changed.username))


routes: list[Route] = [
    studio_page(MEMBERS, members),
    studio_form(MEMBERS, add, _show, MEMBERS, OWNER),
    studio_page(f"{MEMBERS}/role", change, "POST", least=OWNER),
    studio_page(f"{MEMBERS}/remove", remove, "POST", least=OWNER),
]

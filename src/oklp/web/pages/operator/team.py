"""Operators themselves: who there is, and what an admin decides about one."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from oklp import contract
from oklp.errors import OklpError
from oklp.services import operators, staff
from oklp.services.mails import Pen
from oklp.web.context import new_uuid
from oklp.web.pages import forms
from oklp.web.pages.forms import Form
from oklp.web.pages.frame import go, show
from oklp.web.pages.operator.desk import A_PAGE, operator, operator_form, operator_page, refused
from oklp.web.pages.visit import Visit


async def list_operators(visit: Visit) -> Response:
    found = await visit.here.db.read(staff.accounts)
    return await show(visit, "operator/team.html", operators=found.operators)


async def teammate(visit: Visit) -> Response:
    return await _show(visit, Form())


async def _show(visit: Visit, form: Form, status: int = 200) -> Response:
    db, operator_id = visit.here.db, visit.request.path_params["operator_id"]
    found = await db.read(staff.account, operator_id)
    audit, _ = await db.read(operators.audit_log, f"operator:{operator_id}", None, A_PAGE)
    return await show(visit, "operator/teammate.html", status, found=found, audit=audit, form=form)


async def act(visit: Visit) -> Response:
    """Another role, suspended, reinstated, or without the second factors that he has lost."""
    here, operator_id = visit.here, visit.request.path_params["operator_id"]
    try:
        values = {name: visit.fields[name] for name in ("action", "role") if name in visit.fields}
        body = forms.model(contract.OperatorAction, values | {"reason": visit.fields.get("reason", "")})
        pen = Pen(here.settings, here.vault, new_uuid(), visit.language)
        args = (pen, operator(visit), operator_id, body, here.clock())
        await forms.once(visit, contract.OperatorAccount, staff.act, *args)
    except OklpError as refusal:
        form = refused(visit, refusal)
        return await _show(visit, form, refusal.status)
    return go(visit, f"/operator/team/{operator_id}", visit._("Done, and kept in the audit log."))


TEAMMATE = "/operator/team/{operator_id}"
routes: list[Route] = [
    operator_page("/operator/team", list_operators),
    operator_page(TEAMMATE, teammate),
    operator_form(TEAMMATE, act, _show, TEAMMATE),
]

"""Deliveries, the audit log, and how the server and its database are."""

from __future__ import annotations

import asyncio
import re
from importlib.metadata import version
from platform import python_version
from typing import get_args

from starlette.responses import Response
from starlette.routing import Route

from oklp import contract
from oklp.errors import OklpError
from oklp.services import console, operators, webhooks
from oklp.storage.engine import inspect_database
from oklp.web.caller import from_cursor, to_cursor
from oklp.web.pages.forms import Form
from oklp.web.pages.frame import go, show
from oklp.web.pages.operator.desk import A_PAGE, operator, operator_form, operator_page, reason_of, refused
from oklp.web.pages.visit import Visit

SUBJECT = re.compile(r"[a-z]{1,20}:[A-Za-z0-9_-]{1,64}")


async def deliveries(visit: Visit) -> Response:
    state = visit.argument("state")
    state = state if state in get_args(contract.DeliveryState) else None
    game_id = (visit.argument("game") or "").strip() or None
    match_id = (visit.argument("match") or "").strip().lower() or None
    before = from_cursor(visit.argument("cursor"), int, str)
    chosen = webhooks.Chosen(game_id, state, match_id=match_id)
    found, more = await visit.here.db.report(webhooks.page, chosen, before, A_PAGE)
    return await show(
        visit,
        "operator/deliveries.html",
        deliveries=found,
        state=state or "",
        game_id=game_id or "",
        match_id=match_id or "",
        more=to_cursor(*more) if more else None,
    )


async def delivery(visit: Visit) -> Response:
    return await _show(visit, Form())


async def _show(visit: Visit, form: Form, status: int = 200) -> Response:
    found = await visit.here.db.read(webhooks.detail, visit.request.path_params["delivery_id"])
    return await show(visit, "operator/delivery.html", status, delivery=found, form=form)


async def resend(visit: Visit) -> Response:
    here, delivery_id = visit.here, visit.request.path_params["delivery_id"]
    try:
        await here.db.write(operators.resend, operator(visit), delivery_id, reason_of(visit), here.clock())
    except OklpError as refusal:
        form = refused(visit, refusal)
        return await _show(visit, form, refusal.status)
    return go(visit, f"/operator/deliveries/{delivery_id}", visit._("It is on its way once more."))


async def audit(visit: Visit) -> Response:
    subject = (visit.argument("subject") or "").strip()
    before = from_cursor(visit.argument("cursor"), int)
    found = console.AuditLog([], None, {})
    if not subject or SUBJECT.fullmatch(subject):
        place = before[0] if before else None
        found = await visit.here.db.read(console.audit_log, subject or None, place, A_PAGE)
    more = to_cursor(found.more) if found.more is not None else None
    shown = {"audit": found.entries, "studios": found.studios, "subject": subject, "more": more}
    return await show(visit, "operator/audit.html", **shown)


async def health(visit: Visit) -> Response:
    here = visit.here
    state = await asyncio.get_running_loop().run_in_executor(None, inspect_database, here.settings.database_url)
    backlog = await here.db.read(operators.backlog, here.clock())
    return await show(
        visit,
        "operator/health.html",
        postgres=here.db.postgres,
        current=state.current,
        backlog=backlog,
        lanes=[(lane.name, len(lane)) for lane in here.db.lanes],
        versions=[("OKLP", version("oklp")), ("Python", python_version())],
    )


DELIVERY = "/operator/deliveries/{delivery_id}"
routes: list[Route] = [
    operator_page("/operator/deliveries", deliveries),
    operator_page(DELIVERY, delivery),
    operator_form(f"{DELIVERY}/resend", resend, _show, DELIVERY),
    operator_page("/operator/audit", audit),
    operator_page("/operator/health", health),
]

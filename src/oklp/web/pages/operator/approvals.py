"""What takes two operators: what waits for the second, and what became of the rest."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from oklp import contract
from oklp.errors import OklpError
from oklp.services import approvals, consequences, proposals
from oklp.web.caller import from_cursor, to_cursor
from oklp.web.pages import forms
from oklp.web.pages.forms import Form
from oklp.web.pages.frame import go, show
from oklp.web.pages.operator.desk import A_PAGE, operator, operator_form, operator_page, reason_of, refused
from oklp.web.pages.visit import Visit


async def list_proposals(visit: Visit) -> Response:
    """The oldest that wait, above what became of the others; with `?list=waiting` all that wait, by the page."""
    cursor = from_cursor(visit.argument("cursor"), int, str)
    if visit.argument("list") != "waiting":
        return await _show(visit, Form(), before=cursor)
    match_id = visit.argument("match") or None
    found, more = await visit.here.db.read(proposals.waiting, cursor, A_PAGE, visit.here.clock(), match_id)
    return await show(
        visit,
        "operator/approvals.html",
        waiting=found,
        sides=await visit.here.db.read(consequences.of_proposals, found),
        more_waiting=to_cursor(*more) if more else None,
        listed=True,
        match_id=match_id or "",
        past=[],
        more=None,
        above=visit.here.settings.approval_above,
        form=Form(),
    )


async def _show(visit: Visit, form: Form, status: int = 200, before: proposals.Place | None = None) -> Response:
    here = visit.here
    waiting, more_waiting = await here.db.read(proposals.waiting, None, A_PAGE, here.clock())
    asked = visit.request.path_params.get("proposal_id")
    if asked is not None and not any(each.proposal_id == asked for each in waiting):
        found = await here.db.read(proposals.read, asked, here.clock())  # from further down the list
        waiting = [found, *waiting] if found.state == "waiting" else waiting
    past, more = await here.db.read(proposals.past, before, A_PAGE, here.clock())
    return await show(
        visit,
        "operator/approvals.html",
        status,
        waiting=waiting,
        sides=await here.db.read(consequences.of_proposals, [*waiting, *past]),
        more_waiting=to_cursor(*more_waiting) if more_waiting else None,
        listed=False,
        past=past,
        more=to_cursor(*more) if more else None,
        above=here.settings.approval_above,
        form=form,
    )


async def decide(visit: Visit) -> Response:
    here, proposal_id = visit.here, visit.request.path_params["proposal_id"]
    try:
        values = {"decision": visit.fields.get("decision"), "reason": visit.fields.get("reason", "")}
        body = forms.model(contract.ProposalDecision, values)
        args = (here.settings, operator(visit), proposal_id, body, here.clock())
        done = await forms.once(visit, contract.Proposal, approvals.decide, *args)
    except OklpError as refusal:
        form = refused(visit, refusal)
        return await _show(visit, form, refusal.status)
    _ = visit._
    said = _("Approved, and done.") if done.state == "approved" else _("Declined. Nothing was done.")
    return go(visit, "/operator/approvals", said)


async def withdraw(visit: Visit) -> Response:
    here, proposal_id = visit.here, visit.request.path_params["proposal_id"]
    try:
        args = (operator(visit), proposal_id, reason_of(visit), here.clock())
        await forms.once(visit, contract.Proposal, approvals.withdraw, *args)
    except OklpError as refusal:
        form = refused(visit, refusal)
        return await _show(visit, form, refusal.status)
    return go(visit, "/operator/approvals", visit._("Withdrawn. Nothing was done."))


APPROVALS = "/operator/approvals"
PROPOSAL = f"{APPROVALS}/{{proposal_id}}"
routes: list[Route] = [
    operator_page(APPROVALS, list_proposals),
    operator_form(PROPOSAL, decide, _show, APPROVALS),
    operator_form(f"{PROPOSAL}/withdraw", withdraw, _show, APPROVALS),
]

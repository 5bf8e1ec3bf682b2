"""What takes two operators: what waits for the second, and what became of the rest."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from oklp import contract
from oklp.errors import OklpError
from oklp.services import approvals, proposals
from oklp.web.caller import from_cursor, to_cursor
from oklp.web.pages import forms
from oklp.web.pages.forms import Form
from oklp.web.pages.frame import go, show
from oklp.web.pages.operator.desk import A_PAGE, operator, operator_page, reason_of, refused, waiting_proposals
from oklp.web.pages.visit import Visit


async def list_proposals(visit: Visit) -> Response:
    return await _show(visit, Form())


async def _show(visit: Visit, form: Form, status: int = 200) -> Response:
    here = visit.here
    before = from_cursor(visit.argument("cursor"), int, str) if visit.request.method == "GET" else None
    found, more = await here.db.read(proposals.page, before, A_PAGE, here.clock())
    waiting = await waiting_proposals(visit)
    return await show(
        visit,
        "operator/approvals.html",
        status,
        waiting=waiting,
        past=[each for each in found if each.proposal_id not in {other.proposal_id for other in waiting}],
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


routes: list[Route] = [
    operator_page("/operator/approvals", list_proposals),
    operator_page("/operator/approvals/{proposal_id}", decide, "POST"),
    operator_page("/operator/approvals/{proposal_id}/withdraw", withdraw, "POST"),
]

"""The operator's overview and search, and what every page of the console begins with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import quote

from starlette.responses import Response
from starlette.routing import Route

from oklp import contract
from oklp.errors import Forbidden, OklpError
from oklp.services import console
from oklp.services.console import Found
from oklp.services.staff import Operator
from oklp.web.pages import forms
from oklp.web.pages.charts import Point
from oklp.web.pages.forms import Form
from oklp.web.pages.frame import Handler, go, page, show
from oklp.web.pages.visit import OPERATOR, Visit

A_PAGE = 25


class Nav(NamedTuple):
    """What the frame shows of an operator, and what the pages ask before they show a button."""

    operator: Operator

    @property
    def username(self) -> str:
        return self.operator.username

    def may(self, action: str) -> bool:
        return self.operator.may(action)


async def _nav(visit: Visit) -> Nav:
    return Nav(operator(visit))


OPERATOR.nav = _nav


def operator_page(path: str, handler: Handler, method: str = "GET") -> Route:
    return page(path, handler, method, realm=OPERATOR)


def operator(visit: Visit) -> Operator:
    """Who acts, and in which role. Raises Unauthenticated."""
    return Operator.of(visit.me)


def refused(visit: Visit, refusal: OklpError) -> Form:
    """The form of an action as it was sent, with what is wrong. Raises what another form would not make right."""
    if refusal.status >= 500 or isinstance(refusal, Forbidden):
        raise refusal
    form = forms.refused(visit, refusal)
    form.errors = {"reason": visit._("Say why, in up to 500 characters.")} if "reason" in form.errors else {}
    if not form.errors:
        # Operators are told what programs are told: it names what is in the way.
        form.error = "; ".join(f"{each.field}: {each.message}" for each in refusal.errors) or refusal.detail
    return form


async def overview(visit: Visit) -> Response:
    here = visit.here
    found = await here.db.read(console.overview, here.settings.currency, here.clock())
    hours = [(datetime.fromtimestamp(each.at / 1000, UTC).strftime("%H:00"), each) for each in found.hours]
    return await show(
        visit,
        "operator/overview.html",
        found=found,
        made=[Point(label, each.made) for label, each in hours],
        aborted=[Point(label, each.aborted) for label, each in hours],
    )


PLACES = {
    "match": "/operator/matches/{}",
    "player": "/operator/players/{}",
    "game": "/operator/games/{}",
    "delivery": "/operator/deliveries/{}",
    "account": "/operator/ledger?account={}",
}


def place(found: Found) -> str:
    return PLACES[found.kind].format(quote(found.id, safe=""))


async def search(visit: Visit) -> Response:
    """One thing is gone to at once; of several, a list."""
    text = (visit.argument("q") or "")[:200]
    found = await visit.here.db.read(console.find, text)
    if len(found) == 1:
        return go(visit, place(found[0]))
    return await show(visit, "operator/search.html", q=text, found=[(place(each), each) for each in found])


def one_of(text: str | None, known: tuple[str, ...]) -> str | None:
    """A filter of the address, if it is one."""
    return text if text in known else None


def reason_of(visit: Visit) -> contract.OperatorReason:
    """Raises InvalidRequest."""
    return forms.model(contract.OperatorReason, {"reason": visit.fields.get("reason", "")})


routes: list[Route] = [operator_page("/operator", overview), operator_page("/operator/search", search)]

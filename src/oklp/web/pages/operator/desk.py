"""The operator's overview and search, and what every page of the console begins with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Concatenate, NamedTuple, ParamSpec
from urllib.parse import quote

from markupsafe import Markup
from pydantic import BaseModel
from starlette.responses import Response
from starlette.routing import Route

from oklp import contract
from oklp.errors import Conflict, LimitReached, OklpError, RoleMissing, SecondFactorMissing
from oklp.services import console, factors, idempotency, proposals, staff
from oklp.services.console import Found
from oklp.services.staff import Operator
from oklp.storage.engine import Tx
from oklp.web.languages import SOURCE
from oklp.web.pages import doors, forms, refusals
from oklp.web.pages.charts import Point
from oklp.web.pages.forms import Form
from oklp.web.pages.frame import Handler, go, page, show
from oklp.web.pages.studio.live import digest, live_route
from oklp.web.pages.visit import OPERATOR, Visit

P = ParamSpec("P")
Shows = Callable[[Visit, Form, int], Awaitable[Response]]

A_PAGE = 25
REASON_CHARS = 500  # contract.Reason


class Nav(NamedTuple):
    """What the frame shows of an operator, and what the pages ask before they show a button.

    `operator` is None while he has no second factor: the console is shut for him. `approvals` are the proposals that
    he may decide on, counted up to `proposals.GLANCE`; `seen` what waits, as the stream of the page tells it apart.
    """

    username: str
    operator: Operator | None
    approvals: int = 0
    seen: str = ""

    def may(self, action: str) -> bool:
        return self.operator is not None and self.operator.may(action)


async def _nav(visit: Visit) -> Nav:
    if await _shut(visit):
        return Nav(visit.me.username, None)
    who, waiting = operator(visit), await _glance(visit)
    return Nav(who.username, who, waiting.to_decide, digest(waiting))


async def _glance(visit: Visit) -> proposals.Glance:
    """At what two operators have to agree on. Raises SecondFactorMissing."""
    return await visit.here.db.read(proposals.glance, operator(visit), visit.here.clock())


async def _shut(visit: Visit) -> bool:
    """Whether a second factor is missing. One that this very request has added counts for the page that says so."""
    if not staff.lacks_factor(visit.here.settings, visit.me):
        return False
    own = await visit.here.db.read(factors.factors, visit.me.id)
    visit.person = visit.me._replace(second_factor=own.enabled)
    return not own.enabled


OPERATOR.nav = _nav


def operator_page(path: str, handler: Handler, method: str = "GET") -> Route:
    """A page of the console. Whoever lacks a second factor is led to where he sets one up."""

    async def once_proved(visit: Visit) -> Response:
        if method == "GET" and staff.lacks_factor(visit.here.settings, visit.me):
            return go(visit, f"{OPERATOR.security}#factors")
        operator(visit)  # a form is refused
        return await handler(visit)

    return page(path, once_proved, method, realm=OPERATOR)


def operator_form(path: str, handler: Handler, shows: Shows, page_path: str) -> Route:
    """An action with a form on the page at `page_path`: `shows` is that page with the form as it was sent.

    So it comes back after a log-in in between as well.
    """

    async def shown(visit: Visit, form: Form, status: int) -> Response:
        operator(visit)
        return await shows(visit, form, status)

    doors.RESUMED[path] = doors.Resumed(shown, page_path)
    return operator_page(path, handler, "POST")


def operator(visit: Visit) -> Operator:
    """Who acts, and in which role. Raises Unauthenticated, SecondFactorMissing."""
    return Operator.of(visit.here.settings, visit.me)


def refused(visit: Visit, refusal: OklpError) -> Form:
    """The form of an action as it was sent, with what is wrong. Raises what another form would not make right."""
    if refusal.status >= 500 or isinstance(refusal, RoleMissing | SecondFactorMissing):
        raise refusal
    form = forms.refused(visit, refusal)
    visit.address = doors.page_of(visit.at) or ""  # what is shown is that page, and goes on being kept up to date
    form.errors = {"reason": _not_a_reason(visit)} if "reason" in form.errors else {}
    if not form.errors:
        form.error = _in_the_way(visit, refusal)
    return form


def _in_the_way(visit: Visit, refusal: OklpError) -> str:
    """What programs are told names it, in English. Who reads another language is told a sentence of it before that."""
    named = "; ".join(f"{each.field}: {each.message}" for each in refusal.errors) or refusal.detail
    if visit.language == SOURCE:
        return named
    said = refusals.sentence(visit, refusal)
    if isinstance(refusal, Conflict) and not isinstance(refusal, LimitReached):
        said = visit._("As things stand, this is not possible.")
    return Markup('{} <span lang="en">{}</span>').format(said, named)


def _not_a_reason(visit: Visit) -> str:
    """What is wrong with the reason that was given."""
    given = visit.fields.get("reason", "").replace("\r\n", "\n").strip()
    if not given:
        return visit._("Say why, in up to 500 characters.")
    if len(given) > REASON_CHARS:
        return visit._("These are %(count)s characters: say it in up to 500.", count=len(given))
    return visit._("There are characters in it that cannot be read. Write it without them.")


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
    "payment": "/operator/ledger?payment={}",
    "studio": "/operator/games?studio={}",
    "operator": "/operator/team/{}",
}


def place(found: Found) -> str:
    return PLACES[found.kind].format(quote(found.id, safe=""))


async def search(visit: Visit) -> Response:
    """One thing is gone to at once; of several, a list."""
    text = (visit.argument("q") or "")[:200]
    found, more = await visit.here.db.read(console.find, text)
    if len(found) == 1:
        return go(visit, place(found[0]))
    shown = {"q": text, "found": [(place(each), each) for each in found], "more": more}
    return await show(visit, "operator/search.html", **shown)


def one_of(text: str | None, known: tuple[str, ...]) -> str | None:
    """A filter of the address, if it is one."""
    return text if text in known else None


def reason_of(visit: Visit) -> contract.OperatorReason:
    """Raises InvalidRequest."""
    return forms.model(contract.OperatorReason, {"reason": visit.fields.get("reason", "")})


async def done_or_proposed(
    visit: Visit,
    kind: type[BaseModel],
    work: Callable[Concatenate[Tx, P], BaseModel],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> bool:
    """Do `work` once, as `forms.once`. False when it takes two operators, and waits for the second."""
    answer = await visit.here.db.write(idempotency.once, forms.claim(visit), 200, work, *args, **kwargs)
    proposed = answer.status == contract.Proposed.ANSWER_STATUS
    forms.outcome(contract.Proposed if proposed else kind, answer)
    return not proposed


def proposed(visit: Visit) -> Response:
    """On to what waits."""
    return go(
        visit, "/operator/approvals", visit._("This takes two operators. It is done once another one approves it.")
    )


routes: list[Route] = [
    operator_page("/operator", overview),
    operator_page("/operator/search", search),
    live_route("/operator", _glance, OPERATOR),
]

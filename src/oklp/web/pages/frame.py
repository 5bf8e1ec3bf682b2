"""How a page comes to be: routes, templates, headers, and refusals as pages.

A handler is `async def name(visit) -> Response`. `page` makes a route of it: the visitor is recognised, a form is
checked, whoever must be logged in is asked to, and a refusal that the handler does not show beside its form becomes an
error page.
"""

from __future__ import annotations

import functools
import logging
import secrets
import zlib
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from oklp import contract
from oklp.errors import InvariantBroken, OklpError
from oklp.services import ledger, notices
from oklp.web.languages import LANGUAGE
from oklp.web.methods import GetRoute
from oklp.web.pages import assets, facts, icons, refusals, words
from oklp.web.pages.charts import Charts
from oklp.web.pages.visit import (
    CSRF_FIELD,
    ONCE_FIELD,
    PLAYER,
    THEME,
    THEMES,
    YEAR_SECONDS,
    Realm,
    Visit,
    local_path,
    realm_of,
)

if TYPE_CHECKING:
    from jinja2 import Environment

log = logging.getLogger(__name__)

TEMPLATES = Path(__file__).parent / "templates"
Handler = Callable[[Visit], Awaitable[Response]]

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cache-Control": "private, no-store",
    "Vary": "Cookie, Accept-Language",
}
TONES = 5  # colours of avatars, in site.css
TWO_YEARS = "max-age=63072000; includeSubDomains"


@functools.cache
def environment(language: str) -> Environment:
    # With the first page: a server starts without it.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    made.install_gettext_translations(words.translations(language), newstyle=True)  # type: ignore[attr-defined]
    made.globals.update(
        asset=assets.url, icon=icons.icon, charts=Charts(language), languages=words.LANGUAGES, themes=THEMES
    )
    made.filters.update(
        money=functools.partial(_money, language),
        signed_money=functools.partial(_money, language, signed=True),
        date=lambda at: words.date(at, language),
        moment=lambda at: words.moment(at, language),
        tone=lambda name: zlib.crc32(name.encode()) % TONES,
        number=lambda value: words.number(value, language),
        duration=lambda seconds: words.duration(seconds, language),
        exact_duration=lambda seconds: words.life(seconds, language),
        plain_money=lambda amount, currency: words.plain_money(amount, currency, language),
        money_in_address=words.money_in_address,
        percent=lambda bps: words.percent(bps, language),
        facts=lambda detail, currency: facts.of(detail, language, currency),
    )
    return made


def _money(language: str, value: contract.Money | int, currency: str = "", *, signed: bool = False) -> str:
    amount, of = (value.amount, value.currency) if isinstance(value, contract.Money) else (value, currency)
    return words.money(amount, of, language, signed=signed)


class Nav(NamedTuple):
    """What the frame around every page of a player shows of him."""

    username: str
    available: int
    currency: str
    unread: int  # notifications


async def _player(visit: Visit) -> Nav:
    currency = visit.here.settings.currency
    wallet = await visit.here.db.read(ledger.wallet, visit.me.id, currency)
    available = next((each.available for each in wallet.balances if each.currency == currency), 0)
    unread = await visit.here.db.read(notices.unread, visit.me.id)
    return Nav(visit.me.username, available, currency, unread)


PLAYER.nav = _player


async def _nav(visit: Visit) -> Any:
    """What the surface's frame shows of whoever is logged in; None of strangers."""
    return await visit.realm.nav(visit) if visit.person is not None and visit.realm.nav is not None else None


async def show(visit: Visit, template: str, status: int = 200, /, **values: Any) -> Response:
    """A page. `values` are the template's; `visit`, `nav` and the helpers of the frame are there always."""
    nav = await _nav(visit)
    return _show(visit, template, status, nav, values)


def _show(visit: Visit, template: str, status: int, nav: Any, values: Mapping[str, Any]) -> Response:
    text = (
        environment(visit.language)
        .get_template(template)
        .render(
            visit=visit,
            nav=nav,
            sandbox=visit.here.settings.sandbox,
            csrf=lambda: Markup('<input type="hidden" name="{}" value="{}">').format(CSRF_FIELD, visit.csrf),
            once=lambda: Markup('<input type="hidden" name="{}" value="{}">').format(
                ONCE_FIELD, secrets.token_urlsafe(12)
            ),
            **values,
        )
    )
    return HTMLResponse(text, status, _headers(visit))


def _headers(visit: Visit) -> dict[str, str]:
    https = visit.here.settings.public_url.startswith("https://")
    more = {"Strict-Transport-Security": TWO_YEARS} if https else {}
    if visit.retry_after_seconds is not None:
        more["Retry-After"] = str(visit.retry_after_seconds)
    return {**HEADERS, "Content-Language": visit.language} | more


def go(visit: Visit, path: str, done: str = "") -> Response:
    """On to another page, by GET: reloading it sends no form again. `done` is said there, once."""
    if done:
        visit.notice(done)
    return RedirectResponse(path, 303, _headers(visit))


async def refusal_page(visit: Visit, refusal: OklpError) -> Response:
    """A refusal as a page of its own."""
    told = refusals.page_of(visit, refusal)
    visit.retry_after_seconds = refusal.retry_after_seconds
    try:
        nav = await _nav(visit)
    except OklpError:  # the database is away: the page must come all the same
        nav = None
    values = {"title": told.title, "text": told.text, "next": told.next, "status": refusal.status}
    return _show(visit, "error.html", refusal.status, nav, values)


def wants_page(request: Request) -> bool:
    """True for what a person typed or followed, false for programs: those get `problem+json`."""
    path = request.scope["path"]
    if path.startswith(("/api/", "/auth/", "/metrics", "/healthz", "/readyz", "/openapi.json")):
        return False
    return "text/html" in request.headers.get("accept", "")


async def lost(request: Request, refusal: OklpError) -> Response:
    """The error page for what no route of a page has met: an unknown address, or something unforeseen."""
    visit = Visit.begin(request, realm_of(request.scope["path"]))
    chosen = _preference(visit)
    if chosen is not None:
        return visit.finish(chosen)
    if refusal.status != 429:  # too many requests cost the database nothing
        try:
            await visit.recognise()
        except OklpError:
            log.info("a lost visitor cannot be recognised just now")
    return visit.finish(await refusal_page(visit, refusal))


def page(
    path: str,
    handler: Handler,
    method: str = "GET",
    *,
    open_to_all: bool = False,
    realm: Realm = PLAYER,
    head: bool = True,
) -> Route:
    """A route. Pages are for those who are logged in on their surface, unless they are `open_to_all`.

    HEAD is answered as GET is, but not where GET makes something (`head=False`).
    """

    async def endpoint(request: Request) -> Response:
        visit = Visit.begin(request, realm)
        try:
            visit.check_address()
            chosen = _preference(visit)
            if chosen is not None:
                return visit.finish(chosen)
            await visit.recognise()
            if method == "POST":
                await visit.read_form()
                if visit.person is None and not open_to_all:
                    return visit.finish(await asks_to_log_in(visit))
                if visit.person is not None and not visit.trusted:
                    return visit.finish(await _shows_again(visit))
            elif visit.person is None and (not open_to_all or visit.was_a_person):
                return visit.finish(await asks_to_log_in(visit))
            answer = await handler(visit)
        except OklpError as refusal:
            if isinstance(refusal, InvariantBroken):
                log.error("an invariant is broken: %s", refusal.detail, exc_info=refusal)
            answer = await refusal_page(visit, refusal)
        return visit.finish(answer)

    if not head:
        return GetRoute(path, endpoint)
    return Route(path, endpoint, methods=[method], name=f"{method} {path}")


async def asks_to_log_in(visit: Visit) -> Response:
    """The log-in page, which leads back here; what was typed into a form comes along, but for passwords."""
    from oklp.web.pages import doors

    return await doors.before(visit)


async def _shows_again(visit: Visit) -> Response:
    """The form of a page from before another log-in: filled in, and not taken. Raises Forbidden where none is known."""
    from oklp.web.pages import doors

    return await doors.again(visit)


def _preference(visit: Visit) -> Response | None:
    """`?language=de` and `?theme=dark` on any page are remembered, and taken out of the address."""
    given = {LANGUAGE: visit.argument("language"), THEME: visit.argument("theme")}
    known: dict[str, tuple[str, ...]] = {LANGUAGE: tuple(words.LANGUAGES), THEME: THEMES}
    chosen = {name: value for name, value in given.items() if value in known[name]}
    # An unknown address may be one that leads to another site: `//elsewhere.example`.
    if not chosen or visit.request.method != "GET" or local_path(visit.at) is None:
        return None
    for name, value in chosen.items():
        visit.set_cookie(name, str(value), YEAR_SECONDS)
    rest = urlencode(visit.without_choices())
    return go(visit, f"{visit.at}?{rest}" if rest else visit.at)

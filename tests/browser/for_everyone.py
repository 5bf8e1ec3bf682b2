"""What is asked of every page in Chromium: that it is light, soon there, and for everyone (WCAG 2.2 AA, by axe); and
the table of all pages, so that none is forgotten.

The tests of a surface go through its part of the table; a test without a browser holds the table against the routes.
"""

from __future__ import annotations

from typing import Any

from axe_playwright_python.base import AXE_SCRIPT, AxeResults
from playwright.sync_api import Page

MOST_BYTES = 150_000
MOST_MILLISECONDS = 1_000
# A machine that is busy with something else is late with anything, but not each time.
MOST_LOADS = 3

# axe leaves out the one rule of WCAG 2.2 unless it is asked for: what is pressed has 24 pixels each way, or room.
# What it fetches ahead is for rules that are off (orientation) or about sound.
OPTIONS = {"rules": {"target-size": {"enabled": True}}, "resultTypes": ["violations"], "preload": False}

RUN_AXE = "([part, options]) => axe.run(part ?? document, options).then(({ violations }) => violations)"

# Of what comes out of the cache, what it was when it came.
SIZES = """() =>
  [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
    .filter((each) => !/\\/live(\\?|$)/.test(each.name))
    .map((each) => Math.max(each.transferSize, each.encodedBodySize))"""

FIRST_CONTENT = """() => new Promise((resolve) =>
  new PerformanceObserver((list) => {
    const found = list.getEntriesByName("first-contentful-paint")[0];
    if (found) resolve(found.startTime);
  }).observe({ type: "paint", buffered: true }))"""

TOO_WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


def check(page: Page, part: str | None = None) -> None:
    """Nothing that axe finds in the page, or in a part of it (a selector); and nothing wider than the window."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    found = page.evaluate(RUN_AXE, [part, OPTIONS])
    assert found == [], f"{page.url}\n{AxeResults({'violations': found}).generate_report()}"
    assert not page.evaluate(TOO_WIDE), f"{page.url} is wider than the window"


def until_content(page: Page) -> float:
    """Milliseconds from the click until there was something to see, of the page that is there. It is loaded again while
    it is late, and the soonest counts.
    """
    waited: list[float] = [page.evaluate(FIRST_CONTENT)]
    while min(waited) > MOST_MILLISECONDS and len(waited) < MOST_LOADS:
        page.reload()
        waited.append(page.evaluate(FIRST_CONTENT))
    return min(waited)


def check_anew(page: Page, url: str) -> None:
    """The page of an address, with what it takes to load it."""
    page.goto(url)
    sizes: list[int] = page.evaluate(SIZES)
    assert sum(sizes) < MOST_BYTES, (url, sizes)
    waited = until_content(page)
    assert waited <= MOST_MILLISECONDS, f"{url}: {waited} ms until there is something to see"
    check(page)


def send_refused(page: Page, form: str = "main form") -> None:
    """A form comes back and says which of its fields are wrong: the one of this selector, sent as it is."""
    with page.expect_navigation():
        page.locator(form).evaluate("(form) => { form.noValidate = true; form.requestSubmit(); }")
    page.locator("main .error").first.wait_for()


def check_refused(page: Page, form: str = "main form") -> None:
    send_refused(page, form)
    check(page)


# --- all pages -------------------------------------------------------------------------------------------------------

# The two ways in which each surface is looked at; words are longer in German.
DESK: dict[str, Any] = {"color_scheme": "light"}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "has_touch": True,
    "is_mobile": True,
    "color_scheme": "dark",
}
GERMAN_PHONE = {**PHONE, "locale": "de-DE"}

_DOORS = ("/log-in", "/forgot-password", "/reset-password?token=over", "/verify-email?token=any")
_OPEN = {
    "player": ("/", "/sign-up", "/style", "/games", "/games/{game_id}", "/join?link=nowhere"),
    "studio": ("/studio", "/studio/sign-up"),
    "operator": (),
}
_OF_STUDIOS = ("/webhooks", "/webhooks/{delivery_id}", "/settings", "/figures", "/log", "/faults", "/guide",
               "/conformance", "/conformance/{report_id}", "/matches", "/matches/{match_id}")  # fmt: skip
_OF_OPERATORS = ("/security", "/search?q=player", "/games", "/games/{game_id}", "/games/{game_id}/reports/{report_id}",
                 "/players", "/players/{user_id}", "/matches", "/matches/{match_id}", "/ledger", "/deliveries",
                 "/deliveries/{delivery_id}", "/books", "/audit", "/health", "/approvals", "/team",
                 "/team/{operator_id}")  # fmt: skip
_OWN = {
    "player": ("/games/{game_id}", "/matches", "/matches/new", "/matches/{match_id}", "/wallet", "/settings",
               "/settings/notifications", "/security", "/notifications", "/players/{username}"),
    "studio": ("/studio/you", "/studio/security", "/studio/members", "/studio/new-game", "/studio",
               "/studio/games/{game_id}", *(f"/studio/games/{{game_id}}{path}" for path in _OF_STUDIOS)),
    "operator": ("/operator", *(f"/operator{path}" for path in _OF_OPERATORS)),
}  # fmt: skip


def open_to_all(kind: str, **ids: str) -> list[str]:
    """The addresses of a surface's pages that whoever comes sees; `ids` are what stands in them."""
    prefix = "" if kind == "player" else f"/{kind}"
    return [path.format(**ids) for path in (*_OPEN[kind], *(f"{prefix}{door}" for door in _DOORS))]


def own(kind: str, **ids: str) -> list[str]:
    """Those for which one logs in."""
    return [path.format(**ids) for path in _OWN[kind]]


def all_pages() -> set[str]:
    """As the routes name them."""
    same = {name: f"{{{name}}}" for name in ("game_id", "match_id", "delivery_id", "report_id", "user_id", "username",
                                             "operator_id")}  # fmt: skip
    return {path.partition("?")[0] for kind in _OWN for path in (*open_to_all(kind, **same), *own(kind, **same))}

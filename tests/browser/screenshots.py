"""Pictures of every page, on a desktop and a phone, light and dark: for eyes, not for comparing. With them, how long
each page takes until there is something to see, as the browser counts it from the click (first contentful paint).

make screenshots                       into build/screenshots/, the times into times.json there
make screenshots ARGS="--only room"    those whose name has `room` in it
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import statistics
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pyotp
from playwright.sync_api import Browser, Page

from oklp.web.languages import LANGUAGE
from tests.browser.tile_rush import chromium
from tests.harness import PASSWORD, GameClient, PlayerClient, Server, paid_match, serving
from tests.web.test_authorisation import REPORT

DEVICES: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 800}},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
}


# How long it may take on loopback from a click until there is something to see.
MOST_MILLISECONDS = 1_000

FIRST_CONTENT = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"

Times = dict[str, dict[str, float]]


class Scene(NamedTuple):
    """A page to look at; `who` is logged in, or somebody of another surface by a session of its cookie's."""

    name: str
    path: str
    who: PlayerClient | None = None
    session: tuple[str, str] | None = None  # cookie, token

    @property
    def seen_by(self) -> object:
        return self.who.username if self.who is not None else self.session


def scenes(server: Server) -> list[Scene]:
    """A platform with something to see on it: a game, matches in each state, money that moved."""
    ada, bea = PlayerClient(server.url, "ada", 25_000), PlayerClient(server.url, "bea", 8_000)
    game = server.register(discovery="pull")
    game_id = game.client_id
    finished, lost = (paid_match(ada, bea, game_id, fee) for fee in (500, 250))
    back_end = GameClient(server.url, game)
    for match_id, winner in ((finished, ada), (lost, bea)):
        assert back_end.finish(back_end.report(match_id, winner.user_id)).status_code == 200
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, and not listening: the game cannot be told
        refusing = server.register(f"http://127.0.0.1:{nobody.getsockname()[1]}/match")
        refused = paid_match(ada, bea, refusing.client_id, 300)
        ada.await_status(refused, "aborted")
    drawn = paid_match(ada, bea, game_id, 400)
    even = back_end.report(drawn, ada.user_id)
    even["teams"] = [{**team, "ranking": 1} for team in even["teams"]]
    assert back_end.finish(even).status_code == 200
    live = paid_match(ada, bea, game_id, 1_000)
    filling = ada.create(game_id, 750, invite=["bea"], visibility="public")
    bea.create(game_id, 200, teams=4, visibility="public")
    teams = bea.create(game_id, 200, team_size=2, visibility="public")
    ada.must(201, "POST", "/wallet/withdrawals", {"amount": 2_000, "currency": "XTS"})
    return [
        Scene("landing", "/"),
        Scene("sign-up", "/sign-up"),
        Scene("log-in", "/log-in"),
        Scene("not-found", "/nowhere"),
        Scene("match-not-seen", f"/matches/{'0' * 24}", ada),
        Scene("style", "/style"),
        Scene("games", "/games", ada),
        Scene("game", f"/games/{game_id}", ada),
        Scene("new-match", f"/matches/new?game={game_id}", ada),
        Scene("matches", "/matches", ada),
        Scene("matches-open", "/matches?show=open", ada),
        Scene("room-filling", f"/matches/{filling}", ada),
        Scene("room-invited", f"/matches/{filling}", bea),
        Scene("room-live", f"/matches/{live}", ada),
        Scene("room-won", f"/matches/{finished}", ada),
        Scene("room-lost", f"/matches/{lost}", ada),
        Scene("room-drawn", f"/matches/{drawn}", ada),
        Scene("room-teams", f"/matches/{teams}", ada),
        Scene("no-link", "/join?link=nowhere", ada),
        Scene("room-refused", f"/matches/{refused}", ada),
        Scene("player", "/players/ada", ada),
        Scene("player-other", "/players/bea", ada),
        Scene("notifications", "/notifications", ada),
        Scene("wallet", "/wallet", ada),
        Scene("wallet-filtered", "/wallet?kind=fees&from=2020-01-01", ada),
        Scene("wallet-payments", "/wallet?show=payments", ada),
        Scene("settings", "/settings", ada),
        Scene("choices", "/settings/notifications", ada),
        Scene("security", "/security", ada),
        Scene("forgot-password", "/forgot-password"),
        Scene("reset-password-over", "/reset-password?token=used"),
        Scene("verify-email", "/verify-email?token=any"),
        *studio_scenes(server, refusing.client_id, game_id, finished),
        *operator_scenes(server, game_id, live, refused, bea.user_id),
    ]


def operator_scenes(server: Server, game_id: str, live: str, refused: str, user_id: str) -> list[Scene]:
    """The console: a match that is live and one that its game refused, and a player."""
    session = ("oklp_operator", server.operator.headers["Authorization"].removeprefix("Bearer "))
    delivery = server.operator.get("/deliveries", params={"state": "failed"}).json()["deliveries"][0]["delivery_id"]
    pages = {
        "overview": "",
        "search": "/search?q=game",
        "games": "/games",
        "game": f"/games/{game_id}",
        "players": "/players",
        "player": f"/players/{user_id}",
        "matches": "/matches",
        "match-live": f"/matches/{live}",
        "match-refused": f"/matches/{refused}",
        "deliveries": "/deliveries",
        "delivery": f"/deliveries/{delivery}",
        "ledger": "/ledger",
        "books": "/books",
        "audit": "/audit",
        "health": "/health",
        "approvals": "/approvals",
        "team": "/team",
        "teammate": f"/team/{server.operator.get('/me').json()['operator_id']}",
    }
    return [
        Scene("operator-log-in", "/operator/log-in"),
        *(Scene(f"operator-{name}", f"/operator{path}", session=session) for name, path in pages.items()),
    ]


def studio_scenes(server: Server, game_id: str, busy_id: str, match_id: str) -> list[Scene]:
    """The portal of the test studio: a game whose webhooks fail, and one that is played."""
    busy = f"/studio/games/{busy_id}"
    base = f"/studio/games/{game_id}"
    failed = server.studio.get(f"/games/{game_id}/deliveries").json()["deliveries"][0]["delivery_id"]
    report = server.studio.post(f"/games/{game_id}/conformance-reports", json=REPORT).json()["report_id"]
    server.studio.post(f"/games/{game_id}/faults", json={"kind": "finish_503", "times": 3})
    second = {"username": "dora", "email": "dora@example.org", "password": PASSWORD, "role": "developer"}
    server.studio.post("/members", json=second)
    session = ("oklp_studio", server.studio.headers["Authorization"].removeprefix("Bearer "))
    pages = {
        "overview": "/studio",
        "you": "/studio/you",
        "new-game": "/studio/new-game",
        "game": base,
        "game-settings": f"{base}/settings",
        "webhooks": f"{base}/webhooks",
        "webhook": f"{base}/webhooks/{failed}",
        "matches": f"{busy}/matches",
        "match": f"{busy}/matches/{match_id}",
        "figures": f"{busy}/figures",
        "log": f"{busy}/log",
        "reports": f"{base}/conformance",
        "report": f"{base}/conformance/{report}",
        "faults": f"{base}/faults",
        "guide": f"{base}/guide",
        "members": "/studio/members",
    }
    return [
        Scene("studio-landing", "/studio"),
        Scene("studio-sign-up", "/studio/sign-up"),
        *(Scene(f"studio-{name}", path, session=session) for name, path in pages.items()),
    ]


def log_in(page: Page, username: str) -> None:
    page.goto("/log-in")
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("main").get_by_role("button", name="Log in", exact=True).click()
    page.wait_for_url("**/games")


def take(browser: Browser, server: Server, scenes: list[Scene], folder: Path, language: str) -> Times:
    """The pictures; returned are the milliseconds to content, by page and by variant."""
    times: Times = {scene.name: {} for scene in scenes}
    people = list(dict.fromkeys(scene.seen_by for scene in scenes))
    for device, options in DEVICES.items():
        for scheme in ("light", "dark"):
            for person in people:
                context = browser.new_context(base_url=server.url, color_scheme=scheme, **options)
                page = context.new_page()
                if isinstance(person, str):
                    log_in(page, person)
                elif isinstance(person, tuple):
                    context.add_cookies([{"name": person[0], "value": person[1], "url": server.url}])
                context.add_cookies([{"name": LANGUAGE, "value": language, "url": server.url}])
                for scene in scenes:
                    if scene.seen_by == person:
                        page.goto(scene.path, wait_until="load")
                        page.wait_for_function(FIRST_CONTENT)
                        times[scene.name][f"{device}-{scheme}"] = page.evaluate(FIRST_CONTENT)
                        page.screenshot(path=folder / f"{scene.name}-{device}-{scheme}.png", full_page=True)
                context.close()
    return times


def say(times: Times) -> None:
    """The slowest pages, each by the median of its variants: the first of a visit also fetches the style sheet."""
    typical = {name: statistics.median(each.values()) for name, each in times.items()}
    slowest = sorted(typical, key=typical.__getitem__, reverse=True)
    print(f"to content: {statistics.median(typical.values()):.0f} ms, half of the pages sooner; the slowest are")
    for name in slowest[:5]:
        print(f"  {name}: {typical[name]:.0f} ms, at most {max(times[name].values()):.0f}")
    late = sorted(name for name, each in times.items() if max(each.values()) > MOST_MILLISECONDS)
    print(f"later than {MOST_MILLISECONDS} ms: {', '.join(late) or 'none'}")


def take_factors(browser: Browser, server: Server, folder: Path, language: str) -> None:
    """The pages of second factors come one after the other: an app from its QR code to the next log-in."""
    for device, options in DEVICES.items():
        for scheme in ("light", "dark"):
            player = PlayerClient(server.url)
            context = browser.new_context(base_url=server.url, color_scheme=scheme, **options)
            page = context.new_page()
            log_in(page, player.username)
            context.add_cookies([{"name": LANGUAGE, "value": language, "url": server.url}])

            def picture(name: str, page: Page = page, variant: str = f"{device}-{scheme}") -> None:
                page.screenshot(path=folder / f"{name}-{variant}.png", full_page=True)

            page.goto("/security")
            page.locator("#factors details > summary").click()
            page.locator("#factors [name=factor_password]").fill(PASSWORD)
            page.locator("#factors [type=submit], #factors .button:not([formaction])").first.click()
            secret = page.locator("code.secret").inner_text().replace(" ", "")
            picture("factor-app")
            page.locator("[name=code]").fill(pyotp.TOTP(secret).now())
            page.locator("main form .button").click()
            page.locator(".codes").wait_for()
            picture("factor-codes")
            page.goto("/security")
            picture("factor-security")
            context.clear_cookies(name=re.compile("^(?!" + LANGUAGE + ")"))
            page.goto("/log-in")
            page.locator("[name=username]").fill(player.username)
            page.locator("[name=password]").fill(PASSWORD)
            page.locator("main form .button").first.click()
            page.locator("[name=code]").wait_for()
            picture("factor-second-step")
            context.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="a part of the names of the pages wanted")
    parser.add_argument("--language", default="en", choices=("en", "de"))
    parser.add_argument("--out", type=Path, default=Path("build/screenshots"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(f"sqlite:///{folder}/oklp.db", Path(folder), "--sandbox") as server,
        chromium() as browser,
    ):
        wanted = [scene for scene in scenes(server) if options.only in scene.name]
        times = take(browser, server, wanted, options.out, options.language)
        if options.only in "factor-":
            take_factors(browser, server, options.out, options.language)
    print(f"{len(wanted)} pages in {options.out}")
    if times:
        (options.out / "times.json").write_text(json.dumps(times, indent=1))
        say(times)


if __name__ == "__main__":
    main()

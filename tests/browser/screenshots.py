"""Pictures of every page, on a desktop and a phone, light and dark: for eyes, not for comparing. With them, how long
each page takes until there is something to see, as the browser counts it from the click (first contentful paint); the
status is 1 when one is late.

make screenshots                       into build/screenshots/, the times into times.json there
make screenshots ARGS="--only room"    those whose name has `room` in it
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import re
import socket
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pyotp
from playwright.sync_api import Browser, Page

from oklp.web.languages import LANGUAGE
from tests.browser.for_everyone import MOST_MILLISECONDS, send_refused, until_content
from tests.browser.test_identity import way_out_of_mails
from tests.browser.test_site import enter
from tests.browser.tile_rush import chromium
from tests.harness import PASSWORD, GameClient, GameConfig, PlayerClient, Server, paid_match, serving
from tests.web.test_account_api import mail_to, token_in
from tests.web.test_authorisation import REPORT

DEVICES: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 800}},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
}

Times = dict[str, dict[str, float]]


class Scene(NamedTuple):
    """A page to look at; `who` is logged in there. `then` is what is done on it before the picture is taken."""

    name: str
    path: str
    who: PlayerClient | httpx.Client | None = None
    then: Callable[[Page], None] | None = None


# --- what is done on a page ------------------------------------------------------------------------------------------

_numbers = itertools.count(1)


def open_dialog(page: Page, name: str) -> None:
    page.locator(f"#{name} > summary").click()
    page.locator("dialog[open]").wait_for()


def refuse_reason(page: Page) -> None:
    """Of an operator, for calling a match off: with what can be read by nobody."""
    open_dialog(page, "abort")
    page.locator("dialog [name=reason]").fill("The game's server is gone.\x07")
    page.locator("dialog .button").first.click()
    page.locator("dialog [aria-invalid]").wait_for()


def register(page: Page, steps: int) -> None:
    """A game, so many steps on; the fifth leads to the page with its secrets."""
    filled = (
        ("name", f"Tile Rush {next(_numbers)}"),
        ("webhook_url", "https://tile.example/oklp/match"),
        ("browser", "https://tile.example/play?token={match-token}"),
        ("fee", "12.5"),
    )
    for name, text in filled[:steps]:
        page.locator(f"[name={name}]").fill(text)
        page.locator("[name=go][value=next]").click()
        page.locator(f"[type=hidden][name={name}]").wait_for(state="attached")
    if steps > len(filled):
        page.locator("[name=go][value=register]").click()
        page.locator(".snippet, pre").first.wait_for()


# --- what there is to see --------------------------------------------------------------------------------------------


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
    cancelled = ada.create(game_id, 350)
    ada.act(cancelled, "confirm")
    ada.act(cancelled, "cancel")
    filling = ada.create(game_id, 750, invite=["bea"], visibility="public")
    bea.create(game_id, 200, teams=4, visibility="public")
    teams = bea.create(game_id, 200, team_size=2, visibility="public")
    ada.must(201, "POST", "/wallet/withdrawals", {"amount": 2_000, "currency": "XTS"})
    return [
        Scene("landing", "/"),
        Scene("sign-up", "/sign-up"),
        Scene("sign-up-refused", "/sign-up", then=send_refused),
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
        Scene("room-cancelled", f"/matches/{cancelled}", ada),
        Scene("room-leaving", f"/matches/{filling}", ada, functools.partial(open_dialog, name="leave")),
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
        Scene("reset-password", f"/reset-password?token={link_of_reset(server, ada)}"),
        Scene("reset-password-over", "/reset-password?token=used"),
        Scene("verify-email", "/verify-email?token=any"),
        Scene("unsubscribe", way_out_of_mails(server).removeprefix(server.url)),
        *studio_scenes(server, refusing.client_id, game_id, finished),
        *operator_scenes(server, game_id, refusing.client_id, live, refused, bea.user_id),
        *scenes_of_decisions(server, game),
    ]


def link_of_reset(server: Server, player: PlayerClient) -> str:
    email = player.must(200, "GET", "/me")["email"]
    assert player.call("POST", "/password-resets", {"name_or_email": email}).status_code == 202
    return token_in(server, mail_to(server, email, "password-reset"), "/reset-password")


def scenes_of_decisions(server: Server, game: GameConfig) -> list[Scene]:
    """What operators decide: a proposal that waits for a second one, a player who is suspended and whose winnings are
    held, a match that was called off; each with what players see of it.
    """
    cal, dee = PlayerClient(server.url, "cal", 80_000), PlayerClient(server.url, "dee", 80_000)
    waiting, held, stopped = (paid_match(cal, dee, game.client_id, fee) for fee in (30_000, 1_500, 600))
    proposal = {"reason": "The game's server has been away since noon, and the studio does not answer."}
    assert server.new_operator().post(f"/matches/{waiting}/abort", json=proposal).status_code == 202
    decision = {"action": "suspend", "reason": "Two accounts of one person, as it seems."}
    assert server.operator.post(f"/players/{cal.user_id}", json=decision).status_code == 200
    back_end = GameClient(server.url, game)
    assert back_end.finish(back_end.report(held, cal.user_id)).status_code == 200
    reason = {"reason": "The studio asked for it."}
    assert server.operator.post(f"/matches/{stopped}/abort", json=reason).status_code == 200
    shut = server.register(discovery="pull").client_id
    suspension = {"decision": "suspend", **reason}
    assert server.operator.post(f"/games/{shut}/vetting", json=suspension).status_code == 200
    return [
        Scene("game-not-offered", f"/games/{shut}", dee),
        Scene("room-held", f"/matches/{held}", cal),
        Scene("wallet-held", "/wallet", cal),
        Scene("room-called-off", f"/matches/{stopped}", dee),
        Scene("operator-approvals-waiting", "/operator/approvals", server.operator),
        Scene("operator-match-waiting", f"/operator/matches/{waiting}", server.operator),
        Scene("operator-match-called-off", f"/operator/matches/{stopped}", server.operator),
        Scene("operator-player-held", f"/operator/players/{cal.user_id}", server.operator),
    ]


def operator_scenes(
    server: Server, game_id: str, refusing_id: str, live: str, refused: str, user_id: str
) -> list[Scene]:
    """The console: a game and one that refuses, a match of each, and a player."""
    operator = server.operator
    delivery = operator.get("/deliveries", params={"state": "failed"}).json()["deliveries"][0]["delivery_id"]
    report = server.studio.get(f"/games/{refusing_id}/conformance-reports").json()["reports"][0]["report_id"]
    pages = {
        "overview": "",
        "search": "/search?q=game",
        "games": "/games",
        "game": f"/games/{game_id}",
        "report": f"/games/{refusing_id}/reports/{report}",
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
        "teammate": f"/team/{operator.get('/me').json()['operator_id']}",
        "security": "/security",
    }
    match = f"/operator/matches/{live}"
    return [
        Scene("operator-log-in", "/operator/log-in"),
        *(Scene(f"operator-{name}", f"/operator{path}", operator) for name, path in pages.items()),
        Scene("operator-match-settling", match, operator, functools.partial(open_dialog, name="settle")),
        Scene("operator-match-reason-refused", match, operator, refuse_reason),
    ]


def studio_scenes(server: Server, game_id: str, busy_id: str, match_id: str) -> list[Scene]:
    """The portal of the test studio: a game whose webhooks fail, and one that is played."""
    studio = server.studio
    busy = f"/studio/games/{busy_id}"
    base = f"/studio/games/{game_id}"
    failed = studio.get(f"/games/{game_id}/deliveries").json()["deliveries"][0]["delivery_id"]
    report = studio.post(f"/games/{game_id}/conformance-reports", json=REPORT).json()["report_id"]
    studio.post(f"/games/{game_id}/faults", json={"kind": "finish_503", "times": 3})
    second = {"username": "dora", "email": "dora@example.org", "password": PASSWORD, "role": "developer"}
    studio.post("/members", json=second)
    pages = {
        "overview": "/studio",
        "you": "/studio/you",
        "security": "/studio/security",
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
    steps = ("webhook", "launch", "rules", "look", "secrets")
    return [
        Scene("studio-landing", "/studio"),
        Scene("studio-sign-up", "/studio/sign-up"),
        Scene("studio-log-in", "/studio/log-in"),
        *(Scene(f"studio-{name}", path, studio) for name, path in pages.items()),
        *(
            Scene(f"studio-new-game-{name}", "/studio/new-game", studio, functools.partial(register, steps=number))
            for number, name in enumerate(steps, 1)
        ),
        Scene("studio-new-game-refused", "/studio/new-game", studio, send_refused),
        Scene("studio-webhooks-test", f"{base}/webhooks", studio, functools.partial(open_dialog, name="test")),
    ]


# --- taking them -----------------------------------------------------------------------------------------------------


def take(browser: Browser, server: Server, scenes: list[Scene], folder: Path, language: str) -> Times:
    """The pictures; returned are the milliseconds to content, by page and by variant."""
    times: Times = {scene.name: {} for scene in scenes}
    people = list(dict.fromkeys(scene.who for scene in scenes))
    for device, options in DEVICES.items():
        for scheme in ("light", "dark"):
            for person in people:
                context = browser.new_context(base_url=server.url, color_scheme=scheme, **options)
                context.add_cookies([{"name": LANGUAGE, "value": language, "url": server.url}])
                page = context.new_page()
                if isinstance(person, PlayerClient):
                    enter(page, "player", person.http)
                elif person is not None:
                    enter(page, "studio" if person is server.studio else "operator", person)
                for scene in (each for each in scenes if each.who is person):
                    page.goto(scene.path, wait_until="load")
                    times[scene.name][f"{device}-{scheme}"] = until_content(page)
                    if scene.then is not None:
                        scene.then(page)
                    page.screenshot(path=folder / f"{scene.name}-{device}-{scheme}.png", full_page=True)
                context.close()
    return times


def say(times: Times) -> bool:
    """The slowest pages, each by the median of its variants: the first of a visit also fetches the style sheet. Whether
    none is late.
    """
    typical = {name: statistics.median(each.values()) for name, each in times.items()}
    slowest = sorted(typical, key=typical.__getitem__, reverse=True)
    print(f"to content: {statistics.median(typical.values()):.0f} ms, half of the pages sooner; the slowest are")
    for name in slowest[:5]:
        print(f"  {name}: {typical[name]:.0f} ms, at most {max(times[name].values()):.0f}")
    late = sorted(name for name, each in times.items() if max(each.values()) > MOST_MILLISECONDS)
    print(f"later than {MOST_MILLISECONDS} ms: {', '.join(late) or 'none'}")
    return not late


def take_factors(browser: Browser, server: Server, folder: Path, language: str) -> None:
    """The pages of second factors come one after the other: an app from its QR code to the next log-in."""
    for device, options in DEVICES.items():
        for scheme in ("light", "dark"):
            player = PlayerClient(server.url)
            context = browser.new_context(base_url=server.url, color_scheme=scheme, **options)
            page = context.new_page()
            enter(page, "player", player.http)
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
        serving(f"sqlite:///{folder}/oklp.db", Path(folder), "--sandbox", OKLP_APPROVAL_ABOVE="50000") as server,
        chromium() as browser,
    ):
        wanted = [scene for scene in scenes(server) if options.only in scene.name]
        times = take(browser, server, wanted, options.out, options.language)
        if options.only in "factor-":
            take_factors(browser, server, options.out, options.language)
    print(f"{len(wanted)} pages in {options.out}")
    if times:
        (options.out / "times.json").write_text(json.dumps(times, indent=1))
        sys.exit(0 if say(times) else 1)


if __name__ == "__main__":
    main()

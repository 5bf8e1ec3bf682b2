"""Whole matches of Tile Rush in Chromium, on a real platform."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.tile_rush import GameServer, Person, launch_url, live_match, person, playing
from tests.harness import Server

PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
RUN_SECONDS = 12


@pytest.fixture(scope="module")
def game(platform: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GameServer]:
    with playing(platform, tmp_path_factory.mktemp("game"), RUN_SECONDS) as running:
        yield running


def test_a_person_plays_a_match_against_a_bot_and_is_paid(game: GameServer, browser: Browser) -> None:
    winner, loser, match_id = live_match(game)
    bot = game.bot(launch_url(loser, match_id), "--skill", "0", "--think-ms", "3000", "4000", "--seed", "1")
    with person(browser) as somebody:
        page = somebody.page
        page.goto(launch_url(winner, match_id))
        assert "token" not in page.url
        expect(page.get_by_role("heading", name=f"{RUN_SECONDS} seconds. Most points win.")).to_be_visible()
        somebody.start()
        somebody.tap_best(5)
        score = somebody.await_outcome(RUN_SECONDS + 10)
        expect(page.locator('[data-id="report"]')).to_have_text(
            re.compile("The platform has your score"), timeout=20_000
        )
        back = page.get_by_role("link", name="Back to the match").last
        expect(back).to_have_attribute("href", f"{game.platform.url}/docs?match={match_id}")
        assert all(url.startswith(game.url) for url in somebody.asked), "nothing is asked of anybody else"
    said, errors = bot.communicate(timeout=60)
    assert bot.returncode == 0, errors
    of_bot = json.loads(said)
    assert (of_bot["phase"], of_bot["refusal"], of_bot["report"]) == ("over", None, "accepted")
    assert of_bot["score"] < score

    match = winner.await_status(match_id, "finished")
    scores = {team["members"][0]["user_id"]: team["score"] for team in match["teams"]}
    assert scores == {winner.user_id: score, loser.user_id: of_bot["score"]}
    # Two fees of 500 and a tenth of them for the platform.
    assert match["winnings"] == [{"user_id": winner.user_id, "amount": 900}]
    assert (winner.available(), loser.available()) == (10_000 - 500 + 900, 10_000 - 500)


def test_a_start_without_an_answer_is_told_truly(game: GameServer, browser: Browser) -> None:
    """It may be lost on its way to the server, or on its way back, when the clock runs already."""

    def lose_the_answer(route: Route) -> None:
        route.fetch()
        route.abort()

    one, _, match_id = live_match(game)
    with person(browser) as somebody:
        page = somebody.page
        page.goto(launch_url(one, match_id))
        said = page.locator('[data-id="intro-problem"]')
        page.route("**/start", lambda route: route.abort())
        page.get_by_role("button", name="Start").click()
        expect(said).to_contain_text("your clock is not running yet")
        page.unroute("**/start")
        page.route("**/start", lose_the_answer)
        page.route("**/state", lambda route: route.abort())
        page.get_by_role("button", name="Start").click()
        expect(said).to_contain_text("your clock may be running")
        expect(page.get_by_role("button", name="Start")).to_be_enabled()
        page.unroute("**/state")
        somebody.await_clock()
        somebody.tap_best(1)
        assert all("ERR_FAILED" in fault for fault in somebody.faults), somebody.faults
        somebody.faults.clear()


def test_a_reload_goes_on_where_the_run_was(game: GameServer, browser: Browser) -> None:
    one, _, match_id = live_match(game)
    with person(browser, **PHONE) as somebody:
        somebody.page.goto(launch_url(one, match_id))
        somebody.start()
        somebody.tap_best(3)
        before = somebody.score()
        # What was not sent yet goes out as the page is left.
        somebody.page.reload()
        somebody.await_clock()
        expect(somebody.page.locator('[data-id="score"]')).to_have_text(f"{before:,}")
        somebody.tap_best(1)
        here = somebody.score()
        somebody.page.goto(launch_url(one, match_id))
        expect(somebody.page.locator('[data-id="score"]')).to_have_text(f"{here:,}")
        assert somebody.await_outcome(RUN_SECONDS + 10) == here
        somebody.page.goto(launch_url(one, match_id))
        assert somebody.await_outcome(5) == here, "a run that is over is shown, and not played again"
        # What is under way when a page is left is broken off.
        assert all("ERR_ABORTED" in fault for fault in somebody.faults)
        somebody.faults.clear()


def test_a_killed_server_and_a_lost_connection_lose_no_tap(platform: Server, browser: Browser, tmp_path: Path) -> None:
    with playing(platform, tmp_path, 25) as game, person(browser) as somebody:
        one, _, match_id = live_match(game)
        page = somebody.page
        page.goto(launch_url(one, match_id))
        somebody.start()
        somebody.tap_best(3)
        game.kill()
        somebody.tap_best(2)
        expect(page.get_by_role("alert").first).to_contain_text("Connection lost", timeout=10_000)
        game.start()
        expect(page.get_by_role("alert").first).to_be_hidden(timeout=10_000)
        page.context.set_offline(True)
        somebody.tap_best(1)
        expect(page.get_by_role("alert").first).to_be_visible(timeout=10_000)
        page.context.set_offline(False)
        here = somebody.score()
        assert somebody.await_outcome(40) == here, "the server has all six taps"
        expect(page.locator('[data-id="outcome-details"]')).to_contain_text("6 taps")
        expect(page.locator('[data-id="report"]')).to_contain_text("has your score", timeout=20_000)
        assert all("/log" in fault or "ERR_" in fault for fault in somebody.faults)
        somebody.faults.clear()


def test_a_tampered_log_is_refused_and_the_page_says_so(game: GameServer, browser: Browser) -> None:
    one, two, match_id = live_match(game)
    with person(browser) as somebody:
        page = somebody.page
        page.goto(launch_url(one, match_id))
        somebody.start()
        somebody.tap_best(2)
        honest = somebody.score()
        page.reload()
        somebody.await_clock()
        # As from the console of a page: a hundred taps in the same moment.
        answer = page.evaluate(
            """async (base) => {
                const { tiles, have, elapsed_ms } = await (await fetch(`${base}/state`)).json();
                const taps = Array.from({ length: 90 }, (_, n) => [elapsed_ms, n % 7, n % 8]);
                const body = JSON.stringify({ tiles, from: have, taps, score: 1e9 });
                const headers = { "content-type": "application/json" };
                return (await fetch(`${base}/log`, { method: "POST", headers, body })).json();
            }""",
            page.url,
        )
        assert (answer["phase"], answer["score"]) == ("over", honest)
        page.locator(".cell").nth(somebody.best()[0]).click()
        expect(page.locator('[data-id="refused"]')).to_contain_text("The log of this run was refused", timeout=10_000)
        expect(page.locator('[data-id="refused"]')).to_contain_text("2 taps before")
        assert somebody.await_outcome(5) == honest
    bot = game.bot(launch_url(two, match_id), "--skill", "1", "--think-ms", "300", "500")
    assert bot.wait(60) == 0
    match = two.await_status(match_id, "finished")
    assert {team["members"][0]["user_id"]: team["score"] for team in match["teams"]}[one.user_id] == honest


def test_practice_needs_no_token_and_the_keyboard_is_enough(game: GameServer, browser: Browser) -> None:
    with person(browser, reduced_motion="reduce") as somebody:
        page = somebody.page
        page.clock.install()
        page.goto(f"{game.url}/practice")
        page.keyboard.press("Enter")
        page.clock.run_for(3_500)
        somebody.await_clock()
        for _ in range(3):
            walk_to(page, somebody.best()[0])
            before = somebody.score()
            page.keyboard.press("Space")
            page.clock.run_for(300)
            assert somebody.score() > before
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", "the focus can be seen"
        page.clock.run_for(75_000)
        score = somebody.await_outcome(5)
        assert score > 0
        expect(page.locator('[data-id="report"]')).to_have_text("Your best so far.")
        page.get_by_role("button", name="Play again").click()
        page.clock.run_for(80_000)
        expect(page.locator('[data-id="report"]')).to_have_text(f"Your best so far: {score:,}")
        assert {url.removeprefix(game.url).split("/")[1] for url in somebody.asked} == {"practice", "static"}


def walk_to(page: Page, cell: int) -> None:
    """With the arrow keys."""
    here = page.evaluate("[...document.querySelectorAll('.cell')].indexOf(document.activeElement)")
    assert here >= 0
    (row, column), (to_row, to_column) = divmod(here, 7), divmod(cell, 7)
    for _ in range(abs(to_row - row)):
        page.keyboard.press("ArrowDown" if to_row > row else "ArrowUp")
    for _ in range(abs(to_column - column)):
        page.keyboard.press("ArrowRight" if to_column > column else "ArrowLeft")


# The contrast of each text with what is painted behind it, and its size in pixels (WCAG 2.2, 1.4.3).
CONTRASTS = """() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => rgb.slice(0, 3).reduce((sum, value, index) => {
    const part = value / 255;
    return sum + [0.2126, 0.7152, 0.0722][index] * (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  }, 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const [r, g, b, a = 1] = parse(getComputedStyle(at).backgroundColor);
      if (a === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll("body *")].filter((element) =>
    element.checkVisibility({ checkVisibilityCSS: true }) && !element.closest(".unseen, .effects, .stage.over .play") &&
    [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim())
  ).map((element) => {
    const style = getComputedStyle(element);
    const [a, b] = [light(parse(style.color)), light(behind(element))].sort((one, other) => other - one);
    return [element.textContent.trim().slice(0, 40), (a + 0.05) / (b + 0.05), parseFloat(style.fontSize)];
  });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["phone", "desktop"])
def test_every_text_can_be_read_and_nothing_sticks_out(
    game: GameServer, browser: Browser, scheme: str, size: str
) -> None:
    options = PHONE if size == "phone" else {"viewport": {"width": 1280, "height": 800}}
    with person(browser, color_scheme=scheme, **options) as somebody:
        page = somebody.page
        page.clock.install()
        for address in ("/", "/practice"):
            page.goto(f"{game.url}{address}", wait_until="networkidle")
            page.clock.run_for(500)
            check_page(page)
        page.get_by_role("button", name="Start").click()
        page.clock.run_for(3_500)
        check_page(page)
        assert page.evaluate("document.documentElement.scrollHeight <= innerHeight"), "a run needs no scrolling"
        boxes = page.locator(".cell").evaluate_all("cells => cells.map((cell) => cell.getBoundingClientRect().width)")
        assert min(boxes) >= 44, "tiles are large enough for a thumb"
        page.clock.run_for(75_000)
        check_page(page)


def check_page(page: Page) -> None:
    found = page.evaluate(CONTRASTS)
    assert found
    assert [each for each in found if each[1] < (3 if each[2] >= 24 else 4.5)] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_link_that_is_worth_nothing_is_told_kindly(game: GameServer, browser: Browser) -> None:
    with person(browser) as somebody:
        page = somebody.page
        page.goto(f"{game.url}/play?token=nonsense")
        expect(page.get_by_role("heading")).to_have_text("This link is no longer valid")
        expect(page.get_by_role("link", name="Back to the platform")).to_be_visible()
        assert all("404" in fault for fault in somebody.faults), "the page itself, and nothing else"
        somebody.faults.clear()


def test_a_match_that_is_called_off_while_it_is_played(game: GameServer, browser: Browser) -> None:
    one, _, match_id = live_match(game)
    with person(browser) as somebody:
        page = somebody.page
        page.goto(launch_url(one, match_id))
        somebody.start()
        answer = game.platform.operator.post(f"/matches/{match_id}/abort", json={"reason": "a test"})
        assert answer.status_code == 200, answer.text
        tap_until_called_off(somebody)
        expect(page.locator('[data-id="outcome-details"]')).to_contain_text("All entry fees went back")
        assert all("409" in fault for fault in somebody.faults)
        somebody.faults.clear()
    assert one.available() == 10_000


def tap_until_called_off(somebody: Person) -> None:
    """The page learns of it with the answer to its next taps."""
    called_off = somebody.page.get_by_role("heading", name="Match called off")
    for _ in range(8):
        if called_off.is_visible():
            return
        somebody.page.locator(".cell").nth(somebody.best()[0]).dispatch_event("pointerdown", {"button": 0})
        somebody.page.wait_for_timeout(600)
    expect(called_off).to_be_visible()

"""Reversi in Chromium: whole matches on a real platform, for money, and what the page does for whom."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Response,
    WebSocketRoute,
    expect,
)

from tests.games.reversi_house import GameServer
from tests.games.test_reversi import bot
from tests.harness import PlayerClient, Server, paid_match

FEE = 500
PRIZE = 900
"""Both fees, less the platform's tenth."""

DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "color_scheme": "dark",
    "has_touch": True,
    "is_mobile": True,
    "reduced_motion": "reduce",
}


@pytest.fixture(scope="module")
def game(platform: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GameServer]:
    folder = tmp_path_factory.mktemp("game")
    server = GameServer({}, folder)
    out = folder / "registered.json"
    platform.cli(
        *("game", "register", "--name", "Reversi", "--out", str(out)),
        *("--webhook-url", f"{server.url}/oklp/match"),
        *("--browser-url", f"{server.url}/play?token={{match-token}}"),
    )
    server.config = json.loads(out.read_text())
    server.start()
    yield server
    server.stop()


@contextlib.contextmanager
def page_of(browser: Browser, options: dict[str, Any], faults_allowed: str = "") -> Iterator[Page]:
    """A page in a browser of its own. Whatever goes wrong in it fails the test: errors in the console, requests that
    fail, answers that are errors, and requests to anybody but the game. What matches `faults_allowed` may.
    """
    context: BrowserContext = browser.new_context(**options)
    faults: list[str] = []
    # A picture that is still on its way when the page is left.
    harmless = rf"icon\.svg net::ERR_ABORTED{'|' if faults_allowed else ''}{faults_allowed}"
    page = context.new_page()

    def on_console(said: ConsoleMessage) -> None:
        if said.type in ("error", "warning"):
            faults.append(said.text)

    def on_response(answer: Response) -> None:
        if answer.status >= 400:
            faults.append(f"{answer.url} {answer.status}")

    def on_request(request: Request) -> None:
        if not request.url.startswith("http://127.0.0.1:"):
            faults.append(f"asks {request.url}")

    page.on("console", on_console)
    page.on("response", on_response)
    page.on("request", on_request)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("requestfailed", lambda request: faults.append(f"{request.url} {request.failure}"))
    try:
        yield page
    finally:
        context.close()
    assert [fault for fault in faults if not re.search(harmless, fault)] == []


def launch_url(player: PlayerClient, match_id: str) -> str:
    answer = player.must(200, "POST", f"/matches/{match_id}/launch", {"platform": "browser"})
    return str(answer["launch_url"])


@contextlib.contextmanager
def live_match(platform: Server, game: GameServer) -> Iterator[tuple[str, PlayerClient, PlayerClient]]:
    one, two = (PlayerClient(platform.url) for _ in range(2))
    match_id = paid_match(one, two, game.config["authentication"]["client_id"], FEE)
    one.await_status(match_id, "live")
    yield match_id, one, two


def await_turn(page: Page) -> bool:
    """Wait until it is the person's turn, or the match is over. Whether there is a move to make."""
    page.locator(".player.you.turn, .outcome:not([hidden])").first.wait_for(timeout=60_000)
    return not page.locator(".outcome").is_visible()


def moves_made(page: Page) -> int:
    return page.locator("[data-id=moves] li").count()


def play_by_pointer(page: Page, tap: bool) -> None:
    before = moves_made(page)
    cell = page.locator(".cell.legal").first
    if tap:
        cell.tap()
    else:
        cell.click()
    expect(page.locator("[data-id=moves] li").nth(before)).to_be_attached(timeout=10_000)


def play_by_keyboard(page: Page) -> None:
    """Walk over the grid to the last legal square with the arrow keys, and press Enter."""
    before = moves_made(page)
    goal = page.locator(".cell.legal").last.get_attribute("data-square") or ""
    page.locator(".cell[tabindex='0']").focus()
    for _ in range(14):
        here = page.locator(".cell:focus").get_attribute("data-square") or ""
        if here == goal:
            break
        if here[0] != goal[0]:
            page.keyboard.press("ArrowRight" if here[0] < goal[0] else "ArrowLeft")
        else:
            page.keyboard.press("ArrowDown" if here[1] < goal[1] else "ArrowUp")
    page.keyboard.press("Enter")
    expect(page.locator("[data-id=moves] li").nth(before)).to_be_attached(timeout=10_000)


@pytest.mark.parametrize("way", ["pointer", "keyboard", "touch"])
def test_a_whole_match_against_the_bot_pays_the_winner(
    way: str, browser: Browser, platform: Server, game: GameServer
) -> None:
    with live_match(platform, game) as (match_id, person, machine):
        process = bot(launch_url(machine, match_id), "--level", "easy")
        before = person.available(), machine.available()
        with page_of(browser, PHONE if way == "touch" else DESKTOP) as page:
            page.goto(launch_url(person, match_id))
            while await_turn(page):
                if way == "keyboard":
                    play_by_keyboard(page)
                else:
                    play_by_pointer(page, tap=way == "touch")
            expect(page.locator("[data-id=outcome-paid]")).to_contain_text("The platform has the result")
            title = page.locator("[data-id=outcome-title]").inner_text()
            discs = [int(page.locator(f"[data-id={who}-discs]").inner_text()) for who in ("you", "them")]
            assert page.get_by_role("link", name="Rematch on the platform").get_attribute("href") == f"{platform.url}/"
        assert process.wait(30) == 0, process.communicate()
        match = person.await_status(match_id, "finished")
        scores = {team["members"][0]["user_id"]: team["score"] for team in match["teams"]}
        assert scores == dict(zip((person.user_id, machine.user_id), discs, strict=True))
        share = {True: PRIZE, False: 0}
        won = "You win" in title, "wins" in title
        gained = (PRIZE // 2, PRIZE // 2) if "draw" in title else (share[won[0]], share[won[1]])
        assert sum(gained) == PRIZE
        assert (person.available(), machine.available()) == (before[0] + gained[0], before[1] + gained[1])
    platform.books()


def test_the_page_comes_back_after_the_game_server_was_killed(
    browser: Browser, platform: Server, game: GameServer
) -> None:
    with live_match(platform, game) as (match_id, person, machine):
        process = bot(launch_url(machine, match_id), "--level", "easy")
        with page_of(browser, DESKTOP, faults_allowed="WebSocket|ERR_|Failed to load") as page:
            page.goto(launch_url(person, match_id))
            for _ in range(3):
                assert await_turn(page)
                play_by_pointer(page, tap=False)
            assert await_turn(page)
            made = moves_made(page)
            game.kill()
            expect(page.get_by_role("alert").filter(has_text="Connection lost")).to_be_visible()
            game.start()
            expect(page.locator("[data-id=offline]")).to_be_hidden(timeout=15_000)
            assert await_turn(page)
            assert moves_made(page) == made
            play_by_pointer(page, tap=False)
            page.reload()
            assert await_turn(page)
            page.get_by_role("button", name="Resign").click()
            page.get_by_role("dialog").get_by_role("button", name="Resign").click()
            expect(page.locator("[data-id=outcome-paid]")).to_contain_text("The platform has the result")
            # Long after, the board is still there to be looked at.
            page.reload()
            expect(page.locator("[data-id=outcome-text]")).to_contain_text("You resigned")
            assert moves_made(page) >= made + 1
        assert process.wait(30) == 0
        match = person.await_status(match_id, "finished")
        assert match["winnings"] == [{"user_id": machine.user_id, "amount": PRIZE}]


def test_a_connection_that_died_without_a_word_is_given_up(browser: Browser, game: GameServer) -> None:
    """It looks open, and nothing that is said comes through, as when a phone changes networks. The move that was made
    on it is played on the next one.
    """
    made: list[WebSocketRoute] = []
    dead: set[int] = set()

    def relay(board: WebSocketRoute) -> None:
        number, server = len(made), board.connect_to_server()
        made.append(board)
        board.on_message(lambda said: None if number in dead else server.send(said))
        server.on_message(lambda said: None if number in dead else board.send(said))

    def fall_silent(page: Page) -> None:
        page.clock.fast_forward(26_000)

    def come_online(page: Page) -> None:
        page.evaluate("dispatchEvent(new Event('online'))")

    def look_again(page: Page) -> None:
        page.clock.fast_forward(13_000)
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    with page_of(browser, DESKTOP) as page:
        page.route_web_socket(re.compile("/socket$"), relay)
        page.clock.install()
        page.goto(game.url)
        page.get_by_role("button", name="Easy").click()
        for number, notice in enumerate((fall_silent, come_online, look_again)):
            assert await_turn(page)
            assert len(made) == number + 1
            dead.add(number)
            before = moves_made(page)
            page.locator(".cell.legal").first.click()
            expect(page.locator(".cell.sent")).to_be_attached()
            notice(page)
            expect(page.locator("[data-id=moves] li").nth(before)).to_be_attached(timeout=10_000)
            expect(page.locator("[data-id=offline]")).to_be_hidden()


def test_who_cannot_be_let_in_is_told_so(browser: Browser, game: GameServer) -> None:
    with page_of(browser, PHONE, faults_allowed="404") as page:
        page.goto(f"{game.url}/play?token=expired")
        expect(page.get_by_role("heading", name="This link is no longer valid")).to_be_visible()
        expect(page.get_by_role("link", name="Back to the platform")).to_be_visible()


@pytest.mark.parametrize("options", [DESKTOP, PHONE, {**PHONE, "viewport": {"width": 320, "height": 568}}])
def test_practice_needs_no_token_and_fits_the_window(
    browser: Browser, game: GameServer, options: dict[str, Any]
) -> None:
    with page_of(browser, options) as page:
        page.goto(game.url)
        page.get_by_role("button", name="Easy").click()
        for _ in range(2):
            assert await_turn(page)
            play_by_pointer(page, tap="has_touch" in options)
        width = options["viewport"]["width"]
        for selector in ("html", ".frame", ".side"):
            box = page.locator(selector).bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
        cell = page.locator(".cell").first.bounding_box()
        assert cell is not None
        assert min(cell["width"], cell["height"]) >= 24, "WCAG 2.2, 2.5.8: the least size of a target"


def test_the_board_says_what_it_shows(browser: Browser, game: GameServer) -> None:
    """As assistive technology has it: a grid of named squares, one of them in the order of tabs."""
    with page_of(browser, DESKTOP) as page:
        page.goto(game.url)
        page.get_by_role("button", name="Easy").click()
        assert await_turn(page)
        grid = page.get_by_role("grid", name="Board")
        assert (grid.get_by_role("row").count(), grid.get_by_role("gridcell").count()) == (8, 64)
        names = [cell.get_attribute("aria-label") or "" for cell in grid.get_by_role("gridcell").all()]
        assert [name.split(",")[0] for name in names] == [
            f"{file}{rank}" for rank in range(1, 9) for file in "abcdefgh"
        ]
        legal = [name for name in names if "you can play here" in name]
        assert len(legal) == page.locator(".cell.legal").count() > 0
        assert page.locator(".cell[tabindex='0']").count() == 1
        for key, square in (("Control+Home", None), ("Home", "a"), ("End", "h"), ("PageUp", "h1"), ("PageDown", "h8")):
            page.locator(".cell[tabindex='0']").focus()
            page.keyboard.press(key)
            if square:
                assert (page.locator(".cell:focus").get_attribute("data-square") or "").startswith(square)
        page.keyboard.press("ArrowDown")
        assert page.locator(".cell:focus").get_attribute("data-square") == "h8"
        expect(page.get_by_role("status").first).to_contain_text("Your move")


def test_motion_is_left_out_for_who_wants_none(browser: Browser, game: GameServer) -> None:
    for motion, moved in (("reduce", False), ("no-preference", True)):
        with page_of(browser, {**DESKTOP, "reduced_motion": motion}) as page:
            page.goto(game.url)
            page.get_by_role("button", name="Easy").click()
            assert await_turn(page)
            lengths = page.locator(".cell.white:not(.placed) .disc").first.evaluate(
                "disc => getComputedStyle(disc).transitionDuration"
            )
            assert (lengths != "0s") == moved

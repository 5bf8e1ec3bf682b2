"""Pages that are open stay up to date: with what happens, with the session, and with whoever is logged in."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.browser.test_site import end_session, enter, log_in, visitor
from tests.harness import PlayerClient, Server

LOOK_AGAIN = "document.dispatchEvent(new Event('visibilitychange'))"


@pytest.fixture(scope="module")
def game_id(platform: Server) -> str:
    return platform.register(discovery="pull").client_id


def test_a_part_that_the_page_loses_comes_back_when_the_page_has_it_again(
    platform: Server, game_id: str, browser: Browser
) -> None:
    player = PlayerClient(platform.url)
    match_id = player.create(game_id, 500)
    path = f"**/matches/{match_id}"
    with visitor(browser) as somebody:
        page = somebody.page
        enter(page, "player", player.http)
        page.goto(f"{platform.url}/matches/{match_id}")
        sums = page.locator("#sums")
        expect(sums).to_contain_text("For the winners")

        def without_sums(route: Route) -> None:
            answer = route.fetch()
            route.fulfill(response=answer, body=answer.text().replace('id="sums"', 'id="other"'))

        page.route(path, without_sums)
        player.must(201, "POST", "/wallet/deposits", {"amount": 100, "currency": "XTS"})
        expect(sums).to_be_hidden()
        page.unroute(path)
        player.must(201, "POST", "/wallet/deposits", {"amount": 100, "currency": "XTS"})
        expect(sums).to_contain_text("For the winners")
        expect(page.locator("#balance")).to_have_text("102.00\u00a0XTS")


def test_a_page_whose_session_ends_keeps_what_it_shows_and_goes_on_with_another(
    platform: Server, game_id: str, browser: Browser
) -> None:
    player, friend = PlayerClient(platform.url), PlayerClient(platform.url)
    match_id = player.create(game_id, 500, invite=[friend.username])
    with visitor(browser) as somebody:
        page = somebody.page
        log_in(page, platform.url, player.username)
        page.goto(f"{platform.url}/matches/{match_id}")
        page.get_by_label("Usernames").fill("somebody")
        page.get_by_label("Usernames").blur()
        end_session(page, player)
        page.evaluate(LOOK_AGAIN)
        told = page.locator("[data-toasts]")
        expect(told).to_contain_text("Your session is over.")
        assert told.get_by_role("link").get_attribute("href") == f"/log-in?next=%2Fmatches%2F{match_id}"
        expect(page.get_by_label("Usernames")).to_have_value("somebody")
        expect(page.locator("#roster")).to_contain_text(friend.username)
        expect(page.locator("#balance")).to_have_text("100.00\u00a0XTS")

        enter(page, "player", player.http)
        friend.act(match_id, "join")
        page.evaluate(LOOK_AGAIN)
        expect(page.locator("#roster").get_by_text("Joined")).to_have_count(2)
        expect(told).not_to_contain_text("Your session is over.")
        expect(page.get_by_label("Usernames")).to_have_value("somebody")
        page.get_by_role("button", name="Confirm and pay").click()  # what looked the same is of the new session too
        expect(page.get_by_role("heading", name="You are in")).to_be_visible()
        somebody.faults = [fault for fault in somebody.faults if "401" not in fault]


def test_a_page_without_a_stream_goes_on_with_another_session(platform: Server, browser: Browser) -> None:
    with visitor(browser) as somebody:
        page = somebody.page
        enter(page, "studio", platform.studio)
        page.goto(f"{platform.url}/studio")
        told = page.locator("[data-toasts]")
        page.context.clear_cookies()
        page.evaluate(LOOK_AGAIN)
        expect(told).to_contain_text("Your session is over.")
        enter(page, "studio", platform.studio)
        page.evaluate(LOOK_AGAIN)
        expect(told).not_to_contain_text("Your session is over.")
        expect(page.get_by_role("main").get_by_role("link", name="Register a game").first).to_be_visible()
        somebody.faults = [fault for fault in somebody.faults if "401" not in fault]


def test_an_open_page_is_loaded_anew_when_somebody_else_has_logged_in(
    platform: Server, game_id: str, browser: Browser
) -> None:
    """Whoever looks at it would pay with another's money under his own name."""
    player, other = PlayerClient(platform.url), PlayerClient(platform.url, deposit=7_700)
    match_id = player.create(game_id, 500, visibility="public")
    private = player.create(game_id, 500)
    with visitor(browser) as somebody:
        page = somebody.page
        for path, seen in (
            (f"/matches/{match_id}", other.username),
            (f"/matches/{private}", "You cannot see this match"),
        ):
            enter(page, "player", player.http)
            page.goto(f"{platform.url}{path}")
            expect(page.get_by_role("banner")).to_contain_text(player.username)
            enter(page, "player", other.http)
            page.evaluate(LOOK_AGAIN)
            expect(page.get_by_text(seen).first).to_be_visible()
            expect(page.get_by_role("banner")).to_contain_text(other.username)
            expect(page.get_by_role("banner")).not_to_contain_text(player.username)
        somebody.faults = [fault for fault in somebody.faults if "404" not in fault]


def test_tabs_that_nobody_sees_leave_the_connections_to_those_that_are_seen(platform: Server, browser: Browser) -> None:
    """A browser has six of them to a server, and a stream keeps one."""
    player = PlayerClient(platform.url)
    with visitor(browser) as somebody:
        enter(somebody.page, "player", player.http)
        somebody.page.goto(f"{platform.url}/matches")
        for _ in range(7):
            tab = somebody.page.context.new_page()
            tab.goto(f"{platform.url}/matches")
            tab.evaluate(
                """() => {
                    Object.defineProperty(document, "visibilityState", { get: () => "hidden" });
                    document.dispatchEvent(new Event("visibilitychange"));
                }"""
            )
        somebody.page.get_by_role("link", name="Wallet").click()
        expect(somebody.page.get_by_role("heading", name="Wallet")).to_be_visible()
        player.must(201, "POST", "/wallet/deposits", {"amount": 100, "currency": "XTS"})
        expect(somebody.page.locator("#balance")).to_have_text("101.00\u00a0XTS")


def test_a_room_in_which_something_was_refused_is_live_all_the_same(
    platform: Server, game_id: str, browser: Browser
) -> None:
    player, friend = PlayerClient(platform.url), PlayerClient(platform.url)
    match_id = player.create(game_id, 500, invite=[friend.username])
    with visitor(browser) as somebody:
        page = somebody.page
        enter(page, "player", player.http)
        page.goto(f"{platform.url}/matches/{match_id}")
        page.get_by_label("Usernames").fill("nobody-of-this-name")
        page.get_by_label("Usernames").press("Enter")
        expect(page.get_by_text("no active player called nobody-of-this-name")).to_be_visible()
        expect(page).to_have_url(f"{platform.url}/matches/{match_id}")
        friend.act(match_id, "join")
        expect(page.locator("#roster").get_by_text("Joined")).to_have_count(2, timeout=10_000)
        somebody.faults = [fault for fault in somebody.faults if "422" not in fault]


def test_what_has_not_changed_is_not_drawn_anew_and_a_countdown_is_read_to_nobody(
    platform: Server, game_id: str, browser: Browser
) -> None:
    player = PlayerClient(platform.url)
    match_id = player.create(game_id, 500)
    with visitor(browser) as somebody:
        page = somebody.page
        enter(page, "player", player.http)
        page.goto(f"{platform.url}/matches/{match_id}")
        countdown = page.locator("#next [data-countdown]")
        expect(countdown).to_have_text(re.compile(r"\d:\d\d left"))
        assert (countdown.get_attribute("role"), countdown.get_attribute("aria-live")) == ("timer", "off")
        page.evaluate("window.kept = document.querySelector('#next h2')")
        player.must(201, "POST", "/wallet/deposits", {"amount": 100, "currency": "XTS"})
        expect(page.locator("#balance")).to_have_text("101.00\u00a0XTS", timeout=10_000)
        assert page.evaluate("window.kept.isConnected"), "a screen reader would read all of it once more"


def test_a_page_asks_as_often_as_the_most_hurried_of_its_parts(platform: Server, browser: Browser) -> None:
    with visitor(browser) as somebody:
        page = somebody.page
        page.goto(f"{platform.url}/style")
        page.evaluate(
            """async () => {
                for (const seconds of [600, 0.1]) {
                    const part = document.createElement("div");
                    part.dataset.poll = seconds;
                    document.body.append(part);
                }
                const own = document.querySelector("script[type=module]").src;
                const { poll } = await import(new URL("live.js", own));
                poll({ enliven: () => (document.body.dataset.asked = "yes"), ended() {}, offline() {} });
            }"""
        )
        page.wait_for_selector("body[data-asked]", timeout=10_000)

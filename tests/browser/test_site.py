"""The site in Chromium: journeys of people, with money, on a real platform and with a real game."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.for_everyone import DESK, GERMAN_PHONE, PHONE, check_anew, check_refused, open_to_all, own
from tests.browser.tile_rush import GameServer, Person, person, playing
from tests.harness import PASSWORD, GameClient, PlayerClient, Server, paid_match

RUN_SECONDS = 12


@pytest.fixture(scope="module")
def game(platform: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GameServer]:
    with playing(platform, tmp_path_factory.mktemp("game"), RUN_SECONDS) as running:
        yield running


@contextlib.contextmanager
def visitor(browser: Browser, **options: Any) -> Iterator[Person]:
    """As `person`: whatever the console, the network or the Content-Security-Policy complains about fails the test."""
    with person(browser, **options) as somebody:
        somebody.page.add_init_script(
            "addEventListener('securitypolicyviolation',"
            " (event) => console.error('CSP', event.violatedDirective, event.blockedURI))"
        )
        try:
            yield somebody
        finally:
            # A page that is left ends its stream of events, and what it was just asking for.
            somebody.faults[:] = [fault for fault in somebody.faults if not fault.endswith("net::ERR_ABORTED")]


def enter(page: Page, kind: str, http: httpx.Client) -> None:
    """As somebody who is logged in already, at the API of players, of studios or of operators."""
    token = http.headers["Authorization"].removeprefix("Bearer ")
    page.context.add_cookies([{"name": f"oklp_{kind}", "value": token, "url": str(http.base_url.join("/"))}])


def sign_up(page: Page, username: str) -> None:
    page.get_by_label("Username").fill(username)
    page.get_by_label("E-mail").fill(f"{username}@example.org")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("Date of birth").fill("1990-05-17")
    page.get_by_label("Country").select_option("DE")
    page.get_by_role("main").get_by_role("button", name="Sign up").click()


def log_in(page: Page, url: str, username: str) -> None:
    page.goto(f"{url}/log-in")
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("main").get_by_role("button", name="Log in", exact=True).click()
    page.wait_for_url("**/games")


def deposit(page: Page, amount: str) -> None:
    page.get_by_label("Deposit").fill(amount)
    page.get_by_role("button", name="Deposit").click()


def test_two_people_meet_pay_and_play_and_the_winner_sees_the_winnings(
    platform: Server, game: GameServer, browser: Browser
) -> None:
    with visitor(browser) as one, visitor(browser, **PHONE) as two:
        page = one.page
        page.goto(platform.url)
        page.get_by_role("main").get_by_role("link", name="Sign up").click()
        sign_up(page, "Journey-Ada")
        expect(page.get_by_text("Welcome.")).to_be_visible()
        deposit(page, "25.00")
        expect(page.locator("#balance")).to_have_text("25.00\u00a0XTS")

        page.goto(f"{platform.url}/games/{game.game_id}")
        page.get_by_role("link", name="New match").click()
        page.get_by_label("Entry fee for each player").fill("5")
        page.get_by_role("button", name="Make the match").click()
        expect(page.get_by_role("heading", name="Ready?")).to_be_visible()
        link = page.get_by_label("Link to this match").input_value()

        # The second comes by the link, without an account, and is in the match once there is one.
        other = two.page
        other.goto(link)
        other.get_by_role("main").get_by_role("link", name="Sign up").click()
        sign_up(other, "Journey-Bea")
        other.get_by_role("button", name="Join").click()
        expect(other.get_by_text("not enough yet")).to_be_visible()
        expect(page.locator("#roster")).to_contain_text("Journey-Bea")
        expect(page.get_by_label("Link to this match")).to_be_hidden()  # nobody else can come
        page.get_by_role("button", name="Confirm and pay").click()
        expect(page.get_by_role("heading", name="You are in")).to_be_visible()
        expect(other.locator("#roster")).to_contain_text("Paid")
        expect(other.locator("#sums")).to_contain_text("In escrow now: 5.00\u00a0XTS")

        # Money that comes in elsewhere is seen without loading the page.
        bea = PlayerClient.__new__(PlayerClient)
        _as(bea, platform, "Journey-Bea")
        bea.must(201, "POST", "/wallet/deposits", {"amount": 2_000, "currency": "XTS"})
        other.get_by_role("button", name="Confirm and pay 5.00").click()
        expect(other.get_by_role("heading", name="Play!")).to_be_visible(timeout=10_000)
        expect(page.get_by_role("heading", name="Play!")).to_be_visible(timeout=10_000)
        expect(page.locator(".due")).to_have_text(re.compile(r"due by .*\d{4}, .* · \d{1,2}:\d\d left\s*$"))
        match_id = page.url.rpartition("/")[2]

        # Bea's bot plays badly, Ada plays herself: in a tab of its own, which the page opens.
        bot = game.bot(str(bea.act(match_id, "launch", {"platform": "browser"})["launch_url"]), "--skill", "0",
                       "--think-ms", "3000", "4000", "--seed", "1")  # fmt: skip
        with page.expect_popup() as opened:
            page.get_by_role("link", name="Play").click()
        played = Person(opened.value)
        played.start()
        played.tap_best(5)
        played.await_outcome(RUN_SECONDS + 10)
        bot.communicate(timeout=60)

        expect(page.get_by_role("heading", name="You won")).to_be_visible(timeout=20_000)
        expect(page.locator("#next")).to_contain_text("+9.00\u00a0XTS")
        expect(page.locator("#balance")).to_have_text("29.00\u00a0XTS")
        expect(other.locator("#next")).to_contain_text("Journey-Ada won 9.00\u00a0XTS")
        other.goto(f"{platform.url}/wallet")
        expect(other.locator("#entries")).to_contain_text("\u22125.00\u00a0XTS")
        assert all(url.startswith((platform.url, game.url)) for url in one.asked), "nobody else is asked for anything"
    platform.books()


def _as(client: PlayerClient, platform: Server, username: str) -> None:
    """The API's session of somebody who signed up on the site."""
    client.username = username
    client.http = httpx.Client(base_url=platform.url, timeout=30)
    credentials = {"username": username, "password": PASSWORD}
    token = client.http.post("/api/player/v1/sessions", json=credentials).json()["token"]
    client.http.headers["Authorization"] = f"Bearer {token}"


def test_a_game_that_refuses_is_told_of_and_the_fee_is_back(platform: Server, browser: Browser) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, and not listening: connections are refused
        refusing = platform.register(f"http://127.0.0.1:{nobody.getsockname()[1]}/match")
        one, two = PlayerClient(platform.url), PlayerClient(platform.url)
        match_id = one.create(refusing.client_id, 500, invite=[two.username])
        with visitor(browser, locale="de-DE") as somebody:
            page = somebody.page
            page.goto(f"{platform.url}/log-in?next=/matches/{match_id}")
            page.get_by_label("Benutzername").fill(two.username)
            page.get_by_label("Passwort").fill(PASSWORD)
            page.get_by_role("main").get_by_role("button", name="Anmelden", exact=True).click()
            page.get_by_role("button", name="Mitspielen").click()
            one.act(match_id, "confirm")
            page.get_by_role("button", name="Bestätigen und 5,00\u00a0XTS bezahlen").click()
            expect(page.get_by_text("Das Spiel hat das Match nicht angenommen.")).to_be_visible(timeout=15_000)
            expect(page.get_by_text("Jeder bezahlte Einsatz ging ganz zurück.")).to_be_visible()
            expect(page.locator("#roster").get_by_text("Erstattet")).to_have_count(2)
            expect(page.get_by_text("Für die Gewinner")).to_have_count(0)
            expect(page.locator("#balance")).to_have_text("100,00\u00a0XTS")
    assert one.available() == two.available() == 10_000


def end_session(page: Page, player: PlayerClient) -> None:
    """Elsewhere: the page learns of it when it is used."""
    token = next(each["value"] for each in page.context.cookies() if each["name"] == "oklp_player")
    ended = player.http.delete("/api/player/v1/sessions/current", headers={"Authorization": f"Bearer {token}"})
    assert ended.status_code == 204


def _log_in_again(page: Page, player: PlayerClient) -> None:
    expect(page.get_by_text("your form comes back as you left it")).to_be_visible()
    page.get_by_label("Username").fill(player.username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("main").get_by_role("button", name="Log in", exact=True).click()


def test_a_session_that_ends_in_mid_form_loses_nothing_typed(
    platform: Server, game: GameServer, browser: Browser
) -> None:
    player = PlayerClient(platform.url)
    friend = PlayerClient(platform.url)
    with visitor(browser) as somebody:
        page = somebody.page
        log_in(page, platform.url, player.username)
        page.goto(f"{platform.url}/matches/new?game={game.game_id}")
        page.get_by_label("Entry fee for each player").fill("7.50")
        page.get_by_label("Invite").fill(friend.username)
        page.get_by_label("Public").check()
        end_session(page, player)
        page.get_by_role("button", name="Make the match").click()
        _log_in_again(page, player)
        expect(page.get_by_label("Entry fee for each player")).to_have_value("7.50")
        expect(page.get_by_label("Invite")).to_have_value(friend.username)
        expect(page.get_by_label("Public")).to_be_checked()
        page.get_by_role("button", name="Make the match").click()
        expect(page.locator("#roster")).to_contain_text(friend.username)
        match = page.url

        third = PlayerClient(platform.url)
        page.get_by_label("Usernames").fill(third.username)
        end_session(page, player)
        page.get_by_label("Usernames").press("Enter")
        _log_in_again(page, player)
        expect(page.get_by_label("Usernames")).to_have_value(third.username)
        assert page.url == match, "the form is at its own address again"
        page.get_by_label("Usernames").press("Enter")
        expect(page.locator("#roster")).to_contain_text(third.username)

        page.goto(f"{platform.url}/wallet")
        page.get_by_label("Deposit").fill("12.34")
        end_session(page, player)
        page.get_by_role("button", name="Deposit").click()
        _log_in_again(page, player)
        expect(page.get_by_label("Deposit")).to_have_value("12.34")
        assert player.available() == 10_000, "no money moves by itself"
        page.get_by_role("button", name="Deposit").click()
        expect(page.locator("#balance")).to_have_text("112.34\u00a0XTS")
        # The refusal with which the log-in page came.
        somebody.faults = [fault for fault in somebody.faults if "401" not in fault]


def test_a_field_that_is_folded_away_unfolds_when_the_browser_refuses_it(
    platform: Server, game: GameServer, browser: Browser
) -> None:
    player = PlayerClient(platform.url)
    with visitor(browser) as somebody:
        page = somebody.page
        enter(page, "player", player.http)
        page.goto(f"{platform.url}/matches/new?game={game.game_id}")
        summary, teams = page.locator("details.extra > summary"), page.locator("#f-teams")
        make = page.get_by_role("button", name="Make the match")
        for wrong in ("1", ""):
            if not teams.is_visible():
                summary.click()
            teams.fill(wrong)
            summary.click()
            expect(teams).to_be_hidden()
            make.click()
            expect(teams).to_be_visible()
            expect(teams).to_be_focused()  # and so the browser says at it what is wrong
        assert page.url.partition("?")[0] == f"{platform.url}/matches/new"
        teams.fill("2")
        make.click()
        expect(page.get_by_role("heading", name="Ready?")).to_be_visible()


def test_what_it_costs_follows_the_game_and_what_was_typed_stays(platform: Server, browser: Browser) -> None:
    cheap, dear = (
        platform.register(discovery="pull", entry_fee_min=least, entry_fee_max=2 * least).client_id
        for least in (100, 2_000)
    )
    player = PlayerClient(platform.url)
    with visitor(browser) as somebody:
        page = somebody.page
        enter(page, "player", player.http)
        page.goto(f"{platform.url}/matches/new?game={cheap}")
        game, fee, hint = (page.locator(f"#{each}") for each in ("f-game", "f-fee", "h-fee"))
        expect(fee).to_have_value("2.00")
        game.select_option(dear)
        expect(fee).to_have_value("20.00")
        expect(hint).to_contain_text("20.00")
        expect(hint).to_contain_text("40.00")
        fee.fill("30")
        game.select_option(cheap)
        expect(hint).to_contain_text("1.00")
        expect(fee).to_have_value("30")


def test_without_a_connection_the_page_says_so_and_keeps_what_is_typed(platform: Server, browser: Browser) -> None:
    player = PlayerClient(platform.url)
    with visitor(browser, **PHONE) as somebody:
        page = somebody.page
        enter(page, "player", player.http)
        page.goto(f"{platform.url}/wallet")
        page.get_by_label("Deposit").fill("12.34")
        page.context.set_offline(True)
        expect(page.get_by_text("You are offline. What is shown")).to_be_visible()
        page.get_by_role("button", name="Deposit").click()
        expect(page.get_by_text("Not sent: you are offline.")).to_be_visible()
        expect(page.get_by_label("Deposit")).to_have_value("12.34")
        page.context.set_offline(False)
        expect(page.get_by_text("You are offline. What is shown")).to_be_hidden()
        page.get_by_role("button", name="Deposit").click()
        expect(page.locator("#balance")).to_have_text("112.34\u00a0XTS")
        somebody.faults = [fault for fault in somebody.faults if "ERR_INTERNET_DISCONNECTED" not in fault]


@contextlib.contextmanager
def unanswered() -> Iterator[str]:
    """The URL of a game's webhook that takes connections, and never says anything."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        yield f"http://127.0.0.1:{silent.getsockname()[1]}/match"


def _rooms(platform: Server, player: PlayerClient, other: PlayerClient, silent: str) -> list[str]:
    """A match in each state that the room tells of."""
    pulled = platform.register(discovery="pull", team_size_max=2)
    starting = paid_match(player, other, platform.register(silent).client_id, 500)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, and not listening: connections are refused
        refusing = platform.register(f"http://127.0.0.1:{nobody.getsockname()[1]}/match")
        refused = paid_match(player, other, refusing.client_id, 500)
        player.await_status(refused, "aborted")
    live, over, drawn, held = (paid_match(player, other, pulled.client_id, 500) for _ in range(4))
    back_end = GameClient(platform.url, pulled)
    assert back_end.finish(back_end.report(over, player.user_id)).status_code == 200
    even = back_end.report(drawn, player.user_id)
    even["teams"] = [{**team, "ranking": 1} for team in even["teams"]]
    assert back_end.finish(even).status_code == 200
    teams = other.create(pulled.client_id, 500, team_size=2, visibility="public")
    cancelled = player.create(pulled.client_id, 500)
    player.act(cancelled, "cancel")
    for action in ("suspend", "reinstate"):
        decision = {"action": action, "reason": "To be looked into."}
        assert platform.operator.post(f"/players/{player.user_id}", json=decision).status_code == 200
        if action == "suspend":
            assert back_end.finish(back_end.report(held, player.user_id)).status_code == 200
    return [f"/matches/{each}" for each in (starting, refused, live, over, drawn, held, teams, cancelled)]


def test_pages_are_light_complete_and_for_everyone(platform: Server, game: GameServer, browser: Browser) -> None:
    """No page late or over its budget, nothing that axe finds: on a desk in the light, on a phone in the dark and in
    German, whose words are longer."""
    player, other, shy = (PlayerClient(platform.url) for _ in range(3))
    shy.must(200, "PUT", "/me/privacy", {"private": True})
    match_id = player.create(game.game_id, 500, invite=[other.username])
    ids = {"game_id": game.game_id, "match_id": match_id, "username": player.username}
    nowhere = ["/nowhere", f"/matches/{'0' * 24}", "/studio/nowhere", "/operator/nowhere"]
    with unanswered() as silent:
        paths = [*own("player", **ids), *_rooms(platform, player, other, silent), *nowhere]
        paths += ["/matches?show=open", "/wallet?show=payments"]
        paths += [f"/players/{each.username}" for each in (other, shy)]
        for options in (DESK, GERMAN_PHONE):
            with visitor(browser, **options) as somebody:
                page = somebody.page
                for path in open_to_all("player", **ids):
                    check_anew(page, platform.url + path)
                page.goto(f"{platform.url}/sign-up")
                check_refused(page)
                enter(page, "player", player.http)
                for path in paths:
                    check_anew(page, platform.url + path)
                for path, form in (("/matches/new", "main form"), ("/wallet", "form:has(#deposit)")):
                    page.goto(platform.url + path)
                    check_refused(page, form)
                somebody.faults = [fault for fault in somebody.faults if not re.search(r"404|422", fault)]


def test_without_javascript_everything_but_live_updates_works(
    platform: Server, game: GameServer, browser: Browser
) -> None:
    player = PlayerClient(platform.url)
    with visitor(browser, java_script_enabled=False) as somebody:
        page = somebody.page
        log_in(page, platform.url, player.username)
        page.goto(f"{platform.url}/matches/new?game={game.game_id}")
        page.get_by_label("Entry fee for each player").fill("1")
        page.get_by_role("button", name="Make the match").click()
        page.get_by_role("button", name="Confirm and pay 1.00").click()
        expect(page.get_by_role("heading", name="You are in")).to_be_visible()
        page.locator("summary", has_text="Call the match off").click()  # it asks first, in place
        expect(page.get_by_text("It is over for everybody who is in it.")).to_be_visible()
        expect(page.get_by_role("button", name="Not now")).to_have_count(0)  # it would close a real dialog
        page.get_by_role("button", name="Call the match off").click()
        expect(page.get_by_text("The player who made it called it off.")).to_be_visible()
        expect(page.locator("#balance")).to_have_text("100.00\u00a0XTS")

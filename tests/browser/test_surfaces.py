"""What goes through more than one surface in Chromium, and what is the same on each: dialogs, forms without scripts."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from oklp.web import pages
from tests.answering import answering
from tests.browser import test_site as players
from tests.browser import test_studio as studios
from tests.browser.for_everyone import TOO_WIDE, all_pages, check, own
from tests.browser.test_operator import PRODUCTION, act
from tests.browser.test_site import enter, visitor
from tests.harness import PASSWORD, GameClient, PlayerClient, Server, paid_match, serving

# --- every page is looked at -----------------------------------------------------------------------------------------

# What is no page: streams, files, ways on to elsewhere.
NO_PAGE = re.compile(r"/live$|\.csv$|\.json$|/report\.html$|/play$|^/assets/")
# Their addresses are in a mail alone: test_identity.py follows its link and looks at them.
BY_A_MAIL = {"/unsubscribe"}


def test_no_page_is_left_out_of_what_is_looked_at() -> None:
    there_are = {route.path for route in pages.routes if "GET" in (route.methods or ())}
    assert {path for path in there_are if not NO_PAGE.search(path)} == all_pages() | BY_A_MAIL


# --- the longest names -----------------------------------------------------------------------------------------------

SMALLEST = {"viewport": {"width": 320, "height": 640}, "has_touch": True, "is_mobile": True}


def test_the_longest_names_make_no_page_wider_than_the_smallest_phone(platform: Server, browser: Browser) -> None:
    """One word each: 32 characters of a player's or an operator's name, 60 of a game's."""
    one, two = PlayerClient(platform.url, "W" * 32), PlayerClient(platform.url, "M" * 32)
    game = platform.register(name="W" * 60, discovery="pull")
    open_one, over = one.create(game.client_id, invite=[two.username]), paid_match(one, two, game.client_id)
    back_end = GameClient(platform.url, game)
    assert back_end.finish(back_end.report(over, one.user_id)).status_code == 200
    ids = {"game_id": game.client_id, "match_id": over, "user_id": one.user_id}
    of_operators = [path for path in own("operator", **ids, report_id="", delivery_id="", operator_id="")
                    if not path.endswith("/")]  # fmt: skip
    of_studios = [f"/studio/games/{game.client_id}", f"/studio/games/{game.client_id}/matches/{over}"]
    looks = (
        ("player", two.http, [*own("player", **ids, username=one.username), f"/matches/{open_one}"]),
        ("studio", platform.studio, of_studios),
        ("operator", platform.new_operator(name="M" * 32), [*of_operators, "/operator/search?q=WWW"]),
    )
    too_wide = []
    with visitor(browser, **SMALLEST) as somebody:
        for kind, http, paths in looks:
            enter(somebody.page, kind, http)
            for path in paths:
                somebody.page.goto(platform.url + path)
                if somebody.page.evaluate(TOO_WIDE):
                    too_wide.append(path)
    assert too_wide == []


# --- from a studio's sign-up to a match of its game ------------------------------------------------------------------


def test_a_game_goes_from_its_studio_by_an_operator_to_its_players(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Nobody's browser has anything to complain about on the way: console, network, Content-Security-Policy."""
    folder = tmp_path_factory.mktemp("production")
    server = Server(f"sqlite:///{folder / 'oklp.db'}", folder, more_env=PRODUCTION)
    server.cli("migrate")
    with (
        serving(server.database_url, folder, **PRODUCTION) as production,
        visitor(browser) as studio,
        visitor(browser) as operator,
        visitor(browser) as player,
    ):
        url = production.url
        studios.sign_up(studio.page, url, "Joint-Ada")
        studios.register(studio.page, "Joint Game", "https://game.example/match", "https://game.example/play")
        studio.page.get_by_role("link", name="On to the game").click()
        player.page.goto(f"{url}/games")
        expect(player.page.get_by_text("Joint Game")).to_have_count(0)
        studio.page.get_by_role("button", name="Submit for review").click()
        expect(studio.page.get_by_text("An operator looks at it.")).to_be_visible()

        enter(operator.page, "operator", production.operator)
        operator.page.goto(f"{url}/operator")
        operator.page.get_by_role("link", name="Joint Game").click()
        act(operator.page, "Approve", "Approve", "Looks right.")
        expect(operator.page.get_by_text("The game is approved")).to_be_visible()
        studio.page.reload()
        expect(studio.page.get_by_text("Players see it and can make matches.")).to_be_visible()

        player.page.goto(f"{url}/sign-up")
        players.sign_up(player.page, "Joint-Bea")
        expect(player.page.get_by_text("Welcome.")).to_be_visible()
        player.page.get_by_role("navigation").get_by_role("link", name="Games").click()
        player.page.get_by_role("link", name="Joint Game").first.click()
        player.page.get_by_role("link", name="New match").click()
        player.page.get_by_label("Entry fee for each player").fill("0")
        player.page.get_by_role("button", name="Make the match").click()
        expect(player.page.get_by_role("heading", name="Ready?")).to_be_visible()
        match_id = player.page.url.rpartition("/")[2]

        studio.page.get_by_role("link", name="Matches", exact=True).click()
        expect(studio.page.get_by_text(match_id)).to_be_visible()
        operator.page.get_by_role("searchbox").fill(match_id)
        operator.page.get_by_role("searchbox").press("Enter")
        operator.page.wait_for_url(f"**/operator/matches/{match_id}")
        expect(operator.page.get_by_text("Joint-Bea").first).to_be_visible()


# --- dialogs ---------------------------------------------------------------------------------------------------------

INSIDE = "document.activeElement.closest('dialog') !== null"
# From now on what has the focus outside of any dialog is noted.
WATCH = """() => {
  window.outside ??= (addEventListener("focusin", ({ target }) => {
    if (!target.closest("dialog")) window.outside.push(target.outerHTML);
  }), []);
  window.outside.length = 0;
}"""
SUSPENSION = {"action": "suspend", "reason": "To be looked into."}


def _try(page: Page, number: int) -> None:
    """One dialog of the page by the keyboard alone, and by its backdrop."""
    opening = page.locator("summary[data-dialog]").nth(number)
    opening.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_have_count(1)
    name = dialog.get_attribute("aria-labelledby")
    assert page.locator(f"#{name}").inner_text().strip()
    assert page.evaluate(INSIDE), "the focus is where the dialog is"
    check(page, "dialog[open]")
    assert dialog.locator("[data-close]").is_visible(), "a way out that can be pressed"
    page.evaluate(WATCH)
    for key in 8 * ["Tab"] + 8 * ["Shift+Tab"]:
        page.keyboard.press(key)
    assert page.evaluate("window.outside") == [], "the keyboard leads out of the dialog"
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert opening.evaluate("(it) => it === document.activeElement"), "the focus is where it was"
    opening.click()
    expect(dialog).to_have_count(1)
    page.mouse.click(2, 2)
    expect(dialog).to_have_count(0)


def test_dialogs_keep_the_focus_and_give_it_back(platform: Server, browser: Browser) -> None:
    game = platform.register("http://127.0.0.1:9/match")
    pulled = platform.register(discovery="pull")
    one, two = PlayerClient(platform.url), PlayerClient(platform.url)
    match_id, held = (paid_match(one, two, pulled.client_id) for _ in range(2))
    assert platform.operator.post(f"/players/{one.user_id}", json=SUSPENSION).status_code == 200
    back_end = GameClient(platform.url, pulled)
    assert back_end.finish(back_end.report(held, one.user_id)).status_code == 200
    second = {"username": "second", "email": "second@example.org", "password": PASSWORD, "role": "viewer"}
    assert platform.studio.post("/members", json=second).status_code == 201
    colleague = platform.new_operator().get("/me").json()["operator_id"]
    with visitor(browser) as somebody:
        page, tried = somebody.page, 0
        enter(page, "player", two.http)
        enter(page, "studio", platform.studio)
        enter(page, "operator", platform.operator)
        for path in (
            f"/matches/{two.create(pulled.client_id)}",
            f"/studio/games/{game.client_id}",
            f"/studio/games/{game.client_id}/webhooks",
            "/studio/members",
            f"/operator/matches/{match_id}",
            f"/operator/players/{one.user_id}",
            f"/operator/players/{two.user_id}",
            f"/operator/team/{colleague}",
            f"/operator/games/{game.client_id}",
        ):
            page.goto(f"{platform.url}{path}")
            for number in range(page.locator("summary[data-dialog]").count()):
                _try(page, number)
                tried += 1
    assert tried >= 14, "where are the dialogs?"


# --- without JavaScript ----------------------------------------------------------------------------------------------


def test_without_javascript_a_studio_does_what_it_does_with_it(platform: Server, browser: Browser) -> None:
    with visitor(browser, java_script_enabled=False) as somebody, answering(200, "", {}) as url:
        page = somebody.page
        game_id = platform.register(url).client_id
        enter(page, "studio", platform.studio)
        base = f"{platform.url}/studio/games/{game_id}"
        page.goto(base)
        page.locator("summary", has_text="Rotate the secrets").click()
        page.get_by_role("button", name="Make new secrets").click()
        expect(page.locator("pre")).to_contain_text("whsec_")
        page.goto(f"{base}/webhooks")
        page.locator("summary", has_text="Send a test event").click()
        page.get_by_role("button", name="Send it").click()
        expect(page.get_by_role("heading", name="PUT Test")).to_be_visible()
        page.goto(f"{platform.url}/studio/members")
        name = f"plain-{platform.port}"
        page.get_by_label("Username").fill(name)
        page.get_by_label("E-mail").fill(f"{name}@example.org")
        page.get_by_label("First password").fill(PASSWORD)
        page.get_by_role("button", name="Invite").click()
        expect(page.get_by_text(f"{name} is a member now.")).to_be_visible()
        row = page.locator("li", has_text=name)
        row.get_by_label(f"Role of {name}").select_option("owner")
        row.get_by_role("button", name="Change").click()
        expect(page.get_by_text(f"{name} has another role now.")).to_be_visible()
        row.locator("summary", has_text="Remove").click()
        row.get_by_role("button", name="Remove").click()
        expect(page.get_by_text("Removed.")).to_be_visible()


def test_without_javascript_an_operator_suspends_and_reinstates(platform: Server, browser: Browser) -> None:
    player = PlayerClient(platform.url, deposit=0)
    with visitor(browser, java_script_enabled=False) as somebody:
        page = somebody.page
        enter(page, "operator", platform.operator)
        page.goto(f"{platform.url}/operator/search?q={player.username}")
        page.wait_for_url(f"**/operator/players/{player.user_id}")
        for action, status in (("Suspend", "suspended"), ("Reinstate", "active")):
            page.locator("summary", has_text=action).first.click()
            opened = page.locator("details[open]")
            opened.get_by_label("Reason").fill("Because it is so.")
            opened.get_by_role("button", name=action).click()
            expect(page.get_by_text("Done, and kept in the audit log.")).to_be_visible()
            assert platform.operator.get(f"/players/{player.user_id}").json()["status"] == status

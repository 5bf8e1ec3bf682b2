"""The studio portal in Chromium: journeys of somebody who makes a game, on a real platform."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.answering import answering
from tests.browser.for_everyone import DESK, GERMAN_PHONE, PHONE, check, check_anew, open_to_all, own
from tests.browser.test_site import enter, visitor
from tests.harness import PASSWORD, GameClient, PlayerClient, Server, free_port, paid_match
from tests.web.test_authorisation import REPORT

SECRET_KEY = "a key that only this test knows, of some length"


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Where games are vetted."""
    folder = tmp_path_factory.mktemp("production")
    env = {"OKLP_SANDBOX": "0", "OKLP_SECRET_KEY": SECRET_KEY, "OKLP_MAIL_URL": f"smtp+plain://127.0.0.1:{free_port()}"}
    server = Server(f"sqlite:///{folder / 'oklp.db'}", folder, more_env=env)
    server.cli("migrate")
    server.start()
    try:
        yield server
    finally:
        server.stop()


def sign_up(page: Page, url: str, name: str) -> None:
    page.goto(f"{url}/studio")
    page.get_by_role("link", name="Sign up your studio").click()
    page.get_by_label("Name of the studio").fill(f"{name} Games")
    page.get_by_label("Your username").fill(name)
    page.get_by_label("E-mail").fill(f"{name}@example.org")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("main").get_by_role("button", name="Sign up").click()
    expect(page.get_by_text("Welcome.")).to_be_visible()


def register(page: Page, name: str, webhook_url: str, browser_url: str) -> None:
    """Through all steps, up to the page with the secrets."""
    page.get_by_role("link", name="Register a game").first.click()
    page.get_by_label("Name of the game").fill(name)
    page.get_by_role("button", name="Next").click()
    page.get_by_label("Match info webhook URL").fill(webhook_url)
    page.get_by_role("button", name="Next").click()
    page.get_by_label("Browser").fill(browser_url)
    page.get_by_role("button", name="Next").click()
    page.get_by_label("Fee, per cent").fill("10")
    page.get_by_role("button", name="Next").click()
    page.get_by_role("button", name="Register").click()
    expect(page.get_by_role("heading", name=f"{name} is registered")).to_be_visible()


def test_a_studio_signs_up_registers_a_game_and_submits_it_for_review(production: Server, browser: Browser) -> None:
    with visitor(browser) as somebody:
        page = somebody.page
        sign_up(page, production.url, "Acme-Ada")
        page.get_by_role("link", name="Register a game").first.click()
        page.get_by_label("Name of the game").fill("Tile Rush")
        expect(page.get_by_label("Id")).to_have_attribute("placeholder", "tile-rush")
        page.get_by_role("button", name="Next").click()
        field = page.get_by_label("Match info webhook URL")
        field.press_sequentially("http://tile.example/match")
        expect(page.locator("#e-webhook_url")).to_contain_text("https")  # said while typing
        field.fill("https://tile.example/match")
        expect(page.locator("#e-webhook_url")).to_have_count(0)
        page.get_by_role("button", name="Next").click()
        page.get_by_label("Browser").fill("https://tile.example/play?token={match-token}")
        page.get_by_role("button", name="Next").click()
        page.get_by_role("button", name="Back").click()
        expect(page.get_by_label("Browser")).to_have_value("https://tile.example/play?token={match-token}")
        page.get_by_role("button", name="Next").click()
        page.get_by_label("Fee, per cent").fill("12.5")
        page.get_by_role("button", name="Next").click()
        page.get_by_role("button", name="Register").click()
        expect(page.get_by_role("heading", name="Tile Rush is registered")).to_be_visible()
        with page.expect_download() as saved:
            page.get_by_role("link", name="Save the file").click()
        config = json.loads(saved.value.path().read_text(encoding="utf-8"))
        assert config["authentication"]["client_id"] == "tile-rush"
        assert config["authentication"]["webhook_secret"].startswith("whsec_")
        page.get_by_role("link", name="On to the game").click()
        expect(page.get_by_text("Only you see it.")).to_be_visible()
        page.get_by_role("button", name="Submit for review").click()
        expect(page.get_by_text("An operator looks at it.")).to_be_visible()
        decision = {"decision": "refuse", "reason": "The rules page is missing."}
        assert production.operator.post("/games/tile-rush/vetting", json=decision).status_code == 200
        page.reload()
        expect(page.get_by_text("The rules page is missing.").first).to_be_visible()
        page.get_by_role("button", name="Submit for review").click()
        decision = {"decision": "approve", "reason": "All is there now."}
        assert production.operator.post("/games/tile-rush/vetting", json=decision).status_code == 200
        page.reload()
        expect(page.get_by_text("Players see it and can make matches.")).to_be_visible()


def test_secrets_are_rotated_in_a_dialog(platform: Server, browser: Browser) -> None:
    with visitor(browser) as somebody:
        page = somebody.page
        sign_up(page, platform.url, "Rota-Rob")
        register(page, "Rotation", "http://127.0.0.1:9/match", "http://127.0.0.1:9/play")
        page.get_by_role("link", name="On to the game").click()
        page.get_by_text("Rotate the secrets").click()
        expect(page.get_by_role("dialog")).to_be_visible()
        page.get_by_role("dialog").get_by_role("button", name="Make new secrets").click()
        expect(page.get_by_role("heading", name="New secrets for Rotation")).to_be_visible()
        expect(page.locator("pre")).to_contain_text("whsec_")


def test_the_inspector_shows_a_delivery_as_it_happens_and_sends_it_again(platform: Server, browser: Browser) -> None:
    hostile = "<script>document.title = 'owned'</script><img src=x onerror=alert(1)>"
    with visitor(browser) as somebody, answering(500, hostile, {"X-Game": "<b>bold</b>"}) as url:
        page = somebody.page
        sign_up(page, platform.url, "Inge-Inspects")
        register(page, "Inspected", url, "http://127.0.0.1:9/play")
        page.get_by_role("link", name="On to the game").click()
        page.get_by_role("link", name="Webhooks", exact=True).click()
        expect(page.get_by_text("Nothing here")).to_be_visible()
        session = next(each["value"] for each in page.context.cookies() if each["name"] == "oklp_studio")
        headers = {"Authorization": f"Bearer {session}"}
        api = f"{platform.url}/api/studio/v1/games/inspected/test-event"
        assert httpx.post(api, headers=headers).status_code == 201  # from elsewhere, and seen without loading the page
        row = page.locator("#deliveries tbody tr")
        expect(row).to_have_count(1)
        expect(row).to_contain_text("Failed", timeout=10_000)
        expect(row).to_contain_text("500")
        row.get_by_role("link").click()
        expect(page.get_by_role("heading", name="Attempt 1")).to_be_visible()
        expect(page.locator("#delivery")).to_contain_text(hostile)
        expect(page.locator("#delivery")).to_contain_text("<b>bold</b>")
        expect(page.locator("#delivery")).to_contain_text("webhook-signature")
        expect(page.locator("#delivery")).not_to_contain_text("Bearer")
        assert page.locator("#delivery script, #delivery img, #delivery b").count() == 0
        page.get_by_role("button", name="Send again").click()
        expect(page.get_by_role("heading", name="Attempt 2")).to_be_visible(timeout=10_000)
        page.get_by_role("link", name="Webhooks", exact=True).first.click()
        page.get_by_text("Send a test event").first.click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("What it tells").select_option("match.aborted")
        dialog.get_by_role("button", name="Send it").click()
        expect(page.get_by_role("heading", name="DELETE Test")).to_be_visible()
        expect(page.get_by_role("heading", name="Attempt 1")).to_be_visible(timeout=10_000)
        assert "owned" not in page.title()


def test_without_javascript_a_game_is_registered_all_the_same(platform: Server, browser: Browser) -> None:
    with visitor(browser, java_script_enabled=False) as somebody:
        page = somebody.page
        sign_up(page, platform.url, "Plain-Pia")
        register(page, "Plain", "http://127.0.0.1:9/match", "http://127.0.0.1:9/play")
        page.get_by_role("link", name="On to the game").click()
        page.get_by_role("link", name="Change").click()
        page.get_by_label("Name of the game").fill("Plainer")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Saved.")).to_be_visible()


def test_studio_pages_are_light_complete_and_for_everyone(platform: Server, browser: Browser) -> None:
    """As for players: soon there, within the budget, and nothing that axe finds."""
    one, two = PlayerClient(platform.url), PlayerClient(platform.url)
    with answering(200, "", {}) as url:
        game = platform.register(url)
        base = f"/studio/games/{game.client_id}"
        over, live = (paid_match(one, two, game.client_id, 500) for _ in range(2))
        for match_id in (over, live):
            one.await_status(match_id, "live")
    back_end = GameClient(platform.url, game)
    assert back_end.finish(back_end.report(over, one.user_id)).status_code == 200
    sent = platform.studio.post(f"/games/{game.client_id}/test-event").json()["delivery_id"]  # nobody listens any more
    report = platform.studio.post(f"/games/{game.client_id}/conformance-reports", json=REPORT).json()["report_id"]
    paths = own("studio", game_id=game.client_id, delivery_id=sent, report_id=report, match_id=over)
    paths += [f"{base}/matches/{live}"]
    for options in (DESK, GERMAN_PHONE):
        with visitor(browser, **options) as somebody:
            page = somebody.page
            for path in open_to_all("studio"):
                check_anew(page, platform.url + path)
            enter(page, "studio", platform.studio)
            for path in paths:
                check_anew(page, platform.url + path)
            somebody.faults = [fault for fault in somebody.faults if "404" not in fault]


@pytest.mark.parametrize("options", [DESK, PHONE], ids=["desk", "phone"])
def test_every_step_of_a_registration_is_for_everyone(
    platform: Server, browser: Browser, options: dict[str, Any]
) -> None:
    name = f"For everyone {len(options)}"
    steps = (
        ("Name of the game", name, "Its matches"),
        ("Match info webhook URL", "http://127.0.0.1:9/match", "Its players"),
        ("Browser", "http://127.0.0.1:9/play?t={match-token}", "Its rules"),
        ("Fee, per cent", "10", "Look it over"),
    )
    with visitor(browser, **options) as somebody:
        page = somebody.page
        enter(page, "studio", platform.studio)
        page.goto(f"{platform.url}/studio/new-game")
        page.get_by_role("button", name="Next").click()
        expect(page.get_by_label("Name of the game")).to_have_attribute("aria-invalid", "true")
        check(page)
        for label, text, title in steps:
            page.get_by_label(label).fill(text)
            page.get_by_role("button", name="Next").click()
            expect(page.get_by_role("heading", name=title)).to_be_visible()
            check(page)
        page.get_by_role("button", name="Register").click()
        expect(page.get_by_role("heading", name=f"{name} is registered")).to_be_visible()
        check(page)
        somebody.faults = [fault for fault in somebody.faults if "422" not in fault]

"""The operator console in Chromium: what operators decide, and what players see of it."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.answering import answering
from tests.browser.for_everyone import DESK, GERMAN_PHONE, check, check_anew, open_to_all, own
from tests.browser.test_site import enter, visitor
from tests.harness import PASSWORD, GameClient, PlayerClient, Server, paid_match, serving
from tests.web.staff import await_delivery
from tests.web.test_authorisation import REPORT

PRODUCTION = {"OKLP_SANDBOX": "0", "OKLP_SECRET_KEY": "k" * 43}
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("platform")
    with serving(f"sqlite:///{folder / 'oklp.db'}", folder, "--sandbox", OKLP_APPROVAL_ABOVE="100000") as running:
        running.cli("operator", "create", "--username", "olga", "--password", PASSWORD)
        yield running


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """No sandbox: there games are live once an operator says so."""
    folder = tmp_path_factory.mktemp("production")
    server = Server(f"sqlite:///{folder / 'oklp.db'}", folder, more_env=PRODUCTION)
    server.cli("migrate")
    with serving(server.database_url, folder, **PRODUCTION) as running:
        yield running


def log_in(page: Page, url: str) -> None:
    page.goto(f"{url}/operator/log-in")
    page.get_by_label("Username").fill("olga")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("main").get_by_role("button", name="Log in", exact=True).click()
    page.wait_for_url("**/operator")


def act(page: Page, name: str, button: str, reason: str, ranks: Sequence[str] = ()) -> None:
    """Open the dialog of an action, which is for everyone, and do it; a settlement with the `ranks` of its teams."""
    page.locator("summary", has_text=name).first.click()
    asked = page.get_by_role("dialog")
    check(page, "dialog[open]")
    for number, rank in enumerate(ranks):
        asked.get_by_label("Rank").nth(number).fill(rank)
    asked.get_by_label("Reason").fill(reason)
    asked.get_by_role("button", name=button).click()


def test_a_match_is_called_off_with_a_reason_and_the_players_see_their_money(
    platform: Server, browser: Browser
) -> None:
    game = platform.register(discovery="pull")
    one, two = PlayerClient(platform.url), PlayerClient(platform.url)
    match_id = paid_match(one, two, game.client_id, 500)
    with visitor(browser) as operator, visitor(browser) as player:
        page, other = operator.page, player.page
        enter(other, "player", one.http)
        other.goto(f"{platform.url}/matches/{match_id}")
        expect(other.locator("#balance")).to_have_text("95.00\u00a0XTS")
        enter(page, "operator", platform.operator)
        page.goto(f"{platform.url}/operator")
        page.get_by_role("searchbox").fill(match_id)
        page.get_by_role("searchbox").press("Enter")
        page.wait_for_url(f"**/operator/matches/{match_id}")
        act(page, "Call off and refund", "Call off and refund", HOSTILE + "\x07")
        asked = page.get_by_role("dialog")  # open again, with what was typed
        expect(asked.get_by_text("There are characters in it that cannot be read.")).to_be_visible()
        expect(asked.get_by_label("Reason")).to_have_value(HOSTILE + "\x07")
        expect(asked.get_by_label("Reason")).to_be_focused()
        check(page, "dialog[open]")
        asked.get_by_label("Reason").fill(f"{HOSTILE}\nand more")
        asked.get_by_role("button", name="Call off and refund").click()
        expect(page.get_by_text("every fee is back")).to_be_visible()
        expect(page.get_by_text(HOSTILE)).to_be_visible()
        expect(page.get_by_role("cell", name="+5.00")).not_to_have_count(0)
        expect(page.get_by_text("Refunded", exact=True)).to_have_count(2)
        operator.faults = [fault for fault in operator.faults if "422" not in fault]
        expect(other.locator("#balance")).to_have_text("100.00\u00a0XTS", timeout=10_000)
        expect(other.get_by_text("An operator called it off.")).to_be_visible()
        expect(other.get_by_text("Every fee that was paid went back whole.")).to_be_visible()
        expect(other.get_by_text("onerror")).to_have_count(0)
        page.get_by_role("link", name=one.username).click()
        expect(page.get_by_role("heading", name=one.username)).to_be_visible()
        act(page, "Suspend", "Suspend", HOSTILE)
        expect(page.get_by_text(HOSTILE).first).to_be_visible()
        page.goto(f"{platform.url}/operator/audit?subject=player:{one.user_id}")
        expect(page.get_by_text("player.suspend")).to_be_visible()


def test_a_match_is_settled_in_the_games_place(platform: Server, browser: Browser) -> None:
    game = platform.register(discovery="pull")
    one, two = PlayerClient(platform.url), PlayerClient(platform.url)
    match_id = paid_match(one, two, game.client_id, 500)
    with visitor(browser, java_script_enabled=False) as operator:
        page = operator.page
        enter(page, "operator", platform.operator)
        page.goto(f"{platform.url}/operator/matches/{match_id}")
        page.locator("summary", has_text="Settle").click()
        box, legend = (page.locator(f"{each} >> nth=0").bounding_box() for each in (".ranking", ".ranking legend"))
        assert box is not None
        assert legend is not None
        assert legend["y"] - box["y"] > 4, "within the border"
        page.get_by_label("Rank").first.fill("2")
        page.get_by_label("Rank").last.fill("1")
        page.locator("#settle").get_by_label("Reason").fill("The game's server is gone.")
        page.get_by_role("button", name="Settle and pay out").click()
        expect(page.get_by_text("The match is settled and paid out.")).to_be_visible()
    assert sorted((one.available(), two.available())) == [9_500, 10_400]


def test_two_operators_settle_what_is_above_the_threshold(platform: Server, browser: Browser) -> None:
    game = platform.register(discovery="pull")
    one, two = (PlayerClient(platform.url, deposit=200_000) for _ in range(2))
    match_id = paid_match(one, two, game.client_id, 60_000)
    fay = platform.new_operator("--role", "finance")
    with visitor(browser) as first, visitor(browser) as second:
        enter(second.page, "operator", fay)
        second.page.goto(f"{platform.url}/operator/health")
        count = second.page.locator("#approvals-link .count")
        expect(count).to_have_count(0)
        page = first.page
        log_in(page, platform.url)
        page.goto(f"{platform.url}/operator/matches/{match_id}")
        act(page, "Settle", "Propose", "\x07", ranks=("1", "2"))
        expect(page.get_by_role("dialog").get_by_label("Reason")).to_be_focused()  # what is wrong, not what is first
        page.get_by_role("dialog").get_by_label("Reason").fill(HOSTILE)
        page.get_by_role("dialog").get_by_role("button", name="Propose").click()
        page.wait_for_url("**/operator/approvals")
        first.faults = [fault for fault in first.faults if "422" not in fault]
        expect(page.get_by_text("This takes two operators.")).to_be_visible()
        expect(page.get_by_text("You proposed this. Another operator decides.")).to_be_visible()
        expect(page.get_by_text("Approve", exact=True)).to_have_count(0)
        assert one.match(match_id)["status"] == "live"
        expect(count).to_have_text("1")  # without anybody having asked for it
        second.page.get_by_role("link", name="Approvals").click()
        expect(second.page.get_by_text(HOSTILE)).to_be_visible()
        check(second.page)
        second.page.locator("summary", has_text="Decline").click()
        asked = second.page.get_by_role("dialog")
        asked.get_by_label("Reason").fill("Let me see")
        another = paid_match(one, two, game.client_id, 60_000)
        made = platform.operator.post(f"/matches/{another}/abort", json={"reason": "no good"}).json()
        expect(count).to_have_text("2")
        expect(asked.get_by_label("Reason")).to_have_value("Let me see")  # while the page under it has another one
        second.page.keyboard.press("Escape")
        expect(second.page.get_by_text(another)).to_be_visible()
        expect(second.page.locator("summary", has_text="Decline").first).to_be_focused()
        withdrawn = platform.operator.post(f"/proposals/{made['proposal_id']}/withdrawal", json={"reason": "a slip"})
        assert withdrawn.status_code == 200
        expect(second.page.locator("[id^=proposal-]")).to_have_count(1)
        act(second.page, "Approve", "Approve", f"{HOSTILE} it is")
        expect(second.page.get_by_text("Approved, and done.")).to_be_visible()
        expect(second.page.get_by_text(f"{HOSTILE} it is")).to_be_visible()
        expect(count).to_have_count(0)
        expect(page.get_by_text("Nothing is waiting")).to_be_visible()
    assert one.match(another)["status"] == "live"
    assert sorted((one.available(), two.available())) == [80_000, 188_000]


def test_a_game_is_vetted_and_live(production: Server, browser: Browser) -> None:
    studio = production.new_studio()
    made = studio.post("/games", json={"name": HOSTILE[:60], "webhook_url": "https://game.example/match"})
    assert made.status_code == 201, made.text
    game_id = made.json()["game_id"]
    assert studio.post(f"/games/{game_id}/review").json()["vetting"] == "in-review"
    player = PlayerClient(production.url, deposit=0)
    assert player.call("GET", f"/games/{game_id}").status_code == 404
    with visitor(browser, java_script_enabled=False) as operator:
        page = operator.page
        enter(page, "operator", production.operator)
        page.goto(f"{production.url}/operator")
        page.get_by_role("link", name=HOSTILE[:60]).click()
        page.locator("summary", has_text="Approve").click()
        page.locator("#approve").get_by_label("Reason").fill("   ")
        page.locator("#approve").get_by_role("button", name="Approve").click()
        expect(page.locator("#approve").get_by_text("Say why, in up to 500 characters.")).to_be_visible()
        page.locator("#approve").get_by_label("Reason").fill("Looks right.")
        page.locator("#approve").get_by_role("button", name="Approve").click()
        expect(page.get_by_text("The game is approved")).to_be_visible()
        operator.faults = [fault for fault in operator.faults if "422" not in fault]
    assert player.must(200, "GET", f"/games/{game_id}")["name"] == HOSTILE[:60]


def test_whoever_logs_in_first_finds_the_form_for_a_second_factor(production: Server, browser: Browser) -> None:
    production.cli("operator", "create", "--username", "nora", "--password", PASSWORD, "--role", "support")
    with visitor(browser) as operator:
        page = operator.page
        page.goto(f"{production.url}/operator/log-in")
        page.get_by_label("Username").fill("nora")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("main").get_by_role("button", name="Log in", exact=True).click()
        page.wait_for_url("**/operator/security#factors")
        expect(page.get_by_role("button", name="Set up an authenticator app")).to_be_visible()
        row, leave = (page.locator(each).bounding_box() for each in (".top-row", ".leave"))
        assert row is not None
        assert leave is not None
        assert row["x"] + row["width"] - leave["x"] - leave["width"] < 60, "at the right edge, as on every other page"


def test_a_delivery_comes_anew_and_what_is_shut_stays_shut(platform: Server, browser: Browser) -> None:
    with visitor(browser) as operator, answering(500, "no", {}) as url:
        page = operator.page
        game_id = platform.register(url).client_id
        delivery_id = platform.studio.post(f"/games/{game_id}/test-event").json()["delivery_id"]
        await_delivery(platform.operator, delivery_id)
        enter(page, "operator", platform.operator)
        page.goto(f"{platform.url}/operator/deliveries/{delivery_id}")
        attempts = page.locator("details.extra")
        expect(attempts).to_have_count(1)
        attempts.first.locator("summary").click()
        expect(attempts.first).not_to_have_attribute("open", "")
        sent = platform.operator.post(f"/deliveries/{delivery_id}/resend", json={"reason": "once more"})
        assert sent.status_code == 200, sent.text
        await_delivery(platform.operator, delivery_id)
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # instead of waiting for its time
        expect(attempts).to_have_count(2)
        expect(attempts.first).not_to_have_attribute("open", "")
        expect(attempts.last).to_have_attribute("open", "")


def test_the_books_are_verified_by_a_job(platform: Server, browser: Browser) -> None:
    with visitor(browser) as operator:
        page = operator.page
        log_in(page, platform.url)
        page.get_by_role("link", name="Books").click()
        page.get_by_role("button", name="Verify the books").click()
        expect(page.get_by_text("The books are clean.")).to_be_visible(timeout=30_000)


def test_pages_are_light_complete_and_for_everyone(platform: Server, browser: Browser) -> None:
    game = platform.register(discovery="pull")
    one, two = (PlayerClient(platform.url, deposit=100_000) for _ in range(2))
    over, kept = (paid_match(one, two, game.client_id, 500) for _ in range(2))
    back_end = GameClient(platform.url, game)
    assert back_end.finish(back_end.report(over, one.user_id)).status_code == 200
    assert not back_end.finish(back_end.report(over, two.user_id)).json()["accepted"]
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, and not listening: the game cannot be told
        refusing = platform.register(f"http://127.0.0.1:{nobody.getsockname()[1]}/match")
        refused = paid_match(one, two, refusing.client_id, 100)
        one.await_status(refused, "aborted")
    decision = {"action": "suspend", "reason": "To be looked into."}
    waiting = paid_match(one, two, game.client_id, 60_000)
    assert platform.operator.post(f"/players/{one.user_id}", json=decision).status_code == 200
    assert back_end.finish(back_end.report(kept, one.user_id)).status_code == 200
    assert platform.operator.post(f"/matches/{waiting}/abort", json={"reason": "no good"}).status_code == 202
    told = platform.operator.get("/deliveries", params={"game_id": refusing.client_id}).json()["deliveries"]
    report = platform.studio.post(f"/games/{game.client_id}/conformance-reports", json=REPORT).json()
    ids = {
        "game_id": game.client_id,
        "report_id": report["report_id"],
        "user_id": one.user_id,
        "match_id": over,
        "delivery_id": told[0]["delivery_id"],
        "operator_id": platform.operator.get("/me").json()["operator_id"],
    }
    paths = own("operator", **ids)
    paths += [f"/operator/matches/{waiting}", f"/operator/matches/{refused}", "/operator/search?q=nothing-here"]
    paths += [f"/operator/ledger?account=player:{one.user_id}"]
    for options in (DESK, GERMAN_PHONE):
        with visitor(browser, **options) as operator:
            page = operator.page
            for path in open_to_all("operator"):
                check_anew(page, platform.url + path)
            enter(page, "operator", platform.operator)
            for path in paths:
                check_anew(page, platform.url + path)
            operator.faults = [fault for fault in operator.faults if "404" not in fault]

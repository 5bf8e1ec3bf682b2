"""Who somebody is, in Chromium: back in by a mail's link, an authenticator app, a passkey of a (virtual) device."""

from __future__ import annotations

import time

import pyotp
from playwright.sync_api import Browser, Page, expect

from tests.browser.for_everyone import PHONE, check
from tests.browser.test_site import visitor
from tests.harness import PASSWORD, PlayerClient, Server
from tests.web.test_account_api import NEW_PASSWORD, mail_to, person, token_in


def first_step(page: Page, url: str, username: str, password: str = PASSWORD) -> None:
    page.goto(f"{url}/log-in")
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("main").get_by_role("button", name="Log in", exact=True).click()


def open_factors(page: Page, url: str) -> None:
    page.goto(f"{url}/security")
    page.get_by_text("Add or remove").click()
    page.locator("#factors").get_by_label("Your password").fill(PASSWORD)


def test_back_in_by_the_link_of_a_mail(platform: Server, browser: Browser) -> None:
    player = PlayerClient(platform.url)
    email = player.must(200, "GET", "/me")["email"]
    with visitor(browser, **PHONE) as somebody:
        page = somebody.page
        page.goto(f"{platform.url}/log-in")
        page.get_by_role("link", name="Password forgotten?").click()
        check(page)
        page.get_by_label("Username or e-mail").fill(email)
        page.get_by_role("button", name="Send the link").click()
        expect(page.get_by_text("a mail is on its way")).to_be_visible()
        check(page)
        mail = mail_to(platform, email, "password-reset")
        page.goto(next(word for word in mail["text"].split() if "/reset-password?token=" in word))
        check(page)
        page.get_by_label("New password").fill(NEW_PASSWORD)
        page.get_by_role("button", name="Set the password").click()
        expect(page.get_by_text("The new password works from now on.")).to_be_visible()
        first_step(page, platform.url, player.username, NEW_PASSWORD)
        page.wait_for_url("**/games")


def way_out_of_mails(platform: Server) -> str:
    """The address of /unsubscribe in a mail about a match that was called off."""
    _, email, http = person(platform, "player")
    token = token_in(platform, mail_to(platform, email, "email-verification"), "/verify-email")
    assert http.post("/email-verifications/confirm", json={"token": token}).status_code == 204
    http.post("/wallet/deposits", json={"amount": 1_000, "currency": "XTS"})
    ask = {"game_id": platform.register(discovery="pull").client_id, "entry_fee": {"amount": 300, "currency": "XTS"}}
    match_id = http.post("/matches", json=ask).json()["match_id"]
    http.post(f"/matches/{match_id}/confirm")
    assert http.post(f"/matches/{match_id}/cancel").status_code == 200
    mail = mail_to(platform, email, "notification")
    return str(next(word for word in mail["text"].split() if "/unsubscribe?token=" in word))


def test_the_way_out_of_mails_is_for_everyone(platform: Server, browser: Browser) -> None:
    with visitor(browser, **PHONE) as somebody:
        page = somebody.page
        page.goto(way_out_of_mails(platform))
        check(page)
        page.get_by_role("button", name="Stop them").click()
        expect(page.get_by_role("heading", name="No more e-mails about this")).to_be_visible()
        check(page)


def test_an_authenticator_app_from_its_qr_code_to_the_second_step(platform: Server, browser: Browser) -> None:
    player = PlayerClient(platform.url)
    with visitor(browser, **PHONE) as somebody:
        page = somebody.page
        first_step(page, platform.url, player.username)
        page.wait_for_url("**/games")
        open_factors(page, platform.url)
        check(page)
        page.get_by_role("button", name="Set up an authenticator app").click()
        expect(page.get_by_role("img", name="QR code")).to_be_visible()
        check(page)
        app = pyotp.TOTP(page.locator("code.secret").inner_text().replace(" ", ""))
        page.get_by_label("Code that the app shows now").fill(app.now())
        page.get_by_role("button", name="Use this app").click()
        expect(page.locator(".codes li")).to_have_count(10)
        check(page)
        with page.expect_download() as downloading:
            page.get_by_role("link", name="Download").click()
        assert len(downloading.value.path().read_text().split()) == 10
        page.get_by_role("link", name="I have kept them").click()
        page.get_by_role("main").get_by_role("button", name="Log out", exact=True).last.click()
        first_step(page, platform.url, player.username)
        expect(page.get_by_role("heading", name="Second step")).to_be_visible()
        check(page)
        # A code counts once, and that of the next step counts already.
        page.get_by_label("Code of your authenticator app").fill(app.at(int(time.time()) + 30))
        page.get_by_role("button", name="Log in", exact=True).click()
        page.wait_for_url("**/games")


def test_a_passkey_is_made_and_logs_in_alone_and_as_a_second_step(platform: Server, browser: Browser) -> None:
    player = PlayerClient(platform.url)
    url = platform.url.replace("127.0.0.1", "localhost")  # browsers take no addresses for hosts of passkeys
    with visitor(browser) as somebody:
        page = somebody.page
        device = page.context.new_cdp_session(page)
        device.send("WebAuthn.enable")
        about = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True}
        options = {**about, "isUserVerified": True, "automaticPresenceSimulation": True}
        device.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        first_step(page, url, player.username)
        page.wait_for_url("**/games")
        open_factors(page, url)
        page.get_by_label("Name of a new passkey").fill("my desk")
        page.get_by_role("button", name="Add a passkey").click()
        expect(page.locator(".codes li")).to_have_count(10)
        page.get_by_role("link", name="I have kept them").click()
        expect(page.locator("#factors")).to_contain_text("my desk")
        check(page)
        for after_the_password in (False, True):
            page.get_by_role("main").get_by_role("button", name="Log out", exact=True).last.click()
            if after_the_password:
                first_step(page, url, player.username)
                check(page)
                page.get_by_role("button", name="Use a passkey").click()
            else:
                page.goto(f"{url}/log-in")
                page.get_by_role("button", name="Log in by passkey").click()
            page.wait_for_url("**/games")
            page.goto(f"{url}/security")
        expect(page.locator("#factors")).to_contain_text("last used")

"""One's own account on the site, the same for players, studios and operators: back in by mail, password, sessions."""

from __future__ import annotations

import re

import httpx
import pytest

from oklp.web.pages.security import device
from tests.harness import PASSWORD, Server
from tests.web.staff import log_in
from tests.web.test_account_api import NEW_PASSWORD, PAGES, mail_to, person, token_in, unique
from tests.web.test_pages import browser, tokens

BACKENDS = ("sqlite",)

KINDS = ["player", "studio", "operator"]
COOKIES = {"player": "oklp_player", "studio": "oklp_studio", "operator": "oklp_operator"}


def enter(served: Server, kind: str, name: str, password: str = PASSWORD) -> httpx.Client:
    """A browser that has logged in by the page of this surface."""
    site = browser(served)
    path = f"{PAGES[kind]}/log-in"
    answer = site.post(path, data={**tokens(site.get(path).text), "username": name, "password": password})
    assert answer.status_code == 303, answer.text
    return site


def send(site: httpx.Client, shown: str, path: str, **fields: str) -> httpx.Response:
    """A form of the page `shown`, sent to `path`."""
    return site.post(path, data={**tokens(site.get(shown).text), **fields})


@pytest.mark.parametrize("kind", KINDS)
def test_a_forgotten_password_is_replaced_by_the_link_of_a_mail(served: Server, kind: str) -> None:
    name, email, http = person(served, kind)
    site, at = browser(served), PAGES[kind]
    assert f'href="{at}/forgot-password"' in site.get(f"{at}/log-in").text
    answers = [send(site, f"{at}/forgot-password", f"{at}/forgot-password", name_or_email=who).text
               for who in (email, "nobody-of-this-name")]  # fmt: skip
    assert all("a mail is on its way" in text for text in answers)
    token = token_in(served, mail_to(served, email, "password-reset"), f"{at}/reset-password")
    link = f"{at}/reset-password?token={token}"
    assert site.get(link).status_code == 200
    assert site.get(link).status_code == 200, "whatever looks at a mail's links changes nothing"
    short = send(site, link, f"{at}/reset-password", token=token, password="short")
    assert (short.status_code, "8 to 256 characters." in short.text) == (422, True)
    planted = site.post(f"{at}/reset-password", data={"token": token, "password": "of another site"})
    assert planted.status_code == 400
    done = send(site, link, f"{at}/reset-password", token=token, password=NEW_PASSWORD)
    assert (done.status_code, done.headers["location"]) == (303, f"{at}/log-in")
    assert http.get("/me").status_code == 401
    assert "does not work any more" in site.get(link).text
    used = send(site, f"{at}/forgot-password", f"{at}/reset-password", token=token, password=PASSWORD)
    assert (used.status_code, "does not work any more" in used.text) == (422, True)
    enter(served, kind, name, NEW_PASSWORD)


def test_mails_are_in_the_language_of_the_page_that_asked(served: Server) -> None:
    """A player's stays: his next mail is in it, whoever asks. An operator's is kept nowhere."""
    site, name = browser(served, **{"Accept-Language": "de-AT, en;q=0.5"}), unique()
    email = f"{name}@example.org"
    typed = {"username": name, "email": email, "password": PASSWORD, "date_of_birth": "1990-05-17", "country": "DE"}
    assert send(site, "/sign-up", "/sign-up", **typed).status_code == 303
    proof = mail_to(served, email, "email-verification")
    assert (proof["subject"], "3 Tage lang" in proof["text"]) == ("Bitte bestätige deine E-Mail-Adresse", True)
    api = httpx.Client(base_url=served.url, timeout=30)
    assert api.post("/api/player/v1/password-resets", json={"name_or_email": name}).status_code == 202
    assert mail_to(served, email, "password-reset")["subject"] == "Wähle ein neues Passwort"
    operator, address, _ = person(served, "operator")
    by_page = browser(served)
    by_page.get("/operator/log-in?language=de")
    at = "/operator/forgot-password"
    assert "ist eine E-Mail unterwegs" in send(by_page, at, at, name_or_email=operator).text
    reset = mail_to(served, address, "password-reset")
    assert reset["subject"] == "Wähle ein neues Passwort"
    done = {"token": token_in(served, reset, "/operator/reset-password"), "password": NEW_PASSWORD}
    english = {"Accept-Language": "en"}
    confirmed = api.post("/api/operator/v1/password-resets/confirm", json=done, headers=english)
    assert confirmed.status_code == 204
    assert mail_to(served, address, "password-changed")["subject"] == "Your password was changed"


@pytest.mark.parametrize("kind", KINDS)
def test_an_address_is_confirmed_by_the_button_behind_the_link(served: Server, kind: str) -> None:
    name, _, http = person(served, kind)
    at, new = PAGES[kind], f"{unique()}@example.org"
    site = enter(served, kind, name)
    refused = send(site, f"{at}/security", f"{at}/security/email", email=new, email_password="a guess")
    assert (refused.status_code, "This is not your password." in refused.text) == (422, True)
    assert 'value="a guess"' not in refused.text
    sent = send(site, f"{at}/security", f"{at}/security/email", email=new, email_password=PASSWORD)
    assert sent.status_code == 303
    assert new in site.get(sent.headers["location"]).text
    token = token_in(served, mail_to(served, new, "email-verification"), f"{at}/verify-email")
    link = f"{at}/verify-email?token={token}"
    site.get(link)
    assert http.get("/me").json()["email"] != new
    done = send(site, link, f"{at}/verify-email", token=token)
    assert (done.status_code, done.headers["location"]) == (303, f"{at}/security")
    assert "Not confirmed" not in site.get(f"{at}/security").text
    assert http.get("/me").json()["email"] == new
    again = send(site, f"{at}/forgot-password", f"{at}/verify-email", token=token)
    assert (again.status_code, "does not work any more" in again.text) == (422, True)


@pytest.mark.parametrize("kind", KINDS)
def test_sessions_are_seen_and_ended_and_a_password_is_changed(served: Server, kind: str) -> None:
    name, _, first = person(served, kind)
    at = f"{PAGES[kind]}/security"
    second, third = log_in(served, kind, name), log_in(served, kind, name)
    site = enter(served, kind, name)
    text = site.get(at).text
    assert text.count('/end"') >= 3
    assert text.count("This device") == 1
    newest = re.search(rf"{at}/sessions/([0-9a-f]{{32}})/end", text)
    assert newest is not None
    assert send(site, at, f"{at}/sessions/{newest[1]}/end").status_code == 303
    assert [http.get("/me").status_code for http in (first, second, third)].count(401) == 1
    wrong = send(site, at, f"{at}/password", current_password="a guess", new_password=NEW_PASSWORD)
    assert (wrong.status_code, "This is not your password." in wrong.text) == (422, True)
    changed = send(site, at, f"{at}/password", current_password=PASSWORD, new_password=NEW_PASSWORD)
    assert changed.status_code == 303
    assert [http.get("/me").status_code for http in (first, second, third)] == [401, 401, 401]
    other = enter(served, kind, name, NEW_PASSWORD)
    assert send(site, at, f"{at}/sessions").status_code == 303
    assert "Log out everywhere else" not in site.get(at).text
    assert 'name="password"' in other.get(at).text, "it is asked to log in"


def test_a_session_of_another_is_not_ended(served: Server) -> None:
    name, _, _ = person(served, "player")
    theirs, _, http = person(served, "player")
    [session] = [each for each in http.get("/sessions").json()["sessions"] if each["current"]]
    site = enter(served, "player", name)
    assert send(site, "/security", f"/security/sessions/{session['session_id']}/end").status_code == 404
    assert http.get("/me").json()["username"] == theirs


@pytest.mark.parametrize("kind", KINDS)
def test_own_accounts_are_shown_to_whoever_is_logged_in_there(served: Server, kind: str) -> None:
    at = f"{PAGES[kind]}/security"
    for other in set(KINDS) - {kind}:
        name, _, _ = person(served, other)
        token = enter(served, other, name).cookies[COOKIES[other]]
        site = browser(served)
        site.cookies.set(COOKIES[kind], token, domain="127.0.0.1", path="/")
        assert f'action="{PAGES[kind]}/log-in"' in site.get(at).text
        assert site.post(f"{at}/sessions").status_code == 401


@pytest.mark.parametrize(
    ("user_agent", "said"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox, Linux"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Mobile/1 Safari/604.1", "Safari, iPhone"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0", "Edge, Windows"),
        ("<script>", ""),
        (None, ""),
    ],
)
def test_programs_are_called_as_people_call_them(user_agent: str | None, said: str) -> None:
    assert device(user_agent) == said

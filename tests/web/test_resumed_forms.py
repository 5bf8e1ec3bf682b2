"""A form whose session ended meanwhile comes back as it was typed, without passwords, and nothing is done by itself."""

from __future__ import annotations

import html
import re
from typing import NamedTuple

import httpx
import pytest

from tests.harness import PASSWORD, PlayerClient, Server, paid_match
from tests.web.test_pages import browser, logged_in, tokens


class Case(NamedTuple):
    """A form: where it is shown, where it is sent, what was typed into it, and what of that comes back."""

    page: str
    sent_to: str
    typed: dict[str, str]
    back: list[str]


CASES = {
    "match": Case("/matches/new", "/matches/new", {"fee": "7.50", "invite": "somebody"}, ["7.50", "somebody"]),
    "deposit": Case("/wallet", "/wallet", {"kind": "deposit", "amount": "12.34"}, ["12.34"]),
    "withdrawal": Case("/wallet", "/wallet", {"kind": "withdrawal", "amount": "12.35"}, ["12.35"]),
    "invitation": Case("/matches/{match}", "/matches/{match}/invite", {"usernames": "ann bob"}, ["ann bob"]),
    "address": Case(
        "/security", "/security/email", {"email": "new@example.org", "email_password": PASSWORD}, ["new@example.org"]
    ),
    "choices": Case("/settings/notifications", "/settings/notifications", {"language": "de", "lost.mail": "yes"}, []),
}


@pytest.fixture(scope="module")
def match(served: Server) -> tuple[PlayerClient, str]:
    """A player, and a match that he has joined."""
    player = PlayerClient(served.url)
    return player, player.create(served.register(discovery="pull").client_id, 500)


def end(site: httpx.Client, player: PlayerClient) -> None:
    """The session of the browser is ended elsewhere."""
    headers = {"Authorization": f"Bearer {site.cookies['oklp_player']}"}
    assert player.http.delete("/api/player/v1/sessions/current", headers=headers).status_code == 204


def values(page: str) -> list[str]:
    """What is in the fields that people see."""
    fields = re.findall(r"<input(?![^>]*hidden)[^>]*>", page)
    return [html.unescape(found[1]) for field in fields if (found := re.search(r' value="([^"]*)"', field))]


def waiting(page: str) -> dict[str, str]:
    """The hidden fields of the log-in page."""
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page)
    return {name: html.unescape(value) for name, value in reversed(found)}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_what_was_typed_comes_back_after_the_log_in(
    served: Server, match: tuple[PlayerClient, str], case: Case
) -> None:
    player, match_id = match
    shown, sent_to = (path.format(match=match_id) for path in (case.page, case.sent_to))
    site = logged_in(served, player)
    form = tokens(site.get(shown).text)
    end(site, player)
    before = player.available()
    asked = site.post(sent_to, data={**form, **case.typed})
    assert asked.status_code == 401
    assert "your form comes back as you left it" in asked.text
    assert PASSWORD not in asked.text
    back = site.post("/log-in", data={**waiting(asked.text), "username": player.username, "password": PASSWORD})
    assert back.status_code == 200
    assert f'data-address="{shown}"' in back.text
    assert [each for each in case.back if each not in values(back.text)] == []
    assert PASSWORD not in back.text
    assert player.available() == before, "no money moves by itself"
    if case.page == "/settings/notifications":
        assert re.findall(r'name="([a-z.]+)" [^>]*checked', back.text) == ["lost.mail"]


STAFF = {
    "abort": Case("/operator/matches/{match}", "/operator/matches/{match}/abort", {"reason": "no\r\ngood"}, []),
    "settle": Case("/operator/matches/{match}", "/operator/matches/{match}/settle", {"score-1": "4711"}, ["4711"]),
    "suspend": Case(
        "/operator/players/{user}", "/operator/players/{user}/act", {"action": "suspend", "reason": "a cheat"}, []
    ),
    "vetting": Case(
        "/operator/games/{game}", "/operator/games/{game}/vetting", {"decision": "suspend", "reason": "gone"}, []
    ),
    "settings": Case("/studio/games/{game}/settings", "/studio/games/{game}/settings", {"name": "Anew"}, ["Anew"]),
    "fault": Case(
        "/studio/games/{game}/faults", "/studio/games/{game}/faults", {"kind": "finish_slow", "times": "17"}, ["17"]
    ),
    "test": Case("/studio/games/{game}/webhooks", "/studio/games/{game}/test-event", {"participants": "12"}, ["12"]),
    "member": Case("/studio/members", "/studio/members", {"username": "newcomer", "password": "x"}, ["newcomer"]),
}


@pytest.mark.parametrize("case", STAFF.values(), ids=STAFF.keys())
def test_what_staff_typed_comes_back_after_the_log_in_too(served: Server, case: Case) -> None:
    kind = case.page.split("/")[1]
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    game_id = served.register("http://127.0.0.1:9/match").client_id
    parts = {"game": game_id, "user": one.user_id}
    if "{match}" in case.page:
        parts["match"] = paid_match(one, two, served.register(discovery="pull").client_id)
    shown, sent_to = (path.format(**parts) for path in (case.page, case.sent_to))
    staff = served.operator if kind == "operator" else served.studio
    name = staff.get("/me").json()["username"]
    site = browser(served)
    form = tokens(site.get(f"/{kind}/log-in").text)
    entered = site.post(f"/{kind}/log-in", data={**form, "username": name, "password": PASSWORD})
    assert entered.status_code == 303
    form = tokens(site.get(shown).text)
    ended = {"Authorization": f"Bearer {site.cookies[f'oklp_{kind}']}"}
    assert httpx.delete(f"{served.url}/api/{kind}/v1/sessions/current", headers=ended).status_code == 204
    asked = site.post(sent_to, data={**form, **case.typed})
    assert asked.status_code == 401
    assert "your form comes back as you left it" in asked.text
    back = site.post(f"/{kind}/log-in", data={**waiting(asked.text), "username": name, "password": PASSWORD})
    assert back.status_code == 200
    assert f'data-address="{shown}"' in back.text
    assert [each for each in case.back if each not in values(back.text)] == []
    if "reason" in case.typed:
        (opened,) = re.findall(r'<details class="dialog" id="[^"]+" open>.*?</details>', back.text, re.DOTALL)
        assert f">\n{case.typed['reason']}</textarea>" in opened
    assert site.get(shown).status_code == 200, "and nothing is done by itself"


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_form_from_before_another_log_in_is_shown_again_and_not_taken(
    served: Server, match: tuple[PlayerClient, str], case: Case
) -> None:
    player, match_id = match
    shown, sent_to = (path.format(match=match_id) for path in (case.page, case.sent_to))
    old, site = logged_in(served, player), logged_in(served, player)
    form = tokens(old.get(shown).text)
    before = player.available()
    again = site.post(sent_to, data={**form, **case.typed})
    assert again.status_code == 403
    assert "You have logged in again since" in again.text
    assert f'data-address="{shown}"' in again.text
    assert [each for each in case.back if each not in values(again.text)] == []
    assert PASSWORD not in again.text
    assert player.available() == before
    if case.page == "/wallet":
        taken = site.post(sent_to, data={**case.typed, **tokens(again.text)})
        assert taken.status_code == 303, "and what it shows can be sent"
        assert player.available() != before


def test_a_button_that_only_acts_leads_back_to_its_page(served: Server, match: tuple[PlayerClient, str]) -> None:
    owner, match_id = match
    code = owner.match(match_id)["join_code"]
    player = PlayerClient(served.url)
    site = logged_in(served, player)
    link = f"/matches/{match_id}?code={code}"
    form = tokens(site.get(link).text)
    end(site, player)
    asked = site.post(f"/matches/{match_id}/join", data={**form, "code": code})
    assert waiting(asked.text)["next"] == link, "a private match is not seen without its code"
    privacy = site.post("/privacy", data=form, headers={"Referer": f"{served.url}/players/{player.username}"})
    assert waiting(privacy.text)["next"] == f"/players/{player.username}"
    elsewhere = site.post("/privacy", data=form, headers={"Referer": "https://evil.example//evil.example/x"})
    assert waiting(elsewhere.text)["next"] == "/games"
    again = site.post("/log-in", data={**waiting(asked.text), "username": player.username, "password": PASSWORD})
    assert (again.status_code, again.headers["location"]) == (303, link)
    assert site.post("/privacy", data={"_csrf": "0" * 64}).status_code == 403


def test_what_is_below_security_leads_back_to_it(served: Server) -> None:
    """There is no page between the two: /security/totp takes forms alone."""
    player = PlayerClient(served.url, deposit=0)
    site = logged_in(served, player)
    form = tokens(site.get("/security").text)
    end(site, player)
    for path in ("/security/totp", "/security/totp/confirm", "/security/sessions/0/end"):
        asked = site.post(path, data={**form, "factor_password": PASSWORD})
        assert (asked.status_code, waiting(asked.text)["next"]) == (401, "/security"), path


def test_a_log_in_that_another_tab_was_faster_than_leads_on_with_what_was_typed(served: Server) -> None:
    player = PlayerClient(served.url)
    site = logged_in(served, player)
    form = tokens(site.get("/matches/new").text)
    end(site, player)
    asked = site.post("/matches/new", data={**form, "fee": "7.50", "invite": "somebody"})
    person = {"username": player.username, "password": PASSWORD}
    stale = {**waiting(asked.text), **person}
    assert site.post("/log-in", data={**tokens(site.get("/log-in").text), **person}).status_code == 303
    session = site.cookies["oklp_player"]
    back = site.post("/log-in", data=stale)
    assert back.status_code == 403, "it is shown, and nothing is done"
    assert "You have logged in again since" in back.text
    assert 'data-address="/matches/new"' in back.text
    assert {"7.50", "somebody"} <= set(values(back.text))
    assert PASSWORD not in back.text
    for path in ("/log-in", "/log-in/second-step", "/log-in/passkey"):
        led = site.post(path, data={**stale, "_carried": "", "next": "/wallet"})
        assert (led.status_code, led.headers["location"]) == (303, "/wallet"), path
        elsewhere = site.post(path, data={**stale, "_carried": "", "next": "https://evil.example"})
        assert (elsewhere.status_code, elsewhere.headers["location"]) == (303, "/games"), path
    assert site.cookies["oklp_player"] == session, "nobody is logged in by it"
    assert "You are logged in already." in site.get("/wallet").text


def test_a_sign_up_that_was_open_for_too_long_keeps_what_was_typed(served: Server) -> None:
    form = tokens(browser(served).get("/sign-up").text)
    typed = {"username": "Slow-Ada", "email": "ada@example.org", "date_of_birth": "1990-05-17", "country": "DE"}
    other = browser(served)
    told = other.post("/sign-up", data={**form, **typed, "password": PASSWORD})
    assert told.status_code == 400
    assert "open for too long" in told.text
    assert {"Slow-Ada", "ada@example.org", "1990-05-17"} <= set(values(told.text))
    assert PASSWORD not in told.text
    done = other.post("/sign-up", data={**tokens(told.text), **typed, "password": PASSWORD})
    assert done.status_code == 303


def test_so_does_the_sign_up_of_a_studio(served: Server) -> None:
    form = tokens(browser(served).get("/studio/sign-up").text)
    typed = {"name": "Slow Games", "username": "slow-games", "email": "slow@example.org"}
    other = browser(served)
    told = other.post("/studio/sign-up", data={**form, **typed, "password": PASSWORD})
    assert (told.status_code, "open for too long" in told.text, "is not right" in told.text) == (400, True, False)
    assert set(typed.values()) <= set(values(told.text))
    assert PASSWORD not in told.text
    done = other.post("/studio/sign-up", data={**tokens(told.text), **typed, "password": PASSWORD})
    assert done.status_code == 303

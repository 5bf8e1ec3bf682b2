"""What goes wrong has a page or a message of its own, with the right status, and says what to do next."""

from __future__ import annotations

import asyncio
import re
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response

from oklp.errors import InvariantBroken, NotFound, OklpError, Overloaded, TooManyRequests
from oklp.settings import Settings
from oklp.web.pages.frame import lost
from tests.harness import PlayerClient, Server
from tests.web.test_pages import browser, logged_in, tokens


@pytest.fixture(scope="module")
def game(served: Server) -> str:
    return served.register(discovery="pull").client_id


def main_of(answer: httpx.Response) -> str:
    """What the page says, without its frame."""
    return answer.text.split("<main")[1].split("</main>")[0]


def next_of(answer: httpx.Response) -> list[str]:
    """Where the buttons of an error page lead."""
    actions = re.findall(r'<p class="actions">(.*?)</p>', main_of(answer))
    return re.findall(r'href="([^"]+)"', actions[-1])


def test_a_match_that_one_may_not_see_looks_like_one_that_there_is_not(served: Server, game: str) -> None:
    owner, player = PlayerClient(served.url), PlayerClient(served.url)
    site = logged_in(served, player)
    private = owner.create(game, 500)
    told = []
    for match_id in (private, "0" * 24, "no-match"):
        for answer in (site.get(f"/matches/{match_id}"), site.get(f"/matches/{match_id}?code=wrong")):
            assert answer.status_code == 404
            told.append(main_of(answer))
    assert len(set(told)) == 1
    assert "You cannot see this match" in told[0]
    assert "Ask whoever invited you" in told[0]
    assert next_of(site.get(f"/matches/{private}")) == ["/matches", "/matches?show=open"]
    sent = site.post(f"/matches/{private}/join", data=tokens(site.get("/wallet").text))
    assert (sent.status_code, "You cannot see this match" in sent.text) == (404, True)


def test_what_was_paid_is_said_once_and_by_no_link(served: Server) -> None:
    site = logged_in(served, PlayerClient(served.url, deposit=500))
    shown = site.get("/wallet?done=withdrawn").text
    assert "The withdrawal is on its way." not in shown
    for kind, said in (("withdrawal", "The withdrawal is on its way."), ("deposit", "The deposit is in your wallet.")):
        sent = site.post("/wallet", data={**tokens(shown), "_once": kind, "kind": kind, "amount": "1"})
        assert (sent.status_code, sent.headers["location"]) == (303, "/wallet")
        shown = site.get("/wallet").text
        assert said in shown
        assert said not in site.get("/wallet").text


def test_an_unknown_address_takes_a_language_and_a_theme_and_leads_to_no_other_site(served: Server) -> None:
    site = browser(served)
    links = re.findall(r'href="([^"]*(?:language|theme)=[^"]+)"', site.get("/nowhere?x=1").text)
    assert {"?x=1&amp;language=de", "?x=1&amp;theme=dark"} <= set(links)
    for choice in ("language=de", "theme=dark"):
        chosen = site.get(f"/nowhere?x=1&{choice}")
        assert (chosen.status_code, chosen.headers["location"]) == (303, "/nowhere?x=1")
    shown = site.get("/nowhere?x=1")
    assert (shown.status_code, '<html lang="de" data-theme="dark"' in shown.text) == (404, True)
    for elsewhere in ("//evil.example/x", "/%2Fevil.example/x", "/%5Cevil.example/x"):
        answer = site.get(f"{served.url}{elsewhere}?language=de")
        assert (answer.status_code, "location" in answer.headers) == (404, False), elsewhere


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_above_the_limit_is_told_to_people_as_a_page(served: Server, declared: bool) -> None:
    site, body = browser(served), b"x" * 300_000
    headers = {"Accept": "text/html", "Accept-Language": "de", "Content-Type": "application/x-www-form-urlencoded"}
    sent = site.post("/wallet", content=body if declared else iter([body]), headers=headers)
    assert (sent.status_code, sent.headers["content-type"]) == (413, "text/html; charset=utf-8")
    assert '<html lang="de"' in sent.text
    assert next_of(sent) == ["/"]


def test_whoever_cannot_pay_is_led_to_the_missing_money_and_back(served: Server, game: str) -> None:
    player = PlayerClient(served.url, deposit=120)
    site = logged_in(served, player)
    match_id = player.create(game, 500)
    room = f"/matches/{match_id}"
    shown = site.get(room).text
    assert "Deposit the missing 3.80" in shown
    assert f'href="/wallet?deposit=3.80&amp;for={match_id}"' in shown
    refused = site.post(f"{room}/confirm", data=tokens(shown))
    assert refused.status_code == 409
    assert "Your balance does not cover this" in refused.text
    assert "Deposit the missing 3.80" in refused.text
    wallet = site.get(f"/wallet?deposit=3.80&for={match_id}").text
    assert 'value="3.80"' in wallet
    assert f'href="{room}"' in wallet
    wrong = site.post("/wallet", data={**tokens(wallet), "kind": "deposit", "amount": "much", "for": match_id})
    assert (wrong.status_code, f'name="for" value="{match_id}"' in wrong.text) == (422, True)
    back = site.post("/wallet", data={**tokens(wrong.text), "kind": "deposit", "amount": "3.80", "for": match_id})
    assert (back.status_code, back.headers["location"]) == (303, room)
    assert "The deposit is in your wallet." in site.get(room).text
    elsewhere = {"kind": "deposit", "amount": "1", "for": "../../evil"}
    assert site.post("/wallet", data={**tokens(wallet), **elsewhere}).headers["location"] == "/wallet"
    much = {"kind": "withdrawal", "amount": "900"}
    refused = site.post("/wallet", data={**tokens(wallet), "_once": "w", **much})
    assert (refused.status_code, "Deposit first" in refused.text) == (409, False)
    assert '<p class="error" id="withdrawal-e">That is more than your balance.</p>' in refused.text


def test_a_match_that_is_full_or_over_says_so_in_its_room(served: Server, game: str) -> None:
    one, two, late = (PlayerClient(served.url) for _ in range(3))
    site = logged_in(served, late)
    match_id = one.create(game, 500, visibility="public")
    form = tokens(site.get(f"/matches/{match_id}").text)
    two.act(match_id, "join")
    full = site.post(f"/matches/{match_id}/join", data=form)
    assert full.status_code == 409
    assert "Every seat is taken" in full.text
    assert f'href="/games/{game}"' in main_of(full)
    two.act(match_id, "leave")
    one.act(match_id, "cancel")
    over = site.post(f"/matches/{match_id}/join", data={**form, "_once": "again"})
    assert (over.status_code, "The match has moved on" in over.text) == (409, True)
    mine = logged_in(served, one)
    closed = mine.post(f"/matches/{match_id}/confirm", data=tokens(mine.get("/wallet").text))
    assert closed.status_code == 409
    assert "The match has moved on" in closed.text
    assert "The player who made it called it off." in closed.text
    assert "Try again" in main_of(closed)


def test_a_session_that_was_ended_elsewhere_is_told_from_none(served: Server) -> None:
    player = PlayerClient(served.url, deposit=0)
    site = logged_in(served, player)
    headers = {"Authorization": f"Bearer {site.cookies['oklp_player']}"}
    assert player.http.delete("/api/player/v1/sessions/current", headers=headers).status_code == 204
    assert "it was ended elsewhere" in site.get("/wallet").text
    assert "it was ended elsewhere" not in browser(served).get("/wallet").text


def test_too_many_tries_say_how_long_to_wait(served: Server) -> None:
    player = PlayerClient(served.url, deposit=0)
    site = browser(served)
    form = tokens(site.get("/log-in").text)
    for n in range(10):
        wrong = {"username": player.username, "password": f"guess {n}"}
        assert site.post("/log-in", data={**form, **wrong}).status_code == 401
    limited = site.post("/log-in", data={**form, "username": player.username, "password": "correct horse"})
    assert limited.status_code == 429
    assert int(limited.headers["retry-after"]) > 0
    assert re.search(r"Try again in \d+ minutes?\.", limited.text)
    assert f'value="{player.username}"' in limited.text


def test_unknown_addresses_and_forms_of_others_have_pages(served: Server) -> None:
    site = logged_in(served, PlayerClient(served.url, deposit=0))
    missing = site.get("/no/such/page")
    assert (missing.status_code, next_of(missing)) == (404, ["/games"])
    assert next_of(browser(served).get("/no/such/page")) == ["/"]
    assert site.get("/games/none").status_code == site.get("/players/nobody-of-this-name").status_code == 404
    headers = {"Referer": f"{served.url}/notifications?cursor=x"}
    forged = site.post("/notifications", data={"_csrf": "0", "upto": "1"}, headers=headers)
    assert forged.status_code == 403
    assert "This is not allowed" in forged.text
    assert next_of(forged) == ["/notifications?cursor=x", "/games"]


@pytest.mark.parametrize(
    ("refusal", "said", "ways"),
    [
        (TooManyRequests("x", retry_after_seconds=20), "Try again in 20 seconds.", ["/wallet?kind=fees", "/"]),
        (Overloaded("x", retry_after_seconds=1), "Many people are here at once.", ["/wallet?kind=fees", "/"]),
        (InvariantBroken("x"), "Something went wrong on our side", ["/wallet?kind=fees", "/"]),
        (NotFound("x"), "There is nothing here", ["/"]),
    ],
)
def test_what_the_server_has_against_a_request_is_a_page(refusal: OklpError, said: str, ways: list[str]) -> None:
    """Without a server, which is hard to keep as busy as that; and without a database, which may be away."""

    class Away:
        def read_set(self, *_: object) -> None:
            raise Overloaded("no database", retry_after_seconds=1)

    context = SimpleNamespace(settings=Settings(), db=Away(), clock=lambda: 0)
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": "/wallet",
        "query_string": b"kind=fees",
        "scheme": "http",
        "headers": [(b"cookie", b"oklp_player=x")],
        "server": ("oklp.test", 80),
        "app": SimpleNamespace(state=SimpleNamespace(context=context)),
    }
    answer: Response = asyncio.run(lost(Request(scope), refusal))
    as_seen = cast(httpx.Response, SimpleNamespace(text=bytes(answer.body).decode()))
    assert answer.status_code == refusal.status
    assert answer.headers.get("retry-after") == (
        str(refusal.retry_after_seconds) if said.startswith(("Try", "Many")) else None
    )
    assert said in main_of(as_seen)
    assert next_of(as_seen) == ways

"""Sessions under attack: planted, stolen, ended elsewhere, carried to another surface, asked for by another host."""

from __future__ import annotations

import base64
import http.client
import json
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager

import httpx
import pytest

from tests.answering import answering
from tests.harness import PASSWORD, PLAYER, PlayerClient, Server
from tests.web.test_account_api import NEW_PASSWORD, PAGES, person, unique
from tests.web.test_account_pages import COOKIES, KINDS, enter, send
from tests.web.test_factor_pages import enrol
from tests.web.test_pages import browser, logged_in, tokens
from tests.web.test_studio_pages import api, delivered, hidden, member, owner, register, visitor

BACKENDS = ("sqlite",)

# --- other tokens, when more depends on them -------------------------------------------------------------------------


def _works(served: Server, kind: str, token: str) -> bool:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.get(f"{served.url}/api/{kind}/v1/me", headers=headers).status_code == 200


@pytest.mark.parametrize("kind", KINDS)
def test_a_session_has_another_token_once_the_password_or_a_factor_is_another(served: Server, kind: str) -> None:
    """Whoever planted the token, or read it off somewhere, has nothing any more."""
    name, _, _ = person(served, kind)
    at, cookie = f"{PAGES[kind]}/security", COOKIES[kind]
    site = enter(served, kind, name)
    seen = [site.cookies[cookie]]
    changed = send(site, at, f"{at}/password", current_password=PASSWORD, new_password=NEW_PASSWORD)
    assert changed.status_code == 303
    seen.append(site.cookies[cookie])
    assert send(site, at, f"{at}/password", current_password=NEW_PASSWORD, new_password=PASSWORD).status_code == 303
    seen.append(site.cookies[cookie])
    enrol(site, at)
    seen.append(site.cookies[cookie])
    assert send(site, at, f"{at}/totp/remove", factor_password=PASSWORD).status_code == 303
    seen.append(site.cookies[cookie])
    assert len(set(seen)) == 5
    assert [_works(served, kind, token) for token in seen] == [False, False, False, False, True]
    assert site.get(at).status_code == 200


def test_a_member_of_another_role_logs_in_again_and_is_what_he_is_now(served: Server) -> None:
    site = owner(served)
    game_id = register(served, site)
    developer = member(served, site, "developer")
    settings = f"/studio/games/{game_id}/settings"
    open_page = hidden(developer.get(settings).text)
    [them] = [each for each in api(served, site).get("/members").json()["members"] if each["role"] == "developer"]
    form = hidden(site.get("/studio/members").text)
    change = {"member": them["member_id"], "role": "viewer"}
    assert site.post("/studio/members/role", data={**form, **change}).status_code == 303
    late = developer.post(settings, data={**open_page, "name": "Mine now"})
    assert (late.status_code, 'action="/studio/log-in"' in late.text) == (401, True)
    entered = {**hidden(late.text), "username": them["username"], "password": PASSWORD}
    inside = developer.post("/studio/log-in", data=entered)
    assert (inside.status_code, "Mine now" in inside.text) == (403, False), "the form is for developers"
    assert developer.get(f"/studio/games/{game_id}").status_code == 200
    assert developer.get(settings).status_code == 403
    assert developer.post(settings, data=hidden(developer.get("/studio/you").text)).status_code == 403
    assert api(served, site).get(f"/games/{game_id}").json()["name"] != "Mine now"


# --- streams of a session that is over -------------------------------------------------------------------------------


@contextmanager
def streaming(site: httpx.Client, path: str) -> Iterator[Iterator[str]]:
    with site.stream("GET", path, headers={"Accept": "text/event-stream"}, timeout=20) as stream:
        assert stream.status_code == 200
        lines = stream.iter_lines()
        assert next(lines).startswith("retry:")
        yield lines


@pytest.mark.parametrize("path", ["/live", f"{PLAYER}/events"])
def test_a_players_stream_says_nothing_more_after_the_log_out(served: Server, path: str) -> None:
    """However much there is to say: a busy stream was once never asked whose it is."""
    player = PlayerClient(served.url)
    site = logged_in(served, player)
    token = site.cookies["oklp_player"]
    site.headers["Authorization"] = f"Bearer {token}"
    with streaming(site, path) as lines:
        player.must(201, "POST", "/wallet/deposits", {"amount": 1, "currency": "XTS"})
        assert "event: wallet" in lines
        ended = httpx.delete(f"{served.url}{PLAYER}/sessions/current", headers={"Authorization": f"Bearer {token}"})
        assert ended.status_code == 204
        player.must(201, "POST", "/wallet/deposits", {"amount": 1, "currency": "XTS"})
        assert not [line for line in lines if line.startswith(("data", "event"))][1:], "a line of the event before"


def test_a_studios_stream_says_nothing_more_to_a_member_who_was_removed(served: Server) -> None:
    site = owner(served)
    game_id = register(served, site)
    developer = member(served, site, "developer")
    path = f"/studio/games/{game_id}/webhooks"
    with streaming(developer, f"{path}/live") as lines:
        assert "event: change" in lines
        [them] = [each for each in api(served, site).get("/members").json()["members"] if each["role"] == "developer"]
        form = {**hidden(site.get("/studio/members").text), "member": them["member_id"]}
        assert site.post("/studio/members/remove", data=form).status_code == 303
        assert api(served, site).post(f"/games/{game_id}/test-event").status_code == 201
        assert not [line for line in lines if line.startswith("event")]


# --- a form that was carried through a log-in ------------------------------------------------------------------------


def _carrying(served: Server, kind: str, name: str, carried: str) -> httpx.Response:
    site, path = browser(served), f"{PAGES[kind]}/log-in"
    form = {**tokens(site.get(path).text), "username": name, "password": PASSWORD, "_carried": carried}
    return site.post(path, data=form)


@pytest.mark.parametrize(
    "carried",
    [
        json.dumps({"path": "/studio/new-game", "fields": {"name": "Not of players"}}),
        json.dumps({"path": "/security", "fields": {}}),
        '{"path": "/wallet", "fields": {"amount": "\\ud800", "kind": "deposit"}}',
        '{"path": "/wallet", "fields": []}',
        '{"path": ["/wallet"], "fields": {}}',
        "[" * 20_000,
        "{",
        "null",
    ],
)
def test_what_a_log_in_carries_that_it_should_not_is_left_behind(served: Server, carried: str) -> None:
    name, _, _ = person(served, "player")
    answer = _carrying(served, "player", name, carried)
    assert (answer.status_code, answer.headers.get("location")) == (303, "/games"), answer.text


def test_a_carried_form_is_not_shown_to_whoever_may_not_fill_it_in(served: Server) -> None:
    viewer = member(served, owner(served), "viewer")
    name = api(served, viewer).get("/me").json()["username"]
    carried = json.dumps({"path": "/studio/new-game", "fields": {"name": "Theirs", "step": "1"}})
    answer = _carrying(served, "studio", name, carried)
    assert (answer.status_code, "Theirs" in answer.text) == (403, False)


# --- hosts and characters that are none ------------------------------------------------------------------------------


def _raw(served: Server, path: str, host: str, cookie: str = "") -> tuple[int, str, str]:
    """Status, `Location` and text of an answer to a request with this Host header."""
    with closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)) as connection:
        connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
        for name, value in {"Host": host, "Accept": "text/html", "Cookie": cookie}.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.getheader("Location") or "", answer.read().decode()


HOSTS = [
    "evil.example",
    "evil.example:80",
    "x//evil.example/?",
    "evil.example/x#",
    "[",
    "a b",
    "127.0.0.1@evil.example",
]


@pytest.mark.parametrize("host", HOSTS)
def test_no_address_is_made_of_the_host_that_a_request_names(served: Server, host: str) -> None:
    site = logged_in(served, PlayerClient(served.url))
    cookie = f"oklp_player={site.cookies['oklp_player']}"
    for path in ("/settings", "/wallet?cursor=", "/matches?show=open"):
        mark = "&" if "?" in path else "?"
        status, location, _ = _raw(served, f"{path}{mark}theme=dark", host, cookie)
        assert (status, location) == (303, path)
    for path in ("/", "/wallet", "/forgot-password", "/studio", "/operator/log-in", "/nowhere"):
        status, _, text = _raw(served, path, host, cookie)
        assert status in (200, 303, 404), (path, status)
        assert "evil.example" not in text, path
    _, _, text = _raw(served, "/wallet?cursor=", host)
    assert 'name="next" value="/wallet?cursor="' in text


@pytest.mark.parametrize("host", ["evil.example", "evil.example/?"])
def test_links_in_mails_lead_to_the_public_address_whatever_the_request_says(served: Server, host: str) -> None:
    name = unique()
    body = {"username": name, "email": f"{name}@example.org", "password": PASSWORD, "date_of_birth": "1990-05-17",
            "country": "DE"}  # fmt: skip
    headers = {"Host": host, "X-Forwarded-Host": host, "X-Forwarded-Proto": "https", "Forwarded": f"host={host}"}
    assert httpx.post(f"{served.url}{PLAYER}/players", json=body, headers=headers).status_code == 201
    asked = httpx.post(f"{served.url}{PLAYER}/password-resets", json={"name_or_email": name}, headers=headers)
    assert asked.status_code == 202
    mails = served.operator.get("/mails", params={"recipient": f"{name}@example.org"}).json()["mails"]
    assert mails
    for mail in mails:
        assert "evil.example" not in mail["text"]
        links = re.findall(r"https?://\S+", mail["text"])
        assert links
        assert all(link.startswith(f"{served.url}/") for link in links), links


HALF = '"\\ud800 half of a pair"'


def test_half_a_character_in_a_games_answer_is_shown_as_it_came(served: Server) -> None:
    """In JSON it can be written, and on no page: the page of such a delivery was once an error."""
    site = owner(served)
    with answering(500, HALF, {"Content-Type": "application/json"}) as url:
        game_id = register(served, site, webhook_url=url)
        form = hidden(site.get(f"/studio/games/{game_id}/webhooks").text)
        fields = {"event": "match.started", "participants": "2", "teams": "2"}
        path = site.post(f"/studio/games/{game_id}/test-event", data={**form, **fields}).headers["Location"]
        assert "\\ud800 half of a pair" in delivered(site, path)
    delivery_id = path.rpartition("/")[2]
    assert served.operator.get(f"/deliveries/{delivery_id}").status_code == 200


def test_half_a_character_in_a_notice_is_no_notice(served: Server) -> None:
    notice = base64.urlsafe_b64encode(b'[["good", "\\ud800"]]').decode()
    answer = visitor(served).get("/", headers={"Cookie": f"oklp_notices={notice}"})
    assert (answer.status_code, 'class="notice' in answer.text) == (200, False)

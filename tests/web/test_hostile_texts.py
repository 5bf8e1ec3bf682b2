"""Texts that no database, hash or header can hold, wherever a text is taken: refused as 4xx, and never a 500."""

from __future__ import annotations

import base64
import http.client
from contextlib import closing
from urllib.parse import quote

import httpx
import pytest

from tests.harness import PLAYER, GameClient, PlayerClient, Server
from tests.web.test_pages import tokens

# Half of a surrogate pair (well-formed JSON), and the character that PostgreSQL keeps in no text.
HALF = b'"\\ud800abcdefgh"'
NUL = b'"\\u0000abcdefgh"'
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("kind", ["player", "studio", "operator"])
@pytest.mark.parametrize("text", [HALF, NUL])
def test_names_of_log_ins(served: Server, kind: str, text: bytes) -> None:
    body = b'{"username": %b, "password": "xxxxxxxx"}' % text
    answer = httpx.post(f"{served.url}/api/{kind}/v1/sessions", content=body, headers=JSON)
    assert answer.status_code == 422, answer.text
    assert [each["field"] for each in answer.json()["errors"]] == ["username"]


@pytest.mark.parametrize("text", [HALF, NUL])
def test_what_a_studio_says_of_its_game(served: Server, text: bytes) -> None:
    for field, body in {
        "name": b'{"name": %b}',
        "webhook_url": b'{"name": "A game", "webhook_url": %b}',
        "launch_urls.browser": b'{"name": "A game", "launch_urls": {"browser": %b}}',
        "launch_urls.steam": b'{"name": "A game", "launch_urls": {"steam": %b}}',
    }.items():
        answer = served.studio.post("/games", content=body % text, headers=JSON)
        assert answer.status_code == 422, answer.text
        assert [each["field"] for each in answer.json()["errors"]] == [field]


@pytest.mark.parametrize(
    "text", ["Acme\u202egnp.exe", "\u2066Acme", "Acme\u2028Pay here: evil.example", "\u200b\u200d", "\u2060"]
)
def test_names_are_read_as_they_are_written(served: Server, text: str) -> None:
    """Nothing turns the direction, begins a line in a mail, or cannot be seen at all."""
    answer = served.studio.post("/games", json={"name": text})
    assert (answer.status_code, [each["field"] for each in answer.json()["errors"]]) == (422, ["name"])
    body = {"name": text, "username": "unread", "email": "unread@example.org", "password": "correct horse"}
    answer = httpx.post(f"{served.url}/api/studio/v1/studios", json=body)
    assert (answer.status_code, [each["field"] for each in answer.json()["errors"]]) == (422, ["name"])


@pytest.mark.parametrize("text", [HALF, NUL])
def test_what_a_player_says(served: Server, text: bytes) -> None:
    player = PlayerClient(served.url, deposit=0)
    match_id = player.create(served.register(discovery="pull").client_id, 0)
    for path, body in (
        ("/matches", b'{"game_id": %b, "entry_fee": {"amount": 1, "currency": "XTS"}}'),
        (f"/matches/{match_id}/invitations", b'{"usernames": [%b]}'),
        (f"/matches/{match_id}/join", b'{"team_id": %b}'),
        ("/wallet/deposits", b'{"amount": 1, "currency": %b}'),
    ):
        answer = player.http.post(f"{PLAYER}{path}", content=body % text, headers=JSON)
        assert answer.status_code == 422, (path, answer.text)


def test_addresses_queries_and_cursors(served: Server) -> None:
    player = PlayerClient(served.url, deposit=0)
    game = GameClient(served.url, served.register(discovery="pull"))
    for text in ("\0", "\ud800", "%", "a\n", "1" * 5_000, "\U0001f600"):
        raw = quote(text, errors="surrogatepass")
        parts = base64.urlsafe_b64encode(f"{text}:{text}".encode(errors="surrogatepass")).decode().rstrip("=")
        for client, path in (
            (player.http, f"{PLAYER}/matches/{raw}"),
            (player.http, f"{PLAYER}/games/{raw}"),
            (player.http, f"{PLAYER}/players?query={raw}"),
            (player.http, f"{PLAYER}/matches?cursor={raw}"),
            (player.http, f"{PLAYER}/matches?cursor={parts}"),
            (player.http, f"{PLAYER}/games?cursor={parts}"),
            (player.http, f"{PLAYER}/wallet/entries?cursor={parts}"),
            (player.http, f"{PLAYER}/matches/{'0' * 24}?join_code={raw}"),
            (game.http, f"/api/game/v1/users/{raw}"),
            (game.http, f"/api/game/v1/matches/{raw}"),
            (game.http, f"/api/game/v1/matches?user_id={raw}"),
            (game.http, f"/api/game/v1/matches?cursor={parts}"),
            (served.studio, f"/deliveries/{raw}"),
            (served.operator, f"/players?query={raw}"),
            (served.operator, f"/players?cursor={parts}"),
            (served.operator, f"/audit?subject={raw}"),
            (served.operator, f"/audit?cursor={parts}"),
        ):
            answer = client.get(path)
            assert 400 <= answer.status_code < 500, (path, answer.text)


def _raw(served: Server, method: str, path: str, headers: dict[str, bytes], body: bytes = b"") -> tuple[int, bytes]:
    """A request whose headers are sent as they are."""
    with closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)) as connection:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in {"Host": b"127.0.0.1", "Content-Length": b"%d" % len(body), **headers}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_headers(served: Server) -> None:
    player = PlayerClient(served.url, deposit=0)
    session = player.http.headers["Authorization"].encode()
    deposit = b'{"amount": 1, "currency": "XTS"}'
    known = {"Authorization": session, "Content-Type": b"application/json"}
    for name, value, status in (
        ("Idempotency-Key", b"\xff\xfe", 422),
        ("Idempotency-Key", b"a b", 422),
        ("Idempotency-Key", b"k" * 300, 422),
        ("Authorization", b"Bearer \xff\xfe\x80", 401),
        ("Authorization", b"Bearer a.\xe9.b", 401),
        ("Authorization", b"Bearer ..", 401),
        ("X-Request-ID", b"\xff\x80 \xe9", 201),
        ("Content-Type", b"application/json; charset=\xff", 201),
    ):
        answer = _raw(served, "POST", f"{PLAYER}/wallet/deposits", {**known, name: value}, deposit)
        assert answer[0] == status, (name, value, answer)
    # A key belongs to a route, and the route is no matter of the Host header.
    keyed = {**known, "Idempotency-Key": b"hosts"}
    for host in (b"[", b"evil.example/path?", b"\xff"):
        answer = _raw(served, "POST", f"{PLAYER}/wallet/deposits", {**keyed, "Host": host}, deposit)
        assert answer[0] == 201, (host, answer)
    assert player.available() == 3
    for last in (b"\xb2-\xb2", b"1-", b"9" * 50 + b"-1", b"1-1-7-7"):
        answer = _raw(served, "GET", f"{PLAYER}/events", {"Authorization": session, "Last-Event-ID": last})
        assert answer[0] == 422, (last, answer)


def test_the_token_endpoint(served: Server) -> None:
    game = served.register(discovery="pull")
    form = {"content-type": "application/x-www-form-urlencoded"}
    for body in (
        b"client_id=%00&client_secret=x&grant_type=client_credentials",
        b"client_id=%FF&client_secret=x&grant_type=client_credentials",
        b"client_id=\xff&client_secret=x&grant_type=client_credentials",
        b"client_id=" + game.client_id.encode() + b"&client_secret=%00%ED%A0%80&grant_type=client_credentials",
        b"%22%5C%C3%A9=1&%22%5C%C3%A9=2",
        b"=&=",
        b"&".join(b"a%d=1" % n for n in range(200)),
    ):
        answer = httpx.post(game.auth["token_url"], content=body, headers=form)
        assert answer.status_code in (400, 401), (body, answer.text)
        told = answer.json()
        # RFC 6749, section 5.2: printable ASCII without quotes and backslashes.
        assert all(31 < ord(c) < 127 and c not in '"\\' for c in told["error"] + told["error_description"]), told
    for half in (b"\xff:\xff", b"%00:%00", b"%ED%A0%80:x", "é:é".encode()):
        basic = f"Basic {base64.b64encode(half).decode()}"
        answer = httpx.post(
            game.auth["token_url"], content=b"grant_type=client_credentials", headers={**form, "Authorization": basic}
        )
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client"), half


@pytest.mark.parametrize(
    ("cookie", "path"),
    [
        ("oklp_operator", "/operator/matches/%00"),
        ("oklp_operator", "/operator/players/%00"),
        ("oklp_operator", "/operator/games/%00"),
        ("oklp_operator", "/operator/ledger?account=%00"),
        ("oklp_operator", "/operator/ledger.csv?account=house%00"),
        ("oklp_operator", "/operator/audit?subject=%00"),
        ("oklp_operator", "/operator/search?q=%00"),
        ("oklp_operator", "/operator/players?q=%00"),
        ("oklp_operator", "/operator/ledger?payment=%00"),
        ("oklp_operator", "/operator/games?studio=%00"),
        ("oklp_operator", "/operator/deliveries?match=%00"),
        ("oklp_studio", "/studio/games/%00"),
        ("oklp_studio", "/studio/games/%00/live"),
        ("oklp_studio", "/studio/games/%00/matches/%00"),
        ("oklp_player", "/matches/%00"),
        ("oklp_player", "/games/%00"),
        ("oklp_player", "/players/%00"),
        ("oklp_player", "/wallet?match=%00"),
        ("oklp_player", "/matches/new?game=%00"),
    ],
)
def test_addresses_of_pages(served: Server, cookie: str, path: str) -> None:
    session = {
        "oklp_operator": lambda: served.operator.headers,
        "oklp_studio": lambda: served.studio.headers,
        "oklp_player": lambda: PlayerClient(served.url, deposit=0).http.headers,
    }[cookie]()["Authorization"].removeprefix("Bearer ")
    answer = httpx.get(f"{served.url}{path}", cookies={cookie: session})
    assert answer.status_code in (200, 404), answer.text


def test_what_is_looked_for(served: Server) -> None:
    game = served.register(discovery="pull").client_id
    for client, path in ((served.operator, "/search"), (served.studio, f"/games/{game}/matches")):
        for query in ("\0", "ada@\0"):
            answer = client.get(path, params={"query": query})
            assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "query"), answer.text
        assert client.get(path, params={"query": "\U0001f600@\ufffd'%_"}).status_code == 200
    session = served.studio.headers["Authorization"].removeprefix("Bearer ")
    page = httpx.get(f"{served.url}/studio/games/{game}/matches?q=%00", cookies={"oklp_studio": session})
    assert page.status_code == 200


def test_decisions_on_a_page(served: Server) -> None:
    site = httpx.Client(base_url=served.url, cookies={"oklp_operator": served.operator.headers["Authorization"][7:]})
    form = tokens(site.get("/operator/books").text)
    for path in ("%00", "%00/withdraw"):
        answer = site.post(f"/operator/approvals/{path}", data={**form, "decision": "decline", "reason": "so"})
        assert answer.status_code == 404, answer.text

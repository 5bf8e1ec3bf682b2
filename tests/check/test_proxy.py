"""What stands between platform and game sees both sides, and does to each what it is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from oklp.check.catalogue import Grades
from oklp.check.launch import Page, Visitor, excerpt, is_blank, leaks
from oklp.check.platform import Platform, locked
from oklp.check.probes import Prober
from oklp.check.proxy import Proxy, Registered
from oklp.check.studio import _is_up
from oklp.check.wire import CheckError, Issuer, Reply
from oklp.contract import Authentication, DeveloperConfig, MatchInfo
from oklp.errors import Unauthenticated
from oklp.processes import ProcessError, words
from oklp.signing import SigningKey, VerifyingKeys, generate_key

KEYS = (SigningKey(generate_key()), SigningKey(generate_key()))


def test_a_browser_that_calls_the_platform_itself_is_noticed() -> None:
    token = KEYS[0].sign({"client_id": "tile-rush"})

    async def call(headers: dict[str, str]) -> bool:
        async with Proxy("127.0.0.1", 0, None) as proxy, httpx.AsyncClient(base_url=proxy.url) as http:
            proxy.upstream = "http://127.0.0.1:1"
            answer = await http.post("/api/game/v1/token-info", json={"token": "t"}, headers=headers)
            assert answer.status_code == 502
            (seen,) = proxy.calls_of("tile-rush", "token-info")
            return seen.from_browser

    own = {"authorization": f"Bearer {token}"}
    assert asyncio.run(call(own)) is False
    assert asyncio.run(call({**own, "sec-fetch-mode": "cors"})) is True


def test_forgeries_are_forged_and_a_good_token_is_good() -> None:
    """Each probe is wrong in the way that it says, or the verdicts would mean nothing."""
    issuer = Issuer(*KEYS, "http://127.0.0.1:1/auth/realms/oklp")
    keys = VerifyingKeys.from_jwks({"keys": [KEYS[0].public_jwk()]})

    def verify(token: str) -> None:
        claims = issuer.claims("g", "PUT")
        keys.verify(token, issuer=issuer.url, audience="g", now_seconds=claims["iat"])

    verify(issuer.token("g", "PUT"))
    forged = [*issuer.forged("g", "PUT").values(), issuer.unsigned("g", "PUT")]
    for token in [*forged, issuer.token("other", "PUT"), issuer.token("g", "PUT", iss="x")]:
        with pytest.raises(Unauthenticated):
            verify(token)


class Answering(Proxy):
    """In the place of a game: what it answers to a DELETE with a token for a DELETE, and to one with another."""

    def __init__(self, own: int, other: int) -> None:
        super().__init__("127.0.0.1", 0, None)
        self.issuer = Issuer(*KEYS, "http://127.0.0.1:1/auth/realms/oklp")
        self.statuses = {"DELETE": own, "PUT": other}

    async def push(self, game: Registered, method: str, body: bytes, *, token: str | None = "", **rest: Any) -> Reply:
        keys = VerifyingKeys.from_jwks({"keys": [KEYS[0].public_jwk()]})
        own = token or self.issuer.token("g", method)
        claims = keys.verify(own, issuer=self.issuer.url, audience="g", now_seconds=time.time())
        assert method == "DELETE"
        return Reply(self.statuses[claims["htm"]], 0.1)


@pytest.mark.parametrize(
    ("own", "other", "verdict"),
    [
        (200, 401, "pass"),
        (404, 403, "pass"),
        (200, 400, "pass"),
        (200, 200, "warn"),
        (200, 500, "warn"),
        (404, 200, "warn"),
        (404, 404, "not-seen"),
        (405, 405, "not-seen"),
    ],
)
def test_a_refusal_that_any_token_would_have_met_says_nothing_of_the_token(own: int, other: int, verdict: str) -> None:
    config = DeveloperConfig(
        okletsplay_url="http://127.0.0.1:1",
        authentication=Authentication(
            client_id="g", public_key_url="http://127.0.0.1:1", token_url="http://127.0.0.1:1"
        ),
    )
    info = MatchInfo(match_id="600f369851f450dd3ecb0035", participants=[], teams=[])
    grades = Grades()
    prober = Prober(Answering(own, other), Registered(config, "http://127.0.0.1:1"), info, grades)
    asyncio.run(prober._deletes())
    assert grades.verdict("webhook.method") == verdict


def test_a_secret_in_a_module_that_a_script_imports_is_found() -> None:
    files = {
        "/play": ("text/html", '<script type="module" src="/js/game.js"></script><link rel="icon" href="data:,">'),
        "/js/game.js": ("text/javascript", 'import { key } from "./keys.js"; import "https://elsewhere.example/x.js";'),
        "/js/keys.js": ("text/javascript", 'export const key = "top-secret";'),
    }
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        kind, text = files[request.url.path]
        return httpx.Response(200, headers={"content-type": kind}, text=text)

    async def found() -> list[str]:
        visitor = Visitor(httpx.MockTransport(answer))
        async with visitor:
            page = await visitor.open("http://game.test/play?token=t")
            await visitor.load_parts(page)
            return leaks(page, ["top-secret", ""])

    assert asyncio.run(found()) == ["http://game.test/js/keys.js"]
    assert all(url.startswith("http://game.test/") for url in asked)


class Endless(httpx.AsyncByteStream):
    def __init__(self, part: bytes, apart_seconds: float = 0.0) -> None:
        self.part = part
        self.apart_seconds = apart_seconds

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield self.part
            await asyncio.sleep(self.apart_seconds)


def visited(answer: Callable[[httpx.Request], httpx.Response]) -> Page:
    async def open_it() -> Page:
        async with Visitor(httpx.MockTransport(answer)) as visitor:
            page = await visitor.open("http://game.test/play?token=t")
            await visitor.load_parts(page)
            await visitor.seed(page, None, None)
            return page

    return asyncio.run(open_it())


def test_a_page_without_end_is_looked_at_as_far_as_a_page_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oklp.check.launch.LARGEST_FILE_BYTES", 100_000)
    page = visited(lambda request: httpx.Response(200, stream=Endless(b"<p>x</p>" * 8_192)))
    assert page.status == 200
    assert len(page.text) == 100_000
    page = visited(lambda request: httpx.Response(302, headers={"location": "/"}, stream=Endless(b" " * 65_536)))
    assert (page.status, "TooManyRedirects" in page.error) == (None, True)


def test_a_page_that_comes_in_drops_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oklp.check.launch.PAGE_SECONDS", 0.05)
    page = visited(lambda request: httpx.Response(200, stream=Endless(b".", 0.01)))
    assert (page.status, "no whole answer" in page.error) == (None, True)


def test_a_server_that_answers_in_drops_is_ready_or_not_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its status is enough; without one for a while it is not ready."""
    monkeypatch.setattr("oklp.check.studio.LOOK_SECONDS", 0.2)

    async def ready(beginning: bytes) -> bool:
        async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(beginning)
            with suppress(OSError):
                while True:
                    writer.write(b".")
                    await writer.drain()
                    await asyncio.sleep(0.01)

        server = await asyncio.start_server(drip, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            return await _is_up(f"http://127.0.0.1:{port}/", "", 0)
        finally:
            server.close()

    assert asyncio.run(ready(b"HTTP/1.1 200 OK\r\n\r\n"))
    assert not asyncio.run(ready(b"HTTP/1.1 200 OK\r\nx: "))


@pytest.mark.parametrize(
    "text",
    [
        "<p>hi</p><![nothing[ that is known ]]>",
        "<p>hi</p><script src='http://['></script><script>import 'http://[/x.js'</script>",
        "<p>hi</p>" + "<" * 500_000,
        "<p>hi</p>import" + " " * 500_000,
        "<p>hi</p>" + "eyJ" * 300_000,
    ],
    ids=["declaration", "address", "tags", "imports", "tokens"],
)
def test_a_page_that_is_made_to_trip_the_check_up_is_only_a_page(text: str) -> None:
    page = visited(lambda request: httpx.Response(200, headers={"content-type": "text/html"}, text=text))
    assert not is_blank(page)
    assert excerpt(page, ["secret"]).startswith("hi")


def test_a_page_in_a_codec_that_is_no_charset_is_read_all_the_same() -> None:
    headers = {"content-type": "text/html; charset=base64"}
    assert visited(lambda request: httpx.Response(200, headers=headers, content=b"hi!")).text == "hi!"


def test_a_value_stays_one_word_of_a_command() -> None:
    assert words("play --url={launch_url} 'a b'", {"launch_url": "x'; rm y"}) == ["play", "--url=x'; rm y", "a b"]
    for command in ("", "play 'unclosed"):
        with pytest.raises(ProcessError):
            words(command, {})


def test_two_checks_do_not_share_a_folder(tmp_path: Path) -> None:
    async def second() -> None:
        with locked(tmp_path), pytest.raises(CheckError, match="Another check"):
            async with Platform(tmp_path):
                pass

    asyncio.run(second())

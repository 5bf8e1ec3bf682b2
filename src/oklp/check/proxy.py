"""Between the platform and the game: all that passes is written down, and meets a fault where a check wants one.

To the game this is the platform. Its calls are passed on to the real one, but for the keys: the proxy shows the
checker's own (`Issuer`), so that the checker can sign webhooks itself. To the platform this is the game: match info
comes to `WEBHOOK_PATH`, gets a token of the checker's issuer in place of the platform's, and goes on to the game.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import parse_qs, unquote_plus

import aiohttp
from aiohttp import web

from oklp.check.wire import (
    CheckError,
    Delivery,
    GameCall,
    Issuer,
    Reply,
    client_of,
    quoted,
    secrets_of,
    signed_headers,
)
from oklp.contract import DeveloperConfig
from oklp.signing import WEBHOOK_ID

WEBHOOK_PATH: Final = "/.oklp-check/webhook"
ANSWER_SECONDS: Final = 10.0
UPSTREAM_SECONDS: Final = 60.0
BODY_LIMIT_BYTES: Final = 1_048_576
RETRY_AFTER_SECONDS: Final = 1

# Of one connection, not of the message (RFC 9110 §7.6.1); lengths are made anew, and nothing comes compressed.
_HOP_BY_HOP: Final = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

Fault: TypeAlias = Literal["503", "dropped"]


@dataclass(slots=True)
class Registered:
    """A game that is being checked."""

    config: DeveloperConfig
    webhook_url: str

    @property
    def game_id(self) -> str:
        return self.config.authentication.client_id

    @property
    def hidden(self) -> list[str]:
        return secrets_of(self.config.authentication)

    @property
    def webhook_secret(self) -> str:
        return self.config.authentication.webhook_secret or ""


class Proxy:
    """An async context manager: entering it listens. `public_url` is the platform's address as games see it.

    Events of interest wake whoever waits in `until`.
    """

    def __init__(self, host: str, port: int, public_url: str | None, realm: str = "oklp") -> None:
        self.calls: list[GameCall] = []
        self.deliveries: list[Delivery] = []
        self.games: dict[str, Registered] = {}
        self.faults: dict[str, Fault] = {}
        self.with_extra_fields: set[str] = set()
        self.upstream = ""
        self.public_url = (public_url or "").rstrip("/")
        self._host, self._port = host, port
        self._realm_path = f"/auth/realms/{realm}"
        self._issuer: Issuer | None = None
        self._changed = asyncio.Condition()
        self._http: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None

    @property
    def issuer_url(self) -> str:
        return self.public_url + self._realm_path

    @property
    def issuer(self) -> Issuer:
        if self._issuer is None:
            raise CheckError("The proxy has no key yet.")
        return self._issuer

    @issuer.setter
    def issuer(self, issuer: Issuer) -> None:
        self._issuer = issuer

    @property
    def url(self) -> str:
        """Its address on this machine."""
        name = "127.0.0.1" if self._host in ("0.0.0.0", "") else self._host  # noqa: S104
        return f"http://{f'[{name}]' if ':' in name else name}:{self._port}"

    async def __aenter__(self) -> Proxy:
        timeout = aiohttp.ClientTimeout(total=UPSTREAM_SECONDS)
        connector = aiohttp.TCPConnector(limit=0)
        self._http = aiohttp.ClientSession(
            timeout=timeout, connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        )
        app = web.Application(client_max_size=BODY_LIMIT_BYTES)
        app.router.add_route("*", WEBHOOK_PATH + "/{game_id}", self._webhook)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            await self.__aexit__(None, None, None)
            raise CheckError(f"Nothing can listen on {self._host}:{self._port}: {error.strerror}") from error
        self._port = int(self._runner.addresses[0][1])
        self.public_url = self.public_url or self.url
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        if self._http is not None:
            await self._http.close()

    async def until(self, wanted: Callable[[], bool], seconds: float) -> bool:
        """Wait until something that passed here made it true; False when that took too long."""
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(wanted)
        except TimeoutError:
            return wanted()
        return True

    def calls_of(self, game_id: str, kind: str) -> list[GameCall]:
        return [call for call in self.calls if call.game_id == game_id and call.kind == kind]

    async def _note(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    # --- game → platform ---------------------------------------------------------------------------------------------

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        call = self._recorded(request, body)
        fault = self._fault_for(call)
        if fault == "503":
            call.status, call.fault, call.answered_at = 503, fault, time.monotonic()
            await self._note()
            return _unavailable()
        status, headers, answer = await self._ask(request, body)
        if request.method == "GET":
            answer = self._own_keys(request.path, status, answer)
        call.status, call.answer, call.fault, call.answered_at = status, answer, fault or "", time.monotonic()
        await self._note()
        if fault == "dropped" and request.transport is not None:
            request.transport.abort()
        return web.Response(status=status, headers=headers, body=answer)

    def _recorded(self, request: web.Request, body: bytes) -> GameCall:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        bearer = token.strip() if scheme.lower() == "bearer" else ""
        kind = self._kind(request)
        game_id = _token_client(request, body) if kind == "token" else client_of(bearer)
        # Sent by browsers only: a page of another origin that calls the platform by itself.
        from_browser = bool(bearer or kind == "token") and "sec-fetch-mode" in request.headers
        call = GameCall(kind, time.monotonic(), game_id, body, token=bearer, from_browser=from_browser)
        self.calls.append(call)
        return call

    def _kind(self, request: web.Request) -> str:
        path = request.path.rstrip("/")
        if path == f"{self._realm_path}/protocol/openid-connect/token":
            return "token"
        if path in (self._realm_path, f"{self._realm_path}/protocol/openid-connect/certs"):
            return "keys"
        if path == "/api/game/v1/token-info":
            return "token-info"
        if path in ("/api/game/v1/finish", "/api/games/v1/finish"):
            return "finish"
        return "api" if path.startswith("/api/game") else "other"

    def _fault_for(self, call: GameCall) -> Fault | None:
        """The first result of a match meets the fault that is laid out for it; the next one does not."""
        if call.kind != "finish" or not self.faults:
            return None
        match_id = parsed(call.body).get("match_id")
        return self.faults.pop(match_id, None) if isinstance(match_id, str) else None

    async def _ask(self, request: web.Request, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        if self._http is None:
            raise CheckError("The proxy is closed.")
        headers = [(name, value) for name, value in request.headers.items() if _end_to_end(name)]
        try:
            async with self._http.request(
                request.method, self.upstream + request.path_qs, headers=headers, data=body, allow_redirects=False
            ) as answer:
                passed = [(name, value) for name, value in answer.headers.items() if _end_to_end(name)]
                return answer.status, passed, await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            text = f"the platform behind the check does not answer: {type(error).__name__}"
            return 502, [("content-type", "text/plain")], text.encode()

    def _own_keys(self, path: str, status: int, answer: bytes) -> bytes:
        """The issuer's documents with the checker's key in the place of the platform's."""
        path = path.rstrip("/")
        if status == 200 and path == self._realm_path:
            return json.dumps({**parsed(answer), "public_key": self.issuer.key.public_key_base64()}).encode("utf-8")
        if status == 200 and path == f"{self._realm_path}/protocol/openid-connect/certs":
            return json.dumps({"keys": [self.issuer.key.public_jwk()]}).encode("utf-8")
        return answer

    # --- platform → game ---------------------------------------------------------------------------------------------

    async def _webhook(self, request: web.Request) -> web.StreamResponse:
        """The platform tells the game of a match. The game's answer goes back as it is."""
        body = await request.read()
        game = self.games.get(request.match_info["game_id"])
        if game is None:
            return web.Response(status=410)
        match_id = str(parsed(body).get("match_id"))
        webhook_id = request.headers.get(WEBHOOK_ID, str(uuid.uuid4()))
        if request.method == "PUT" and match_id in self.with_extra_fields:
            body = _with_extra_fields(body)
        reply = await self.push(game, request.method, body, webhook_id=webhook_id)
        self.deliveries.append(Delivery(request.method, match_id, webhook_id, body, time.monotonic(), reply))
        await self._note()
        return web.Response(status=reply.status or 504, text=reply.text)

    async def push(
        self,
        game: Registered,
        method: str,
        body: bytes,
        *,
        token: str | None = "",
        webhook_id: str = "",
        signed_body: bytes | None = None,
    ) -> Reply:
        """A match info request as the platform makes it. `token` None sends none, and empty sends a good one;
        `signed_body` is what the signature is for, where that is not the body.
        """
        if self._http is None:
            raise CheckError("The proxy is closed.")
        if token == "":
            token = self.issuer.token(game.game_id, method)
        headers = {"content-type": "application/json", "user-agent": "oklp-check"}
        headers |= signed_headers(game.webhook_secret, webhook_id or str(uuid.uuid4()), signed_body or body)
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        started = time.monotonic()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                async with self._http.request(
                    method, game.webhook_url, headers=headers, data=body, allow_redirects=False
                ) as answer:
                    raw = await answer.content.read(65_536)
        except TimeoutError:
            return Reply(None, time.monotonic() - started, error=f"nothing within {ANSWER_SECONDS:.0f} seconds")
        except aiohttp.ClientConnectorError as error:
            return Reply(None, time.monotonic() - started, error=_reason(error), unreachable=True)
        except (aiohttp.ClientError, OSError) as error:
            return Reply(None, time.monotonic() - started, error=_reason(error))
        text = quoted(raw.decode("utf-8", "replace"), game.hidden)
        return Reply(answer.status, time.monotonic() - started, text)


def parsed(body: bytes) -> dict[str, Any]:
    """A JSON object, or an empty one for all that is none."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _with_extra_fields(body: bytes) -> bytes:
    """Match info as a later version of the platform might send it."""
    info = parsed(body)
    info["region"] = {"name": "eu-west", "latency_ms": 12.5}
    info["tags"] = []
    for participant in info.get("participants", ()):
        participant.update({"rating": 1512, "display_name": None})
    for team in info.get("teams", ()):
        team["name"] = "Team Ω"
    return json.dumps(info, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def _token_client(request: web.Request, body: bytes) -> str:
    """Whose access token is asked for: by form, or by HTTP Basic (RFC 6749 §2.3.1)."""
    named = parse_qs(body.decode("utf-8", "replace")).get("client_id")
    if named:
        return named[0]
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return unquote_plus(base64.b64decode(value).decode("utf-8").partition(":")[0])
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _unavailable() -> web.Response:
    problem = {
        "type": "urn:oklp:error:unavailable",
        "title": "Not available right now",
        "status": 503,
        "detail": "Try again.",
    }
    return web.Response(
        status=503,
        headers={"retry-after": str(RETRY_AFTER_SECONDS)},
        body=json.dumps(problem).encode("utf-8"),
        content_type="application/problem+json",
    )


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _end_to_end(name: str) -> bool:
    return name.lower() not in _HOP_BY_HOP

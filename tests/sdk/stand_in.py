"""A stand-in for the platform, on a real socket: it issues tokens, answers as told, and remembers what it was asked.

And one way to drive both clients, so that every behaviour is tested on each.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from time import sleep
from typing import Any, Literal, cast
from urllib.parse import parse_qs, urlsplit

import httpx

from oklp.sdk import AsyncClient, Client
from oklp.signing import SigningKey, generate_key

GAME = "tile-rush"
CLIENT_SECRET = "4f0c6f0e-5d5b-4f33-9a35-0f6f7a2f8d55"
REALM = "/auth/realms/oklp"
TOKEN_PATH = f"{REALM}/protocol/openid-connect/token"
JWKS_PATH = f"{REALM}/protocol/openid-connect/certs"
API = "/api/game/v1"

MATCH_ID = "600f369851f450dd3ecb0035"
USER = "0b8f2d0e-8a3f-4f0e-9a70-111111111111"
OTHER_USER = "0b8f2d0e-8a3f-4f0e-9a70-222222222222"

Kind = Literal["sync", "async"]


@cache
def signing_key(name: str) -> SigningKey:
    return SigningKey(generate_key())


@dataclass(frozen=True)
class Reply:
    """`body` is sent as JSON unless it is bytes. With `close` the connection is dropped without an answer, with `drops`
    the answer's headers come in so many of them, of a byte each, a hundredth of a second apart.
    """

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    close: bool = False
    drops: int = 0
    wait_for: Event | None = None


DROPPED = Reply(close=True)


def problem(status: int, code: str, detail: str, errors: list[dict[str, str]] | None = None, **headers: str) -> Reply:
    body = {"type": f"https://oklp.example/errors#{code}", "title": code, "status": status, "detail": detail}
    return Reply(
        status,
        {**body, "errors": errors} if errors else body,
        {"content-type": "application/problem+json", **{name.replace("_", "-"): v for name, v in headers.items()}},
    )


TOKEN_INFO = {
    "match_id": MATCH_ID,
    "user_id": USER,
    "match_status": "live",
    "submissions_total": 1,
    "submissions_left": 1,
}
FINISHED = {"match_id": MATCH_ID, "accepted": True, "match_status": "finished"}


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, list[str]]:
        return parse_qs(self.body.decode(), keep_blank_values=True)


class Platform:
    """Answers a path with the replies scripted for it, in order, then with its standing answer."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.token_life_seconds = 300
        self.revoked: set[str] = set()
        self._tokens = 0
        self._lock = Lock()
        self._scripts: dict[str, deque[Reply]] = {}
        self._standing: dict[str, Reply] = {
            f"{API}/token-info": Reply(body=TOKEN_INFO),
            f"{API}/finish": Reply(body=FINISHED),
        }
        platform = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Headers and body are written apart; without this the second waits for the first to be acknowledged.
            disable_nagle_algorithm = True

            def handle_any(self) -> None:
                parts = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, parts.path, parse_qs(parts.query), headers, body)
                self.answer(platform.answer(asked))

            do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 - names that http.server looks for

            def answer(self, reply: Reply) -> None:
                if reply.wait_for is not None:
                    reply.wait_for.wait(30)
                if reply.close:
                    self.close_connection = True
                    return
                content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
                self.send_response(reply.status)
                if reply.drops:
                    self.flush_headers()
                    self.wfile.write(b"x-drops: ")
                    for _ in range(reply.drops):
                        sleep(0.01)
                        self.wfile.write(b".")
                    self.wfile.write(b"\r\n")
                for name, value in {"content-type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 1_024
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Clients that leave in the middle are a part of these tests."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    # --- what it says ---

    def script(self, path: str, *replies: Reply) -> None:
        """The next answers for `path`."""
        with self._lock:
            self._scripts.setdefault(path, deque()).extend(replies)

    def always(self, path: str, reply: Reply) -> None:
        with self._lock:
            self._standing[path] = reply

    def answer(self, asked: Asked) -> Reply:
        with self._lock:
            self.asked.append(asked)
            script = self._scripts.get(asked.path)
            if script:
                return script.popleft()
            if asked.path == TOKEN_PATH and asked.path not in self._standing:
                self._tokens += 1
                answer = {"access_token": f"token-{self._tokens}", "expires_in": self.token_life_seconds}
                return Reply(body={**answer, "token_type": "Bearer", "not-before-policy": 0, "scope": "olp-report-api"})
            if asked.path.startswith("/api/"):
                scheme, _, token = asked.headers.get("authorization", "").partition(" ")
                if scheme != "Bearer" or not token.startswith("token-") or token in self.revoked:
                    return problem(401, "unauthenticated", "The token is not valid.")
            return self._standing.get(asked.path, problem(404, "not-found", "There is no such thing."))

    # --- what it was asked ---

    def asked_for(self, path: str) -> list[Asked]:
        with self._lock:
            return [asked for asked in self.asked if asked.path == path]

    @property
    def token_requests(self) -> int:
        return len(self.asked_for(TOKEN_PATH))

    def config(self, **authentication: Any) -> dict[str, Any]:
        """The developer-config.json of the game. A value of None leaves that field out."""
        fields = {
            "client_id": GAME,
            "client_secret": CLIENT_SECRET,
            "public_key_url": self.url + REALM,
            "token_url": self.url + TOKEN_PATH,
            **authentication,
        }
        return {
            "okletsplay_url": self.url,
            "authentication": {name: value for name, value in fields.items() if value is not None},
        }


@contextmanager
def running_platform() -> Iterator[Platform]:
    platform = Platform()
    platform.start()
    try:
        yield platform
    finally:
        platform.stop()


class FakeTime:
    """A clock that moves only when told to, or slept on. `chance` is 0, so that waits are as long as they can be."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)
        await asyncio.sleep(0)

    def chance(self) -> float:
        return 0.0


class Driver:
    """A client of either kind, called in the same way."""

    def __init__(self, kind: Kind, config: Any, time: FakeTime, **options: Any) -> None:
        self.kind = kind
        self.time = time
        self._loop = asyncio.new_event_loop() if kind == "async" else None
        shared = {"clock": time.clock, "chance": time.chance, **options}
        self.client: Any = (
            Client(config, sleep=time.sleep, **shared)
            if kind == "sync"
            else AsyncClient(config, sleep=time.asleep, **shared)
        )

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        if self._loop is None:
            return getattr(self.client, method)(*args, **kwargs)
        return self._loop.run_until_complete(getattr(self.client, method)(*args, **kwargs))

    def list_matches(self, **kwargs: Any) -> list[Any]:
        if self._loop is None:
            return list(self.client.matches(**kwargs))

        async def collect() -> list[Any]:
            return [match async for match in self.client.matches(**kwargs)]

        return self._loop.run_until_complete(collect())

    def settle(self) -> None:
        """Lets background work of an asyncio client come to its end."""
        if self._loop is not None:
            others = asyncio.all_tasks(self._loop)
            if others:
                self._loop.run_until_complete(asyncio.wait(others))

    def close(self) -> None:
        if self._loop is None:
            self.client.close()
        else:
            self._loop.run_until_complete(self.client.aclose())
            self._loop.close()


MakeDriver = Callable[..., Driver]


def mock(handler: Callable[[httpx.Request], httpx.Response]) -> httpx.MockTransport:
    """A transport for either kind of client that never touches a socket."""
    return httpx.MockTransport(cast(Any, handler))

"""The games: one server that takes match info of all of them (contract section A3), and their calls to the platform."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from oklp.contract import DeveloperConfig, MatchInfo
from oklp.errors import OklpError
from oklp.sdk import AsyncWebhookVerifier, MatchAborted, MatchStarted
from oklp.simulate.script import Game, Script
from oklp.simulate.wire import GAME, Reply, Wire

RENEW_SECONDS: Final = 60
LONGEST_SECONDS: Final = 130.0  # no platform waits longer for an answer
LOOK_SECONDS: Final = 0.1
# One after the other, before a 401 is believed. In a long run, more than ten that faults have spoilt wait in a row.
MOST_TOKENS: Final = 300


class Table:
    """What a game knows of one match: what it was told, and what it said."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.answered: list[str] = []
        self.deletes = 0
        self.called_off = False
        self.info: MatchInfo | None = None
        self.told_at = 0.0
        self.held = False  # the answer waits for `release`
        self.faults: list[str] = []
        self._news = asyncio.Event()
        self._go = asyncio.Event()

    def release(self) -> None:
        self._go.set()

    async def wait_to_go(self) -> None:
        await self._go.wait()

    def tell(self) -> None:
        """Something has happened: whoever waits looks."""
        self._news.set()
        self._news = asyncio.Event()

    def news(self) -> asyncio.Event:
        """Set by the next `tell`: to be asked for before looking, so that nothing is missed."""
        return self._news

    @property
    def settled(self) -> bool:
        """Nothing more will be asked: it has accepted, or has refused as often as it is asked."""
        return "200" in self.answered or len(self.answered) >= 1 + self.script.game.retries

    def took(self, info: MatchInfo) -> None:
        if self.info is not None and self.info != info:
            self.faults.append(f"it was told {info} after {self.info}")
        self.info = info


@dataclass
class GameClient:
    """A game's back end: its configuration, and an access token that is renewed ahead of time."""

    game: Game
    config: DeveloperConfig
    wire: Wire
    verifier: AsyncWebhookVerifier
    _token: str = ""
    _renew_at: float = 0.0
    _renewing: asyncio.Lock = field(default_factory=asyncio.Lock)
    one_start: asyncio.Lock = field(default_factory=asyncio.Lock)  # of a game that faults strike, at a time

    @property
    def client_id(self) -> str:
        return self.config.authentication.client_id

    async def token(self) -> str:
        if time.monotonic() < self._renew_at:
            return self._token
        async with self._renewing:
            if time.monotonic() < self._renew_at:
                return self._token
            auth = self.config.authentication
            form = {
                "client_id": auth.client_id,
                "client_secret": auth.client_secret or "",
                "grant_type": "client_credentials",
                "scope": "olp-report-api",
            }
            path = auth.token_url.removeprefix(self.wire.base_url)
            answer = await self.wire.must("access token", "POST", path, form=form, repeatable=True)
            self._token = answer["access_token"]
            self._renew_at = time.monotonic() + max(answer["expires_in"] - RENEW_SECONDS, 1)
            return self._token

    async def call(self, kind: str, method: str, path: str, body: object = None) -> Reply:
        """All that games ask may be asked twice (contract section A7)."""
        for _ in range(MOST_TOKENS):
            token = await self.token()
            reply = await self.wire.ask(kind, method, path, body, token=token, repeatable=True)
            if reply.status != 401:
                break
            if token == self._token:  # it is not good any more, whatever was said of its time
                self._renew_at = 0.0
        return reply

    async def cut(self, path: str, body: object) -> None:
        await self.wire.cut("POST", path, body, token=await self.token(), key="")

    async def token_info(self, token: str) -> Reply:
        return await self.call("token-info", "POST", f"{GAME}/token-info", {"token": token})

    async def read(self, match_id: str) -> Reply:
        return await self.call("game reads match", "GET", f"{GAME}/matches/{match_id}")


class Board:
    """Which matches games may be told of; and, of those that are off, which they must still be told so."""

    def __init__(self) -> None:
        self.tables: dict[str, Table] = {}
        self.off: dict[str, Table] = {}
        self.owed: set[str] = set()
        self.faults: list[str] = []
        self.counts: Counter[str] = Counter()

    def open(self, match_id: str, script: Script) -> Table:
        table = self.tables[match_id] = Table(script)
        return table

    def close(self, match_id: str, *, owed: bool, maybe: bool) -> None:
        """The match is over. `owed`: a DELETE must come, `maybe`: one may."""
        table = self.tables.pop(match_id)
        if owed or maybe:
            self.off[match_id] = table
        if owed and not table.called_off:
            self.owed.add(match_id)

    def wake(self) -> None:
        """The server has gone or come: whoever waits looks."""
        for table in self.tables.values():
            table.tell()

    def find(self, match_id: str) -> Table | None:
        return self.tables.get(match_id) or self.off.get(match_id)


class Receiver:
    """The games' own server. An async context manager; `url` is where it listens."""

    def __init__(self, board: Board, host: str = "127.0.0.1") -> None:
        self.board = board
        self.games: dict[str, GameClient] = {}
        self.url = ""
        self._host = host
        self._runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=0.1)

    async def __aenter__(self) -> Receiver:
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, 0)
        await site.start()
        self.url = f"http://{self._host}:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        game = self.games.get(request.path.strip("/"))
        if game is None:
            self.board.faults.append(f"{request.method} {request.path}: a redirect was followed, or the path is wrong")
            return web.Response(status=404)
        try:
            event = await game.verifier.verify(request.method, request.headers, await request.read())
        except OklpError as refusal:
            if game.game.struck:
                self.board.counts["forged PUT"] += 1
            else:
                self.board.faults.append(f"{request.method} {request.path} is not genuine: {refusal.detail}")
            return web.Response(status=refusal.status)
        table = self.board.find(event.match_id)
        if table is None or table.script.game != game.game:
            self.board.faults.append(f"{request.method}: game {game.game.number} has no match {event.match_id}")
            return web.Response(status=404)
        table.took(event.info)
        if isinstance(event, MatchAborted):
            return self._off(event, table)
        if isinstance(event, MatchStarted):
            return await self._on(request, table)
        return web.Response(status=200)

    async def _on(self, request: web.BaseRequest, table: Table) -> web.StreamResponse:
        self.board.counts["PUT"] += 1
        script = table.script
        answer = script.answers[min(len(table.answered), len(script.answers) - 1)]
        if table.deletes:
            table.faults.append("it was told to start after it had been called off")
        if not table.told_at:
            table.told_at = time.perf_counter()
        table.tell()
        if table.held:
            await table.wait_to_go()
        table.answered.append(answer)
        table.tell()
        if answer == "cut":
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        if answer == "late":
            await _until_closed(request)
            return web.Response(status=200)
        headers = {"Location": "/elsewhere"} if answer == "302" else None
        return web.Response(status=int(answer), headers=headers)

    def _off(self, event: MatchAborted, table: Table) -> web.StreamResponse:
        self.board.counts["DELETE"] += 1
        table.deletes += 1
        if table.script.deaf and table.deletes == 1:
            return web.Response(status=500)
        table.called_off = True
        self.board.owed.discard(event.match_id)
        return web.Response(status=200)


async def _until_closed(request: web.BaseRequest) -> None:
    for _ in range(int(LONGEST_SECONDS / LOOK_SECONDS)):
        if request.transport is None or request.transport.is_closing():
            return
        await asyncio.sleep(LOOK_SECONDS)

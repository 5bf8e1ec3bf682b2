"""The population: players with sessions and play money, and those of them who follow their events."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from oklp.simulate.wire import PLAYER, Reply, Wire

CURRENCY: Final = "XTS"
PASSWORD: Final = "correct horse battery"  # noqa: S105 - of people who exist for one run
DEPOSIT: Final = 100_000_000  # the largest that there is
SIGN_UPS_AT_ONCE: Final = 4


@dataclass
class Player:
    """Somebody with a session. Amounts are minor units: `deposited` so far, and what all matches begun may cost."""

    number: int
    name: str
    wire: Wire
    user_id: str = ""
    token: str = ""
    deposited: int = 0
    deposits: int = 0
    committed: int = 0
    _funding: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def sign_up(self) -> None:
        body = {
            "username": self.name,
            "email": f"{self.name}@players.example",
            "password": PASSWORD,
            "date_of_birth": "1990-05-17",
            "country": "DE",
        }
        self.user_id = (await self.wire.must("sign up", "POST", f"{PLAYER}/players", body))["user_id"]
        credentials = {"username": self.name, "password": PASSWORD}
        self.token = (await self.wire.must("log in", "POST", f"{PLAYER}/sessions", credentials))["token"]

    async def fund(self, amount: int) -> None:
        """Before a match that may cost `amount`: nobody is ever to be short of money by the order of matches."""
        async with self._funding:
            self.committed += amount
            while self.deposited < self.committed:
                self.deposits += 1
                body = {"amount": DEPOSIT, "currency": CURRENCY}
                reply = await self.act("deposit", "/wallet/deposits", body, key=f"fund-{self.deposits}")
                if reply.status >= 300:
                    raise RuntimeError(f"a deposit was refused: {reply}")
                self.deposited += DEPOSIT

    async def act(self, kind: str, path: str, body: object = None, *, key: str = "", repeatable: bool = False) -> Reply:
        return await self.wire.ask(kind, "POST", PLAYER + path, body, token=self.token, key=key, repeatable=repeatable)

    async def read(self, kind: str, path: str) -> Reply:
        return await self.wire.ask(kind, "GET", PLAYER + path, token=self.token)


async def population(wire: Wire, count: int, prefix: str) -> list[Player]:
    """Passwords are hashed slowly, so signing up takes a while: some at a time."""
    players = [Player(number, f"{prefix}-p{number}", wire) for number in range(count)]
    numbers = iter(players)

    async def sign_up() -> None:
        for player in numbers:
            await player.sign_up()

    await asyncio.gather(*(sign_up() for _ in range(SIGN_UPS_AT_ONCE)))
    return players


class Listener:
    """A player's server-sent events, resumed after each cut: which matches it was told have ended."""

    def __init__(self, player: Player) -> None:
        self.player = player
        self.ended: set[str] = set()
        self.events = 0
        self.twice: list[str] = []
        self.connected = asyncio.Event()
        self._last = ""

    async def run(self) -> None:
        wire = self.player.wire
        for _ in itertools.count():
            await wire.gate.up.wait()
            try:
                async with wire.stream(f"{PLAYER}/events", self.player.token, self._last) as answer:
                    if answer.status == 200:
                        await self._read(answer)
            except (aiohttp.ClientError, TimeoutError, OSError):
                wire.trouble["event stream cut"] += 1
            await asyncio.sleep(0.1)

    async def _read(self, answer: aiohttp.ClientResponse) -> None:
        kind = name = ""
        async for raw in answer.content:
            field_name, _, value = raw.decode().rstrip("\n").partition(": ")
            if field_name == "id":
                self.connected.set()
                name = value
            elif field_name == "event":
                kind = value
            elif field_name == "data":
                if name == self._last:
                    self.twice.append(name)
                self.events += 1
                self._take(kind, value)
            elif not field_name:
                self._last, kind = name or self._last, ""

    def _take(self, kind: str, data: str) -> None:
        if kind == "match":
            match = json.loads(data)
            if match["status"] in ("finished", "aborted"):
                self.ended.add(match["match_id"])


def listeners(players: Sequence[Player], guests: int) -> list[Listener]:
    """A few of those who pay."""
    payers = len(players) - guests
    return [Listener(player) for player in players[: min(6, payers // 8)]]

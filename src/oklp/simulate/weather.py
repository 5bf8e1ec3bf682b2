"""Faults of the sandbox (docs/faults.md) that a careful game gets through with nothing lost: ordered all the time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from oklp.simulate.games import GameClient
from oklp.simulate.wire import STUDIO, Lost, Wire

EVERY_MATCHES: Final = 20
LOOK_SECONDS: Final = 0.1
# What was answered comes of itself in the end: the outcome of no match depends on them.
KINDS: Final[Sequence[dict[str, Any]]] = (
    {"kind": "finish_503", "retry_after_seconds": 0},
    {"kind": "finish_answer_lost"},
    {"kind": "finish_slow", "delay_seconds": 0.2},
    {"kind": "token_info_503", "retry_after_seconds": 0},
    {"kind": "token_info_slow", "delay_seconds": 0.2},
    {"kind": "rate_limited", "retry_after_seconds": 0},
    {"kind": "access_token_expired"},
    {"kind": "token_endpoint_503", "retry_after_seconds": 0},
    {"kind": "token_clock_skew"},
    {"kind": "delete_refused"},
    {"kind": "duplicate_delete"},
)


class Weather:
    """Orders a fault for some game after every few matches. Which call it strikes is left to chance."""

    def __init__(self, wire: Wire, games: Sequence[GameClient], studio_token: str, seed: int) -> None:
        self._wire = wire
        self._games = [each for each in games if not each.game.struck]
        self._every = games
        self._token = studio_token
        self._rng = random.Random(f"{seed}/weather")

    async def run(self, ended: Callable[[], int]) -> None:
        ordered = 0
        while True:
            while ordered * EVERY_MATCHES <= ended():
                ordered += 1
                game = self._rng.choice(self._games)
                fault = {**self._rng.choice(KINDS), "times": self._rng.randint(1, 3)}
                path = f"{STUDIO}/games/{game.client_id}/faults"
                reply = await self._wire.ask("order fault", "POST", path, fault, token=self._token, repeatable=True)
                if reply.code not in ("ok", "limit-reached"):
                    raise Lost(f"a fault was refused: {reply}")
            await asyncio.sleep(LOOK_SECONDS)

    async def struck(self) -> dict[str, int]:
        """How often each kind did, of those that are still on record."""
        counts: Counter[str] = Counter()
        for game in self._every:
            path = f"{STUDIO}/games/{game.client_id}/faults"
            found = await self._wire.must("list faults", "GET", path, token=self._token)
            for each in found["faults"]:
                counts[each["kind"]] += each["fired"]
        return dict(sorted(counts.items()))

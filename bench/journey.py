"""From a new match to a live one, as two players do it: create, join, confirm twice, and the game is told."""

from __future__ import annotations

import http.client
import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench import seed
from bench.process import Process
from bench.seed import Seeded

PREFIX = "/api/player/v1"
LIVE_WITHIN_SECONDS = 10.0
WARM_UP = 5


class NotLive(Exception):
    """A match did not become live; the message says what was answered."""


@dataclass(frozen=True)
class Journey:
    """Milliseconds from sending the first request, and from sending the last confirmation, until the match is live."""

    matches: int
    create_to_live_p50_ms: float
    create_to_live_p99_ms: float
    confirm_to_live_p50_ms: float
    confirm_to_live_p99_ms: float

    def as_json(self) -> dict[str, Any]:
        return {name: round(value, 3) for name, value in asdict(self).items()}


class _Player:
    def __init__(self, port: int, token: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIVE_WITHIN_SECONDS)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        content = None if body is None else json.dumps(body)
        self._connection.request(method, PREFIX + path, content, self._headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise NotLive(f"{method} {path}: {answer.status} {text.decode(errors='replace')}")
        found: dict[str, Any] = json.loads(text)
        return found

    def close(self) -> None:
        self._connection.close()


def create_to_live(server: Process, seeded: Seeded, matches: int) -> Journey:
    """One match after the other, so that nothing waits in a queue: these are times, not a rate. Raises NotLive."""
    tokens = [secrets.token_urlsafe(24) for _ in range(2)]
    seed.add_sessions(seeded.settings, list(enumerate(tokens)))
    ann, bob = players = [_Player(server.port, token) for token in tokens]
    try:
        for _ in range(WARM_UP):
            _one(ann, bob, seeded)
        times = [_one(ann, bob, seeded) for _ in range(matches)]
    finally:
        for player in players:
            player.close()
    whole, last = [sorted(column) for column in zip(*times, strict=True)]
    return Journey(matches, _at(whole, 0.5), _at(whole, 0.99), _at(last, 0.5), _at(last, 0.99))


def _one(ann: _Player, bob: _Player, seeded: Seeded) -> tuple[float, float]:
    created_at = time.perf_counter()
    fee = {"amount": seed.ENTRY_FEE, "currency": seed.CURRENCY}
    match = ann.call("POST", "/matches", {"game_id": seeded.game.game_id, "entry_fee": fee, "visibility": "public"})
    path = f"/matches/{match['match_id']}"
    bob.call("POST", f"{path}/join", {})
    ann.call("POST", f"{path}/confirm", {})
    confirmed_at = time.perf_counter()
    status = bob.call("POST", f"{path}/confirm", {})["status"]
    while status == "starting":
        if time.perf_counter() - confirmed_at > LIVE_WITHIN_SECONDS:
            break
        time.sleep(0.0005)
        status = bob.call("GET", path)["status"]
    if status != "live":
        raise NotLive(f"the match is {status}")
    now = time.perf_counter()
    return (now - created_at) * 1000, (now - confirmed_at) * 1000


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]

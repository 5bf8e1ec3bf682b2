"""`python -m tile_rush.bot LAUNCH_URL`: plays one run as a player's page does, by the same public endpoints.

It knows the tiles no further than a page shows them, takes a human time to think, and keeps to the clock. `--skill`
says how many of the groups on the board it looks at before it takes the best of them.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from oklp.sdk import MatchRandom

from .rules import GAP_MS, Board, Cell

SENDS_EVERY_MS: Final = 1_000
# What is sent in the last moment would not arrive in time.
STOPS_BEFORE_MS: Final = 150
ATTEMPTS: Final = 15


class BotError(Exception):
    """The game did not let the bot play; the text says why."""


@dataclass(slots=True)
class Bot:
    """`skill` is from 0 to 1. `think_ms` is the range of the time between two taps. `on_view` hears of each state that
    the game answers with.
    """

    skill: float = 0.5
    think_ms: tuple[int, int] = (700, 1_400)
    chance: random.Random = field(default_factory=random.Random)
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    on_view: Callable[[dict[str, Any]], None] = lambda view: None

    def choose(self, board: Board) -> Cell:
        """Where to tap: the most valuable of the groups that it looks at."""
        groups = board.groups()
        looks_at = max(1, round(self.skill * len(groups)))
        best = max(self.chance.sample(groups, looks_at), key=len)
        return self.chance.choice(board.where(best))

    def play(self, launch_url: str) -> dict[str, Any]:
        """Play to the end; returns what the game said last. Raises BotError and httpx.HTTPError."""
        with httpx.Client(trust_env=False, follow_redirects=True, timeout=10) as http:
            arrived = http.get(launch_url)
            if not arrived.is_success:
                raise BotError(f"the game did not let the bot in: it answered {arrived.status_code}")
            return _Visit(self, http, str(arrived.url)).play()


class _Visit:
    """One run of a bot. Its clock is never ahead of the server's."""

    def __init__(self, bot: Bot, http: httpx.Client, run_url: str) -> None:
        self._bot = bot
        self._http = http
        self._url = run_url
        self._view: dict[str, Any] = {}
        self._taps: list[list[int]] = []
        self._began = 0.0
        self._sent_at_ms = 0

    def play(self) -> dict[str, Any]:
        self._view = self._ask("POST", "start", {})
        if self._view["phase"] != "playing":
            return self._view
        self._began = self._bot.clock() - self._view["elapsed_ms"] / 1000
        board = Board(MatchRandom(self._view["match_id"]).stream(self._view["tiles"]))
        self._taps = [list(tap) for tap in self._view["log"]]
        for _, x, y in self._taps:
            board.tap(x, y)
        self._sleep_until_ms(0)
        while self._view["phase"] == "playing" and self._think():
            x, y = self._bot.choose(board)
            board.tap(x, y)
            self._taps.append([self._elapsed_ms(), x, y])
            if self._elapsed_ms() >= self._sent_at_ms + SENDS_EVERY_MS:
                self._send(done=False)
        self._sleep_until_ms(self._view["duration_ms"])
        while self._view["phase"] == "playing":
            self._send(done=True)
            self._bot.sleep(0.05)
        return self._until_reported()

    def _think(self) -> bool:
        """Whether there is time for one more tap after it."""
        pause = max(GAP_MS, self._bot.chance.randint(*self._bot.think_ms))
        after = max(0, self._elapsed_ms()) + pause
        if after > self._view["duration_ms"] - STOPS_BEFORE_MS:
            return False
        self._sleep_until_ms(after)
        return True

    def _send(self, *, done: bool) -> None:
        have = self._view["have"]
        piece = {"tiles": self._view["tiles"], "from": have, "taps": self._taps[have : have + 100], "done": done}
        self._view = self._ask("POST", "log", piece)
        self._sent_at_ms = self._elapsed_ms()

    def _until_reported(self) -> dict[str, Any]:
        for _ in range(ATTEMPTS):
            if self._view["phase"] == "off" or self._view["report"] != "waiting":
                break
            self._bot.sleep(0.5)
            self._view = self._ask("GET", "state")
        return self._view

    def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Ask the game, and again while it is away."""
        fault = ""
        for attempt in range(ATTEMPTS):
            try:
                answer = self._http.request(method, f"{self._url}/{path}", json=body)
            except httpx.TransportError as error:
                fault = str(error)
            else:
                if answer.is_success:
                    view: dict[str, Any] = answer.json()
                    self._bot.on_view(view)
                    return view
                fault = f"it answered {answer.status_code}: {answer.text[:200]}"
                if answer.status_code < 500:
                    break
            self._bot.sleep(min(1.0, 0.1 * 2**attempt))
        raise BotError(f"the game does not take what the bot does: {fault}")

    def _elapsed_ms(self) -> int:
        return int((self._bot.clock() - self._began) * 1000)

    def _sleep_until_ms(self, elapsed_ms: int) -> None:
        while (left := elapsed_ms - self._elapsed_ms()) > 0:
            self._bot.sleep(left / 1000)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tile-rush-bot", description="Plays one run of Tile Rush.")
    parser.add_argument(
        "launch_url",
        help="the address that the platform gave out for this player; - reads it from standard input, "
        "so that its token is in no list of processes",
    )
    parser.add_argument("--skill", type=float, default=0.5, help="from 0, which takes any group, to 1, the largest")
    parser.add_argument("--seed", type=int, default=None, help="for the same choices each time")
    parser.add_argument(
        "--think-ms", type=int, nargs=2, default=(700, 1_400), metavar=("FROM", "TO"), help="between two taps"
    )
    parser.add_argument("--follow", action="store_true", help="print each state of the run, a line of JSON each")
    options = parser.parse_args(argv)
    if not 0 <= options.skill <= 1 or not 0 <= options.think_ms[0] <= options.think_ms[1]:
        parser.error("--skill is from 0 to 1, and --think-ms from the shorter time to the longer")
    bot = Bot(options.skill, tuple(options.think_ms), random.Random(options.seed))
    if options.follow:
        bot.on_view = _print
    try:
        view = bot.play(sys.stdin.readline().strip() if options.launch_url == "-" else options.launch_url)
    except (BotError, httpx.HTTPError) as error:
        print(f"tile-rush-bot: {error}", file=sys.stderr)
        return 1
    if not options.follow:
        _print({name: view.get(name) for name in ("phase", "match_id", "score", "refusal", "report")})
    return 0


def _print(view: dict[str, Any]) -> None:
    print(json.dumps(view), flush=True)


if __name__ == "__main__":
    sys.exit(main())

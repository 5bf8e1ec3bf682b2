"""`python -m high_bid.bot LAUNCH_URL`: plays a match as its page does, by the same public endpoints."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import httpx

View: TypeAlias = dict[str, Any]
Strategy: TypeAlias = Callable[[View, random.Random], int]

REJOIN_SECONDS = 0.5
REJOINS = 20


class BotError(Exception):
    """Why the bot cannot play, in a sentence."""


def steady(view: View, chance: random.Random) -> int:
    """About what the prize is worth, and at times one more or less, so as not to be read."""
    worth = sum(view["carried"]) + view["prize"] + chance.choice((-1, 0, 0, 1, 1))
    hand: list[int] = view["you"]["hand"]
    return min(hand, key=lambda card: (abs(card - worth), chance.random()))


def bold(view: View, chance: random.Random) -> int:
    """High cards for the better half of the prizes, low ones for the rest."""
    hand = sorted(view["you"]["hand"])
    half = len(hand) // 2
    worth = sum(view["carried"]) + view["prize"]
    return int(chance.choice(hand[half:] if worth >= 4 else hand[: half + 1]))


STRATEGIES = {"steady": steady, "bold": bold}


@dataclass(slots=True)
class Bot:
    """One player's seat. `think_seconds` is the range of the time that a choice takes."""

    strategy: Strategy
    think_seconds: tuple[float, float]
    chance: random.Random = field(default_factory=random.Random)

    async def play(self, launch_url: str, on_view: Callable[[View], None] = lambda view: None) -> View:
        """Play to the end; returns the last view. `on_view` hears of each. A lost connection is taken up again."""
        async with httpx.AsyncClient(
            trust_env=False, follow_redirects=True, timeout=httpx.Timeout(10, read=40)
        ) as http:
            arrived = await http.get(launch_url)
            if not arrived.is_success:
                raise BotError(f"The game did not let a bot in: it answered {arrived.status_code}.")
            table = str(arrived.url)
            for _ in range(REJOINS):
                try:
                    async for view in _views(http, table):
                        on_view(view)
                        if view["phase"] in ("over", "aborted"):
                            return view
                        await self._choose(http, table, view)
                except httpx.TransportError:
                    pass
                await asyncio.sleep(REJOIN_SECONDS)
        raise BotError("A bot lost its connection to the game, again and again.")

    async def _choose(self, http: httpx.AsyncClient, table: str, view: View) -> None:
        if view["phase"] != "playing" or view["you"]["choice"] is not None:
            return
        await asyncio.sleep(self.chance.uniform(*self.think_seconds))
        bid = {"round": view["round"], "card": self.strategy(view, self.chance)}
        answer = await http.post(f"{table}/bid", json=bid)
        # 409: the clock was faster, or this view was no longer the latest; the next one says how it stands.
        if not answer.is_success and answer.status_code != httpx.codes.CONFLICT:
            raise BotError(f"The game did not take a bot's card: it answered {answer.status_code}: {answer.text}")


async def _views(http: httpx.AsyncClient, table: str) -> AsyncIterator[View]:
    """The states that the game sends (server-sent events, one `data:` line each)."""
    async with http.stream("GET", f"{table}/events") as answer:
        if not answer.is_success:
            raise BotError(f"The game does not show its table: it answered {answer.status_code}.")
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="high-bid-bot", description="A bot that plays one match of High Bid.")
    parser.add_argument("launch_url", help="where the platform sends the player; - reads it from standard input")
    parser.add_argument("--style", choices=STRATEGIES, default="steady", help="how it chooses its cards")
    parser.add_argument(
        "--think-seconds", type=float, nargs=2, default=(0.8, 2.0), metavar=("LEAST", "MOST"), help="for a card"
    )
    options = parser.parse_args(argv)
    if not 0 <= options.think_seconds[0] <= options.think_seconds[1]:
        parser.error("--think-seconds are the least and the most")
    launch_url = sys.stdin.readline().strip() if options.launch_url == "-" else options.launch_url
    bot = Bot(STRATEGIES[options.style], (options.think_seconds[0], options.think_seconds[1]))
    try:
        last = asyncio.run(bot.play(launch_url))
    except (BotError, httpx.HTTPError) as error:
        print(f"high-bid-bot: {error}", file=sys.stderr)
        return 1
    print(f"{last['outcome'] or last['phase']} {last['you']['points']}:{last['them']['points']}")
    return 0 if last["phase"] == "over" else 1


if __name__ == "__main__":
    sys.exit(main())

"""`python -m reversi.bot --launch-url URL`: a bot that plays a match as a person does.

It follows the launch URL that the platform gives a player, keeps the cookie, and talks through the board's WebSocket.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Origin

from .rules import COLOURS, SQUARES, START, Position, square_of
from .search import LEVELS, Level, choose

log = logging.getLogger("reversi.bot")

View: TypeAlias = dict[str, Any]

REJOIN_SECONDS: Final = 1.0
REJOINS: Final = 60
TIMEOUT_SECONDS: Final = 10.0


class BotError(Exception):
    """Why the bot cannot play, in a sentence without the launch URL: that one is a secret."""


@dataclass(slots=True)
class Bot:
    """One player. `think_seconds` is the range of the time that a move takes."""

    level: Level = "medium"
    think_seconds: tuple[float, float] = (0.6, 2.0)
    chance: random.Random = field(default_factory=random.Random)

    async def play(self, launch_url: str, on_view: Callable[[View], None] = lambda view: None) -> View:
        """Play to the end; returns the last view. A lost connection is taken up again. Raises BotError."""
        board, cookie = await _arrive(launch_url)
        parts = urlsplit(board)
        origin = f"{parts.scheme}://{parts.netloc}"
        socket_url = f"{'wss' if parts.scheme == 'https' else 'ws'}://{parts.netloc}{parts.path}/socket"
        for _ in range(REJOINS):
            try:
                async with connect(
                    socket_url,
                    origin=Origin(origin),
                    additional_headers={"cookie": cookie},
                    open_timeout=TIMEOUT_SECONDS,
                ) as socket:
                    return await self._play_on(socket, on_view)
            except (OSError, TimeoutError, InvalidHandshake, ConnectionClosed) as error:
                log.info("the connection is lost: %s", type(error).__name__)
            await asyncio.sleep(REJOIN_SECONDS)
        raise BotError("The connection to the game was lost, again and again.")

    async def _play_on(self, socket: ClientConnection, on_view: Callable[[View], None]) -> View:
        """Play until it is over. Raises ConnectionClosed when the connection ends before."""
        answered = -1
        while True:
            view: View = json.loads(await socket.recv())
            if view["type"] != "state":
                log.warning("refused: %s", view.get("detail"))
                continue
            on_view(view)
            if view["phase"] in ("over", "aborted"):
                return view
            # The state is sent again when somebody comes or goes; a move is made once.
            if view["turn"] == "you" and answered != len(view["moves"]):
                answered = len(view["moves"])
                await socket.send(json.dumps(await self._move(view)))

    async def _move(self, view: View) -> dict[str, Any]:
        square = await asyncio.to_thread(choose, position_of(view), self.level, self.chance)
        # Who is short of time does not take it.
        longest = view["you"]["clock_ms"] / 1000 / 20
        await asyncio.sleep(min(self.chance.uniform(*self.think_seconds), longest))
        return {"type": "move", "number": len(view["moves"]) + 1, "square": SQUARES[square]}


def position_of(view: View) -> Position:
    """The position that the moves of a view lead to."""
    position = START
    for colour, name in view["moves"]:
        if position.turn is None or COLOURS[position.turn] != colour:
            raise BotError("The game plays by other rules.")
        position = position.play(square_of(name))
    return position


async def _arrive(launch_url: str) -> tuple[str, str]:
    """Follow the launch URL: the board's address, and the cookie that it was given for it."""
    async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_SECONDS) as http:
        try:
            answer = await http.get(launch_url)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise BotError(f"The game cannot be reached: {type(error).__name__}.") from None
        if answer.status_code != httpx.codes.SEE_OTHER:
            raise BotError(f"The game did not let the bot in: it answered {answer.status_code}.")
        cookie = "; ".join(f"{name}={value}" for name, value in http.cookies.items())
        return str(answer.url.join(answer.headers["location"])), cookie


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="reversi-bot", description="A bot that plays one match of Reversi.")
    parser.add_argument(
        "--launch-url",
        "--token-url",
        default=os.environ.get("REVERSI_LAUNCH_URL", ""),
        help="where the platform sends the player, with the match-token; - reads it from standard input, "
        "so that it is in no list of processes; else REVERSI_LAUNCH_URL",
    )
    parser.add_argument("--level", choices=LEVELS, default="medium", help="how well it plays")
    parser.add_argument(
        "--think-seconds", type=float, nargs=2, default=(0.6, 2.0), metavar=("LEAST", "MOST"), help="for a move"
    )
    parser.add_argument("--seed", type=int, default=None, help="for the same choices again")
    parser.add_argument("--follow", action="store_true", help="print each state of the match, a line of JSON each")
    options = parser.parse_args(argv)
    if options.launch_url == "-":
        options.launch_url = sys.stdin.readline().strip()
    if not options.launch_url:
        parser.error("--launch-url is missing")
    if not 0 <= options.think_seconds[0] <= options.think_seconds[1]:
        parser.error("--think-seconds are the least and the most")
    return options


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    chance = random.Random(options.seed)
    bot = Bot(options.level, (options.think_seconds[0], options.think_seconds[1]), chance)
    try:
        last = asyncio.run(bot.play(options.launch_url, *([_print] if options.follow else [])))
    except BotError as error:
        print(f"reversi-bot: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if options.follow:
        return 0
    discs = f"{last['you']['discs']}:{last['them']['discs']}"
    print(f"{last['outcome'] or last['phase']} {discs} {last['ending']}".rstrip())
    return 0


def _print(view: View) -> None:
    print(json.dumps(view), flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""Bots at the games: each game's own bot, a process that follows its launch URL as a player's page does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

from oklp.demo.games import DemoGame, State
from oklp.demo.stage import DemoError, Stage

LAST_WORDS = 5


async def play(
    stage: Stage,
    game: DemoGame,
    options: Sequence[str],
    launch_url: str,
    on_state: Callable[[State], None] = lambda state: None,
) -> State:
    """Have a bot play to the end; returns the last state that the game told it. Raises DemoError when it cannot."""
    last: dict[str, Any] = {}
    # By the standard input: a launch URL is a secret, and arguments are in every list of processes.
    async with stage.bot(game.bot_module, [*game.bot_launch, *options, "--follow"], f"{launch_url}\n") as bot:
        words = asyncio.create_task(bot.errors.read())
        try:
            async for line in bot.output:
                last = json.loads(line)
                on_state(last)
            status = await bot.process.wait()
            said = (await words).decode(errors="replace").splitlines()
        finally:
            words.cancel()
    if status != 0:
        raise DemoError(f"A bot of {game.name} ended with status {status}:", said[-LAST_WORDS:])
    return last

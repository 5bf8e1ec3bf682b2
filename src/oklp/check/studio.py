"""The studio's side: getting the configuration to the game server, its start and end, and players that are commands."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx

from oklp.check.platform import CONFIG_NAME, write_config
from oklp.check.proxy import Registered
from oklp.check.run import PlayFunction, Seat
from oklp.check.wire import CheckError, quoted
from oklp.processes import Child, start, words
from oklp.sdk.config import CONFIG_VARIABLE

POLL_SECONDS: Final = 0.05
LOOK_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StudioServer:
    """How the game server gets its configuration and is brought up.

    `start_command` runs for as long as the check does, `restart_command` once, to its end. Without `ready_url` a server
    is ready when it takes connections at its webhook's address.
    """

    write_config: Path | None = None
    start_command: str | None = None
    restart_command: str | None = None
    ready_url: str | None = None
    ready_seconds: float = 60.0


@dataclass(slots=True)
class Running:
    """A server that is up. `child` is there when the check started it."""

    child: Child | None = None

    def check_alive(self) -> None:
        """Raises ProcessError when it has ended by itself."""
        if self.child is not None and self.child.status is not None:
            raise self.child.death()


@asynccontextmanager
async def serving(server: StudioServer, game: Registered, folder: Path) -> AsyncIterator[Running]:
    """The studio's server with the game's configuration. Raises ProcessError when it does not come up."""
    path = (server.write_config or folder / CONFIG_NAME).absolute()
    write_config(game.config, path)
    env = {**os.environ, CONFIG_VARIABLE: str(path)}
    running = Running()
    try:
        if server.restart_command is not None:
            await _run(words(server.restart_command, {"config": str(path)}), folder, env, server.ready_seconds)
        if server.start_command is not None:
            command = words(server.start_command, {"config": str(path)})
            running.child = await start("game server", command, folder / "game.log", env)
        await _ready(server, game.webhook_url, running)
        yield running
    finally:
        if running.child is not None:
            await running.child.stop()


async def _run(command: Sequence[str], folder: Path, env: Mapping[str, str], seconds: float) -> None:
    child = await start("restart command", command, folder / "restart.log", env)
    try:
        if await child.wait(seconds) is None:
            raise CheckError(f"The restart command is not done after {seconds:.0f} seconds.", child.last_lines())
        if child.status != 0:
            raise child.death()
    finally:
        await child.stop()


async def _ready(server: StudioServer, webhook_url: str, running: Running) -> None:
    parts = urlsplit(webhook_url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    until = time.monotonic() + server.ready_seconds
    while not await _is_up(server.ready_url, parts.hostname or "", port):
        running.check_alive()
        if time.monotonic() > until:
            where = server.ready_url or webhook_url
            lines = running.child.last_lines() if running.child is not None else []
            raise CheckError(f"The game server does not answer at {where} after {server.ready_seconds:.0f} s.", lines)
        await asyncio.sleep(POLL_SECONDS)
    # Somebody answers; it is not to be somebody else, while the server itself could not have the port.
    running.check_alive()


async def _is_up(url: str | None, host: str, port: int) -> bool:
    if url is not None:
        async with httpx.AsyncClient(trust_env=False, timeout=LOOK_SECONDS) as http:
            with contextlib.suppress(httpx.HTTPError, TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS), http.stream("GET", url) as answer:
                    return answer.status_code < 500
        return False
    with contextlib.suppress(OSError):
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), LOOK_SECONDS)
        writer.close()
        return True
    return False


# --- players ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class CommandPlayer:
    """Plays by running a command, once for each player: `{launch_url}`, `{match_id}`, `{user_id}` and `{player}` (a
    number from 1) are filled in, and in the environment as OKLP_LAUNCH_URL and so on. Status 0 says that it played.
    """

    command: str
    folder: Path
    _numbers: count[int] = field(default_factory=count)

    async def __call__(self, launch_url: str, seat: Seat) -> str | None:
        values = {
            "launch_url": launch_url,
            "match_id": seat.match_id,
            "user_id": seat.user_id,
            "player": str(seat.number),
        }
        env = {**os.environ, **{f"OKLP_{name.upper()}": value for name, value in values.items()}}
        log = self.folder / f"player-{next(self._numbers)}.log"
        child = await start("player", words(self.command, values), log, env)
        try:
            status = await child.wait()
        finally:
            await child.stop()
        if status == 0:
            return None
        last = quoted(" / ".join(line.strip() for line in child.last_lines()[-3:] if line.strip()), [])
        return f"ended with status {status}" + (f": {last}" if last else "")


def command_player(command: str, folder: Path) -> PlayFunction:
    """Raises ProcessError when the command cannot be read."""
    words(command, {})
    return CommandPlayer(command, folder)

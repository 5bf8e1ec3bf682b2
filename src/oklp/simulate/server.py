"""The server under test: `oklp serve --sandbox` as a process, on a database that is empty before."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any, Final

import aiohttp

from oklp.processes import Child, ProcessError, free_port, oklp_command, start
from oklp.simulate.wire import Gate

START_SECONDS: Final = 90.0
STOP_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.03
READY_SECONDS: Final = 5.0


class Server:
    """Started, killed and stopped by the run. `gate` tells everybody whether it is there."""

    def __init__(self, folder: Path, database_url: str, workers: int, timeout_seconds: int, gate: Gate) -> None:
        self.folder = folder
        self.database_url = database_url
        self.gate = gate
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._workers = workers
        self._timeout_seconds = timeout_seconds
        self._child: Child | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The caller's, without any setting of OKLP: a run must not end up on somebody's real database."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OKLP_")}
        return {
            **kept,
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            "OKLP_DATA_DIR": str(self.folder),
            "OKLP_DATABASE_URL": self.database_url,
            "OKLP_PUBLIC_URL": self.url,
            "OKLP_SANDBOX": "1",
            "OKLP_LOG_LEVEL": "warning",
            "OKLP_WEBHOOK_TIMEOUT_SECONDS": str(self._timeout_seconds),
        }

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    async def start(self) -> None:
        """Until it is ready. Raises ProcessError."""
        arguments = ["serve", "--sandbox", "--port", str(self.port)]
        if self._workers > 1:
            arguments += ["--workers", str(self._workers)]
        command = oklp_command(*arguments)
        self._child = await start("server", command, self.log, self.environment, append=True)
        until = time.monotonic() + START_SECONDS
        while not await is_ready(self.url):
            self.check_alive()
            if time.monotonic() > until:
                last = self._child.last_lines()
                raise ProcessError(f"The server is not ready after {START_SECONDS:.0f} s.", last)
            await asyncio.sleep(POLL_SECONDS)
        self.gate.open()

    def check_alive(self) -> None:
        """Raises ProcessError when it has ended by itself."""
        if self._child is not None and self._child.status is not None and self.gate.epoch % 2 == 0:
            raise self._child.death()

    async def end(self, *, kill: bool) -> None:
        """By SIGKILL, or by SIGTERM, for which it must end in good order. Raises ProcessError."""
        child = self._child
        if child is None:
            return
        self.gate.shut()
        if kill:
            await child.kill()
            return
        await child.stop(STOP_SECONDS)
        if child.status != 0:
            raise child.death()

    async def close(self) -> None:
        if self._child is not None:
            await self._child.stop()

    async def command(self, *arguments: str) -> tuple[int, str]:
        """`oklp …` on the same database: its status and what it printed."""
        log = self.folder / "command.log"
        child = await start("command", oklp_command(*arguments), log, self.environment)
        try:
            status = await child.wait(600)
        finally:
            await child.stop()
        return (-1 if status is None else status), log.read_text(encoding="utf-8", errors="replace")

    async def verify_books(self) -> tuple[int, dict[str, Any]]:
        """What `oklp books verify` says, and the status it ends with."""
        status, text = await self.command("books", "verify", "--json")
        try:
            return status, json.loads(text)
        except ValueError:
            return status, {"clean": False, "faults": [text[-1_000:]]}


async def is_ready(url: str) -> bool:
    """Whether the server at that address takes requests."""
    timeout = aiohttp.ClientTimeout(total=READY_SECONDS)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as http, http.get(f"{url.rstrip('/')}/readyz") as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return False

"""The data folder, the processes on it, and their end: nothing that was started here outlives the demo."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import httpx

HOST = "127.0.0.1"
PLATFORM = "platform"
START_SECONDS = 60.0
POLL_SECONDS = 0.03
# The platform drains for up to 15 seconds; in a demo there is nothing that takes as long.
STOP_SECONDS = 20.0
PORT_TRIES = 5
LAST_LINES = 15
LONGEST_LINE = 1 << 20
PR_SET_PDEATHSIG = 1


class DemoError(Exception):
    """What went wrong, in a sentence; `lines` are the last of a log that shows it."""

    def __init__(self, message: str, lines: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.lines = tuple(lines)


class PortTaken(Exception):
    """Somebody was faster: the port was free when it was chosen."""


class Child:
    """One server process, with its own log."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    @property
    def running(self) -> bool:
        return self.process.returncode is None

    def last_lines(self) -> list[str]:
        return self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]

    def death(self) -> DemoError:
        status = self.process.returncode or 0
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        return DemoError(f"The {self.name} {how}. The end of {self.log}:", self.last_lines())

    async def stop(self) -> None:
        """SIGTERM, some time, SIGKILL."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), STOP_SECONDS)
            except TimeoutError:
                self.kill()
        await self.process.wait()

    def kill(self) -> None:
        _kill(self.process)


@dataclass(frozen=True, slots=True)
class BotProcess:
    """A bot and what it says."""

    process: asyncio.subprocess.Process
    output: asyncio.StreamReader
    errors: asyncio.StreamReader


class Stage:
    """The folder of a demo and the servers on it. An async context manager: leaving it ends all of them. `game_places`
    are the folders that processes of games find their packages in.
    """

    def __init__(self, data_dir: Path, port: int, game_port: int, game_places: Sequence[Path]) -> None:
        self.data_dir = data_dir
        self.platform_url = ""
        self._port = port
        self._game_port = game_port
        self._game_places = game_places
        self._bots: set[asyncio.subprocess.Process] = set()
        self._children: dict[str, Child] = {}
        self._started = asyncio.Event()
        self._stopping = False
        self._lock: IO[str] | None = None

    async def __aenter__(self) -> Stage:
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            self._lock = (self.data_dir / "demo.lock").open("w")
        except OSError as error:
            raise DemoError(f"The data folder cannot be used: {error}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise DemoError(f"Another demo is running on {self.data_dir}; --data-dir names another folder.") from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        # The games first: the platform is still there for a result that they have to report.
        platform = self._children.pop(PLATFORM, None)
        await asyncio.gather(*(child.stop() for child in self._children.values()))
        if platform is not None:
            await platform.stop()
        if self._lock is not None:
            self._lock.close()

    @property
    def database_url(self) -> str:
        return f"sqlite:///{self.data_dir / 'oklp.db'}"

    def folder_of(self, game_id: str) -> Path:
        """What a game server keeps, and what it is given."""
        folder = self.data_dir / game_id
        folder.mkdir(exist_ok=True)
        return folder

    def config_of(self, game_id: str) -> Path:
        return self.folder_of(game_id) / "developer-config.json"

    # --- the servers -------------------------------------------------------------------------------------------------

    async def start_platform(self) -> None:
        for attempt in range(PORT_TRIES):
            port = free_port(self._port, skip=attempt)
            command = [*_module("oklp.cli"), "serve", "--sandbox", "--host", HOST, "--port", str(port)]
            child = await self._spawn(PLATFORM, PLATFORM, command)
            url = f"http://{HOST}:{port}"
            try:
                await self._answers(child, f"{url}/readyz")
            except PortTaken:
                continue
            self.platform_url = url
            return
        raise DemoError("No port is free for the platform.")

    def choose_game_url(self, skip: int = 0) -> str:
        """A game's address is registered before the game can start with what the registration gives it."""
        return f"http://{HOST}:{free_port(self._game_port, skip)}"

    def choose_play_port(self) -> int:
        """Beside the platform's."""
        return free_port(int(self.platform_url.rpartition(":")[2]) + 1)

    async def start_game(self, name: str, module: str, game_id: str, url: str, options: Sequence[str]) -> None:
        """Start its server on the chosen address. Raises DemoError, PortTaken."""
        arguments = ["--config", self.config_of(game_id), "--data", self.folder_of(game_id) / "matches.db"]
        arguments += ["--host", HOST, "--port", url.rpartition(":")[2]]
        arguments += ["--back-url", f"{self.platform_url}/matches/{{match_id}}", *options]
        child = await self._spawn(f"game server of {name}", game_id, [*_module(module), *map(str, arguments)])
        await self._answers(child, f"{url}/healthz")

    async def stop_game(self, name: str) -> None:
        await self._children.pop(f"game server of {name}").stop()

    async def _spawn(self, name: str, log_name: str, command: list[str]) -> Child:
        log = self.data_dir / f"{log_name}.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.environment(),
                # Ctrl-C in a terminal reaches every process of the foreground group. In a group of their own the
                # servers end when the demo ends them, in the right order.
                process_group=0,
                preexec_fn=_end_with_parent(os.getpid()),
            )
        self._children[name] = child = Child(name, process, log)
        return child

    async def _answers(self, child: Child, url: str) -> None:
        """Wait until the child answers at its health address. Raises DemoError, PortTaken."""
        until = time.monotonic() + START_SECONDS
        async with httpx.AsyncClient(trust_env=False, timeout=5) as http:
            while True:
                if not child.running:
                    if "address already in use" in "\n".join(child.last_lines()).lower():
                        del self._children[child.name]
                        raise PortTaken
                    raise child.death()
                with contextlib.suppress(httpx.TransportError):
                    if (await http.get(url)).status_code == httpx.codes.OK and child.running:
                        break
                if time.monotonic() > until:
                    message = f"The {child.name} does not answer after {START_SECONDS:.0f} seconds. The end of its log:"
                    raise DemoError(message, child.last_lines())
                await asyncio.sleep(POLL_SECONDS)
        self._started.set()

    # --- commands ----------------------------------------------------------------------------------------------------

    async def oklp(self, *arguments: str) -> tuple[int, str, str]:
        """Run an `oklp` command on the demo's database: status, output, errors."""
        process = await asyncio.create_subprocess_exec(
            *_module("oklp.cli"),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.environment(),
            process_group=0,
            preexec_fn=_end_with_parent(os.getpid()),
        )
        try:
            output, errors = await process.communicate()
        except asyncio.CancelledError:
            _kill(process)
            await process.wait()
            raise
        return process.returncode or 0, output.decode(errors="replace"), errors.decode(errors="replace")

    @contextlib.asynccontextmanager
    async def bot(self, module: str, arguments: Sequence[str], told: str) -> AsyncIterator[BotProcess]:
        """A bot that is told something on its standard input, and does not outlive the block."""
        process = await asyncio.create_subprocess_exec(
            *_module(module),
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LONGEST_LINE,
            env=self.environment(),
            process_group=0,
            preexec_fn=_end_with_parent(os.getpid()),
        )
        self._bots.add(process)
        try:
            if process.stdin is None or process.stdout is None or process.stderr is None:
                raise DemoError("A bot was started without its pipes.")
            process.stdin.write(told.encode())
            process.stdin.close()
            yield BotProcess(process, process.stdout, process.stderr)
        finally:
            # It has nothing to lose: what it did is the game's to keep.
            _kill(process)
            await process.wait()
            self._bots.discard(process)

    def environment(self) -> dict[str, str]:
        """The caller's, without any setting of OKLP: a demo must not end up on somebody's real database."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OKLP_")}
        places = [str(place) for place in self._game_places]
        if kept.get("PYTHONPATH"):
            places.append(kept["PYTHONPATH"])
        return {
            **kept,
            "NO_PROXY": f"{HOST},localhost",
            "no_proxy": f"{HOST},localhost",
            "OKLP_DATA_DIR": str(self.data_dir),
            "OKLP_DATABASE_URL": self.database_url,
            "OKLP_SANDBOX": "1",
            "PYTHONPATH": os.pathsep.join(places),
            "PYTHONUNBUFFERED": "1",
        }

    # --- the end -----------------------------------------------------------------------------------------------------

    def kill_all(self) -> None:
        for child in self._children.values():
            child.kill()
        for bot in self._bots:
            _kill(bot)

    async def first_death(self) -> Child:
        """Wait for a server that ends by itself."""
        await self._started.wait()
        while True:
            children = list(self._children.values())
            waits = [asyncio.ensure_future(child.process.wait()) for child in children]
            try:
                # Another server may be started meanwhile, and is to be watched as well.
                await asyncio.wait(waits, timeout=0.5, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
            for child in children:
                if not child.running and self._children.get(child.name) is child:
                    return child

    async def reason_of(self, work: asyncio.Task[int], death: asyncio.Task[Child]) -> DemoError | None:
        """Why the demo cannot go on, or None when it came to its end.

        A server that dies shows first as a request that fails, so a failed story waits a moment for the better reason.
        """
        failed = work.done() and not work.cancelled() and work.exception() is not None
        if failed and not death.done():
            await asyncio.wait({death}, timeout=1.0)
        if death.done() and not self._stopping:
            return death.result().death()
        error = work.exception() if failed else None
        if error is None or isinstance(error, DemoError):
            return error
        if isinstance(error, httpx.HTTPError):
            return DemoError(f"A request failed: {type(error).__name__} {error}")
        raise error


def _module(name: str) -> list[str]:
    # -P: what happens to lie in the current folder is not to be imported.
    return [sys.executable, "-P", "-m", name]


def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()


def free_port(preferred: int, skip: int = 0) -> int:
    """The preferred port or one of the next that is free; any free one after that."""
    for port in [*range(preferred + skip, min(preferred + skip + 20, 65536)), 0]:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise DemoError("No port is free.")


_libc: Any = ctypes.CDLL(None) if sys.platform == "linux" else None


def _end_with_parent(parent: int) -> Callable[[], None] | None:
    """On Linux the kernel ends a child whose parent is gone, even one that was killed without a chance to clean up."""
    if _libc is None:
        return None

    def in_child() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return in_child

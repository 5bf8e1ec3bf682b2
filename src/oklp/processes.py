"""Processes that a command starts, `oklp serve` among them: none outlives the command."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shlex
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

STOP_SECONDS: Final = 15.0
LAST_LINES: Final = 15
_PR_SET_PDEATHSIG: Final = 1


class ProcessError(Exception):
    """A process cannot be started, or has ended; the message says why, `lines` are the end of a log that shows it."""

    def __init__(self, message: str, lines: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.lines = tuple(lines)


class Child:
    """A process in a session of its own, so that what it started itself ends with it. Its output is in `log`."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process

    @property
    def status(self) -> int | None:
        """None while it runs."""
        return self._process.returncode

    async def wait(self, seconds: float | None = None) -> int | None:
        """Its status, or None when it has not ended by then."""
        try:
            return await asyncio.wait_for(self._process.wait(), seconds)
        except TimeoutError:
            return None

    async def stop(self, seconds: float = STOP_SECONDS) -> None:
        """SIGTERM, some time, SIGKILL, each for the whole group."""
        if self.status is None:
            self._signal(signal.SIGTERM)
            await self.wait(seconds)
        await self.kill()

    async def kill(self) -> None:
        """SIGKILL for the whole group: it may have members left, also when its leader has ended in good order."""
        self._signal(signal.SIGKILL)
        await self._process.wait()

    def last_lines(self) -> list[str]:
        return self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]

    def death(self) -> ProcessError:
        status = self.status or 0
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        return ProcessError(f"The {self.name} {how}. Its last lines:", self.last_lines())

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


async def start(name: str, command: Sequence[str], log: Path, env: Mapping[str, str], *, append: bool = False) -> Child:
    """Start a command, with its output in `log`. Raises ProcessError when there is no such program."""
    with log.open("ab" if append else "wb") as output:
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(env),
                start_new_session=True,
                preexec_fn=_end_with_parent(os.getpid()),
            )
        except OSError as error:
            raise ProcessError(f"The {name} cannot be started: {command[0]}: {error.strerror}") from error
    return Child(name, process, log)


def words(command: str, values: Mapping[str, str]) -> list[str]:
    """A command line as its words, with `{name}` replaced in each. No shell is involved, so a value stays one word."""
    try:
        split = shlex.split(command)
    except ValueError as error:
        raise ProcessError(f"The command {command!r} cannot be read: {error}") from error
    if not split:
        raise ProcessError("A command is empty.")
    for name, value in values.items():
        split = [word.replace(f"{{{name}}}", value) for word in split]
    return split


def oklp_command(*arguments: str) -> list[str]:
    # -P: what happens to lie in the current folder is not to be imported.
    return [sys.executable, "-P", "-m", "oklp.cli", *arguments]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


_libc: Any = ctypes.CDLL(None) if sys.platform == "linux" else None


def _end_with_parent(parent: int) -> Callable[[], None] | None:
    """On Linux the kernel ends a child whose parent is gone, even one that was killed without a chance to clean up."""
    if _libc is None:
        return None

    def in_child() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return in_child

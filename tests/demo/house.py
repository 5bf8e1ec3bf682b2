"""A running `oklp demo`, as somebody meets it: a process in an empty folder."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import psutil
import pytest

PATIENCE_SECONDS = 150.0


class Demo:
    """A running `oklp demo`, of this checkout or of an unpacked `package`. What it prints is in `text` as far as it was
    waited for.
    """

    def __init__(self, folder: Path, *arguments: str, package: Path | None = None) -> None:
        self.data_dir = folder / "data" / "demo"
        self.text = ""
        # Ports that other tests and other software like are left to them: the demo takes the next free ones.
        port, game_port = _two_free_ports()
        command = ["demo", "--port", str(port), "--game-port", str(game_port), *arguments]
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "oklp.cli", *command],
            cwd=folder,
            env={**os.environ, **({"PYTHONPATH": str(package)} if package else {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._seen: dict[int, psutil.Process] = {}

    def wait_for(self, words: str) -> str:
        """Read on until it has printed this; returns all of the text."""
        self._read_until(words, lambda: words in self.text)
        return self.text

    def wait_for_all(self, *patterns: str) -> list[str]:
        """Read on until all are in the text, in any order; returns the first group of each."""
        self._read_until(" and ".join(patterns), lambda: all(re.search(pattern, self.text) for pattern in patterns))
        return [found[1] for pattern in patterns if (found := re.search(pattern, self.text))]

    def _read_until(self, what: str, is_there: Callable[[], bool]) -> None:
        until = time.monotonic() + PATIENCE_SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ)
            while not is_there():
                if not selector.select(until - time.monotonic()):
                    pytest.fail(f"{what!r} did not come:\n{self.text}")
                chunk = os.read(self._output.fileno(), 65536)
                if not chunk:
                    pytest.fail(f"it ended before {what!r}:\n{self.text}")
                self.text += chunk.decode()
                self.children()

    def end(self) -> int:
        """Wait for its end; returns its status, and has seen to it that nothing is left."""
        rest, _ = self.process.communicate(timeout=PATIENCE_SECONDS)
        self.text += rest.decode()
        left = [child for child in self._seen.values() if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
        assert left == []
        return self.process.returncode

    def children(self) -> list[psutil.Process]:
        """Its servers, which are remembered to be looked for at the end."""
        found: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            found = psutil.Process(self.process.pid).children(recursive=True)
        self._seen.update((child.pid, child) for child in found)
        return found

    def child(self, module: str) -> psutil.Process:
        (found,) = [child for child in self.children() if module in child.cmdline()]
        return found

    def kill(self) -> None:
        self.children()
        self.process.kill()
        self.process.wait()
        self._output.close()
        for child in self._seen.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()

    @property
    def _output(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout


def _two_free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        for probe in (first, second):
            probe.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]

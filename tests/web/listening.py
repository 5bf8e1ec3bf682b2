"""`oklp listen` as a process, and a proxy before the platform whose connections can be cut."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from tests.harness import Oklp, Server

PATIENCE_SECONDS = 60.0
AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: closing resets


class Proxy:
    """Forwards every connection to a port of this machine, `upstream`. `cut` resets all that are open."""

    def __init__(self, port: int) -> None:
        self.upstream = port
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._guard = threading.Lock()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._socket.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self.upstream))
                except OSError:
                    near.close()
                    continue
                with self._guard:
                    self._pairs.add((near, far))
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    @staticmethod
    def _pump(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65_536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)

    def cut(self) -> int:
        """How many connections there were."""
        with self._guard:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for each in pair:
                with contextlib.suppress(OSError):
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
                    each.shutdown(socket.SHUT_RDWR)
                each.close()
        return len(pairs)

    def close(self) -> None:
        self._socket.close()
        self.cut()


class Listening:
    """A command that goes on until it is stopped, with what it has printed so far."""

    def __init__(self, server: Server, *words: str, url: str = "", token: str = "") -> None:
        kept = {name: value for name, value in server.env.items() if not name.startswith("OKLP_")}
        token = token or str(server.studio.headers["Authorization"]).removeprefix("Bearer ")
        output, errors = multiprocessing.Pipe(duplex=False), multiprocessing.Pipe(duplex=False)
        env = {**kept, "OKLP_URL": url or server.url, "OKLP_STUDIO_TOKEN": token}
        self.process = Oklp(words, env, output[1], errors[1])
        self.lines: list[str] = []
        self.notices: list[str] = []
        self._results: list[dict[str, Any]] = []
        self._parsed = 0
        self._news = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read, args=args, daemon=True)
            for args in ((output[0], self.lines), (errors[0], self.notices))
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait(30)

    def _read(self, end: Connection, found: list[str]) -> None:
        with end, os.fdopen(os.dup(end.fileno()), encoding="utf-8") as stream:
            for line in stream:
                with self._news:
                    found.append(line.rstrip("\n"))
                    self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def until(self, seen: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
        with self._news:
            done = self._news.wait_for(lambda: seen() or self.process.poll() is not None, seconds)
            assert done, (self.lines[-20:], self.notices[-20:])
            assert seen(), (self.lines[-20:], self.notices[-20:])

    def results(self) -> list[dict[str, Any]]:
        """Of `--json`, the deliveries."""
        fresh = [json.loads(line) for line in self.lines[self._parsed :]]
        self._parsed += len(fresh)
        self._results += [each for each in fresh if each.get("result") != "ready"]
        return self._results

    def await_ready(self) -> None:
        self.until(lambda: any('"ready"' in line for line in self.lines) or any("Ready" in n for n in self.notices))

    def await_results(self, count: int, seconds: float = PATIENCE_SECONDS) -> list[dict[str, Any]]:
        self.until(lambda: len(self.results()) >= count, seconds)
        return self.results()

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        status = self.process.wait(PATIENCE_SECONDS)
        for reader in self._readers:
            reader.join(PATIENCE_SECONDS)
        return status


def await_true(seen: Callable[[], bool], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < until
        time.sleep(0.02)

"""The platform and what stands beside it, as real processes: started, waited for, weighed, stopped."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psutil

START_SECONDS = 30.0
ROOT = Path(__file__).resolve().parents[1]


class NotStarted(Exception):
    """A process did not come up; the message has its last words."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    """A server in a process of its own, in a `with`. `ready_seconds` is the time until its first answer."""

    def __init__(self, arguments: Sequence[str], port: int, path: str, environment: Mapping[str, str] | None = None):
        self.port = port
        self._arguments = arguments
        self._path = path
        self._environment = {**os.environ, **(environment or {})}
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        self.ready_seconds = 0.0

    def __enter__(self) -> Self:
        started = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, *self._arguments],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        while not self._answers():
            if self._process.poll() is not None or time.perf_counter() - started > START_SECONDS:
                self._end()
                raise NotStarted(f"{' '.join(self._arguments)}:\n{self.last_words()}")
            time.sleep(0.005)
        self.ready_seconds = time.perf_counter() - started
        self.process = psutil.Process(self._process.pid)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        self._log.close()

    def _end(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", self._path)
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def last_words(self) -> str:
        self._log.seek(0)
        return self._log.read()[-4_000:].decode(errors="replace")

    def _family(self) -> list[psutil.Process]:
        """The process and those that it has started: workers."""
        return [self.process, *self.process.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """Of all its processes together."""
        times = [each.cpu_times() for each in self._family()]
        return float(sum(each.user + each.system for each in times))

    def peak_memory_mb(self) -> float:
        """The most resident memory so far of the largest of its processes, in units of 10^6 bytes."""
        return max(_peak_memory_mb(each) for each in self._family())


def _peak_memory_mb(process: psutil.Process) -> float:
    """Where the system does not tell the most, what it is now."""
    status = Path(f"/proc/{process.pid}/status")
    if status.exists():
        found = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE)
        if found is not None:
            return int(found.group(1)) * 1024 / 1e6
    return float(process.memory_info().rss) / 1e6


def platform(database_url: str, data_dir: str, port: int, workers: int) -> Process:
    """`oklp serve` in sandbox mode, as so many processes."""
    serve = ["-m", "oklp.cli", "serve", "--sandbox", "--port", str(port), "--workers", str(workers)]
    return Process(
        [*serve, "--database-url", database_url],
        port,
        "/readyz",
        {"OKLP_DATA_DIR": data_dir, "OKLP_PUBLIC_URL": f"http://127.0.0.1:{port}", "OKLP_LOG_LEVEL": "warning"},
    )


def module(name: str, *arguments: str) -> Process:
    """A module of this package that serves HTTP on the port it is given first."""
    port = free_port()
    return Process(["-m", name, str(port), *arguments], port, "/")


class PostgresCpu:
    """Processor time of a database server on this machine, found by the parent of one of its sessions."""

    def __init__(self, backend_pid: int) -> None:
        try:
            self._postmaster: psutil.Process | None = psutil.Process(backend_pid).parent()
        except psutil.Error:
            self._postmaster = None  # on another machine

    def seconds(self) -> float:
        """Of all its processes, also of those that have ended; 0 when it is not on this machine."""
        if self._postmaster is None:
            return 0.0
        own = self._postmaster.cpu_times()
        total = own.user + own.system + own.children_user + own.children_system
        for process in self._postmaster.children():
            try:
                times = process.cpu_times()
            except psutil.Error:
                continue
            total += times.user + times.system
        return float(total)

"""A throw-away PostgreSQL server for tests and benchmarks, on a unix socket in a folder of its own.

    with Cluster(durable=False) as cluster:
        cluster.url                            # postgresql://… of the maintenance database, as a superuser
        database_url(cluster.url, "name")      # the same server, another database

By hand, `.venv/bin/python scripts/postgres.py [--durable]` prints the URL and runs until Ctrl-D or Ctrl-C.

The server is looked after by a keeper process whose standard input is a pipe from here. When this process ends, in
whatever way, the pipe closes, and the keeper stops the server and removes its folder: not even `kill -9` on a test run
leaves one behind. The keeper has a session of its own, so a Ctrl-C at the terminal does not stop the server under
tests that are still cleaning up.
"""

from __future__ import annotations

import argparse
import glob
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn
from urllib.parse import urlsplit

START_SECONDS = 60
OWNER = "postgres"
# PostgreSQL refuses to run as root. These users, tried in turn, own a cluster that root asks for.
UNPRIVILEGED = ("postgres", "nobody")

COMMON = {"listen_addresses": "''", "max_connections": "200", "log_min_messages": "warning"}
# A crash of the machine may lose what was committed; a crash of any process, the database's included, loses nothing.
# Plain tests need no more. Crash tests and benchmarks say `durable` and get PostgreSQL's own defaults.
FAST = {"fsync": "off", "full_page_writes": "off"}


class ClusterError(Exception):
    """There is no server to be had; the message says why."""


def database_url(server_url: str, name: str) -> str:
    """`server_url` with another database's name in it."""
    return urlsplit(server_url)._replace(path=f"/{name}").geturl()


def find_programs() -> Path:
    """The folder of the newest PostgreSQL installed: Debian's places first, then the path."""
    found = [Path(path).parent for path in glob.glob("/usr/lib/postgresql/*/bin/initdb")]
    if found:
        return max(found, key=lambda path: [int(part) for part in re.findall(r"\d+", path.parent.name)])
    on_path = shutil.which("initdb")
    if on_path is None:
        raise ClusterError(
            "no PostgreSQL server is installed: install Debian's package `postgresql`, "
            "or name a server in OKLP_TEST_POSTGRES"
        )
    return Path(on_path).resolve().parent


# --- the keeper's side -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Server:
    """A cluster in `folder`; `identity` holds the arguments that make a subprocess run as the folder's owner."""

    programs: Path
    folder: Path
    identity: dict[str, Any]

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def url(self) -> str:
        return f"postgresql://{OWNER}@/postgres?host={self.folder}"

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), *arguments]
        # The log, not a pipe, takes the output: the server inherits it and would hold a pipe open for ever.
        with (self.folder / "keeper.log").open("ab") as log:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"},
                check=False,
                **self.identity,
            )
        if done.returncode != 0:
            raise ClusterError(f"{program} failed with status {done.returncode}:\n{self.last_words()}")

    def last_words(self) -> str:
        logs = [self.folder / "keeper.log", self.folder / "server.log"]
        return "\n".join(log.read_text(errors="replace")[-2_000:] for log in logs if log.exists())

    def create(self, *, durable: bool) -> None:
        # The order of a human language, where the build has it: tests then notice a statement that counts on the order
        # of bytes, which production databases seldom have.
        arguments = [
            "-D",
            str(self.data),
            "-U",
            OWNER,
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ]
        try:
            self._run("initdb", *arguments, "--locale-provider=icu", "--icu-locale=en-US")
        except ClusterError:
            shutil.rmtree(self.data, ignore_errors=True)
            self._run("initdb", *arguments)
        settings = {**COMMON, "unix_socket_directories": f"'{self.folder}'", **({} if durable else FAST)}
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())

    def start(self) -> None:
        log = str(self.folder / "server.log")
        self._run("pg_ctl", "start", "-D", str(self.data), "-l", log, "-w", "-t", str(START_SECONDS))

    def stop(self) -> None:
        if (self.data / "postmaster.pid").exists():
            self._run("pg_ctl", "stop", "-D", str(self.data), "-m", "immediate", "-w", "-t", str(START_SECONDS))


def make_server() -> Server:
    """An empty folder of the right owner, and how to become that owner. Sockets allow about 100 bytes of path."""
    programs = find_programs()
    if os.geteuid() != 0:
        return Server(programs, Path(tempfile.mkdtemp(prefix="oklp-pg-", dir=_short_folder())), {})
    users = {entry.pw_name: entry for entry in pwd.getpwall()}
    user = next((users[name] for name in UNPRIVILEGED if name in users), None)
    if user is None:
        raise ClusterError("PostgreSQL does not run as root, and there is no user `postgres` or `nobody`")
    # A root's TMPDIR may be closed to others; /tmp is not.
    folder = Path(tempfile.mkdtemp(prefix="oklp-pg-", dir="/tmp"))
    os.chown(folder, user.pw_uid, user.pw_gid)
    return Server(programs, folder, {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []})


def _short_folder() -> str:
    folder = tempfile.gettempdir()
    return folder if len(folder) < 60 else "/tmp"  # noqa: S108 - mkdtemp makes it safe


def _end(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def keep(*, durable: bool) -> int:
    """Run a cluster until standard input ends; its URL is the one line of standard output."""
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGHUP, _end)
    server: Server | None = None
    try:
        server = make_server()
        server.create(durable=durable)
        server.start()
        print(server.url, flush=True)
        sys.stdin.buffer.read()
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    except (KeyboardInterrupt, BrokenPipeError):
        pass
    finally:
        if server is not None:
            try:
                server.stop()
            finally:
                shutil.rmtree(server.folder, ignore_errors=True)
    return 0


# --- the side of tests and benchmarks --------------------------------------------------------------------------------


class Cluster:
    """A running server, in a `with` or by `start` and `stop`. Raises ClusterError when none can be had."""

    def __init__(self, *, durable: bool) -> None:
        self._durable = durable
        self._keeper: subprocess.Popen[str] | None = None
        self._url = ""

    @property
    def url(self) -> str:
        if not self._url:
            raise ClusterError("the cluster has not been started")
        return self._url

    def start(self) -> str:
        command = [sys.executable, str(Path(__file__).resolve()), *(["--durable"] if self._durable else [])]
        self._keeper = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        if self._keeper.stdout is None or self._keeper.stderr is None:
            raise ClusterError("the keeper has no pipes")
        self._url = self._keeper.stdout.readline().strip()
        if not self._url:
            reason = self._keeper.stderr.read().strip()
            self.stop()
            raise ClusterError(reason or "the keeper ended without a word")
        return self._url

    def stop(self) -> None:
        """Close the pipe and wait until the server has stopped and its folder is gone."""
        keeper, self._keeper, self._url = self._keeper, None, ""
        if keeper is not None:
            keeper.communicate()

    def __enter__(self) -> Cluster:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description="Run a throw-away PostgreSQL server until standard input ends.")
    parser.add_argument("--durable", action="store_true", help="keep fsync on, as in production")
    return keep(durable=parser.parse_args().durable)


if __name__ == "__main__":
    sys.exit(main())

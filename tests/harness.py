"""A platform as its users meet it: `oklp serve` as a process of its own, spoken to over HTTP."""

from __future__ import annotations

import contextlib
import functools
import http.client
import itertools
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pyotp

PLAYER = "/api/player/v1"
PASSWORD = "correct horse"
_numbers = itertools.count(1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# Each client would read all certificates of the system, 30 ms of the processor: a run makes thousands, and none of them
# speaks TLS.
_transport: Any = httpx._transports.default
_transport.create_ssl_context = functools.cache(_transport.create_ssl_context)

# Most of what a command of `oklp` costs is importing: it is done once, and each process is a fork of what has done it.
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["tests.harness", "tests.prepared"])


Output: TypeAlias = "Path | Connection"


def _become_oklp(arguments: tuple[str, ...], env: dict[str, str], output: Output, errors: Output) -> None:
    """In the process that was forked."""
    for place, descriptor in ((output, 1), (errors, 2)):
        if isinstance(place, Path):
            file = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(file, descriptor)
            os.close(file)
        else:
            os.dup2(place.fileno(), descriptor)
            place.close()
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["oklp", *arguments]
    from oklp.cli import main

    main()


class Oklp:
    """`oklp …` as a process of its own, with the manners of `subprocess.Popen`. What it says goes into files, or to the
    ends of pipes, which are closed on this side.
    """

    def __init__(self, arguments: tuple[str, ...], env: dict[str, str], output: Output, errors: Output) -> None:
        self.args = ("oklp", *arguments)
        self._process = _forks.Process(target=_become_oklp, args=(arguments, env, output, errors), daemon=True)
        self._process.start()
        for place in (output, errors):
            if not isinstance(place, Path):
                place.close()
        self.pid: int = self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Its status, negative for a signal. Raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run_cli(env: dict[str, str], *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """`oklp …` as a process, to its end."""
    with tempfile.TemporaryDirectory() as folder:
        output, errors = Path(folder, "output"), Path(folder, "errors")
        process = Oklp(arguments, env, output, errors)
        try:
            status = process.wait(120)
        finally:
            process.kill()
        done = subprocess.CompletedProcess(process.args, status, output.read_text(), errors.read_text())
    if check and done.returncode != 0:
        raise AssertionError(f"oklp {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done


@dataclass
class GameConfig:
    """A registered game's developer-config.json."""

    config: dict[str, Any]

    @property
    def client_id(self) -> str:
        return str(self.config["authentication"]["client_id"])

    @property
    def auth(self) -> dict[str, str]:
        found: dict[str, str] = self.config["authentication"]
        return found


@dataclass
class Server:
    """One `oklp serve` process. `kill` is SIGKILL, `stop` is SIGTERM."""

    database_url: str
    folder: Path
    port: int = field(default_factory=free_port)
    more_env: dict[str, str] = field(default_factory=dict)
    process: Oklp | subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OKLP_")}
        return {
            **kept,
            "OKLP_DATABASE_URL": self.database_url,
            "OKLP_DATA_DIR": str(self.folder),
            "OKLP_PUBLIC_URL": self.url,
            "OKLP_SANDBOX": "1",
            **self.more_env,
        }

    @property
    def log(self) -> Path:
        return self.folder / f"server-{self.port}.log"

    def start(self, *options: str, wait: bool = True) -> Server:
        self.folder.mkdir(parents=True, exist_ok=True)
        arguments = ("serve", "--port", str(self.port), *options)
        if "--workers" in options:  # what is a fork of multiprocessing cannot tell itself from its own workers
            with self.log.open("ab") as log:
                command = [sys.executable, "-m", "oklp.cli", *arguments]
                self.process = subprocess.Popen(command, env=self.env, stdout=log, stderr=log)
        else:
            self.process = Oklp(arguments, self.env, self.log, self.log)
        if wait:
            self.await_ready()
        return self

    def await_ready(self, seconds: float = 60) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(
                    f"the server ended with {self.process.returncode}:\n{self.log.read_text()[-3000:]}"
                )
            # Cheaper than httpx, which would take the processor from the server that it waits for.
            probe = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
            with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(probe):
                probe.request("GET", "/readyz")
                if probe.getresponse().status == 200:
                    return
            time.sleep(0.03)
        raise AssertionError(f"the server was not ready in {seconds} s:\n{self.log.read_text()[-3000:]}")

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(30)

    def stop(self, seconds: float = 40) -> int:
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError("the server did not stop on SIGTERM") from None

    def cli(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return run_cli(self.env, *arguments, check=check)

    def register(self, webhook_url: str = "", *, name: object = "", **settings: object) -> GameConfig:
        """A game of this server's test studio, by the studio API. `settings` are those of contract.GameSettings."""
        body = {
            "name": name or f"Game {next(_numbers)}-{os.getpid()}",
            "webhook_url": webhook_url or None,
            "launch_urls": {"browser": "http://127.0.0.1:9/play?token={match-token}"},
            "settings": settings,
        }
        answer = self.studio.post("/games", json=body)
        assert answer.status_code == 201, answer.text
        return GameConfig(answer.json()["developer_config"])

    @functools.cached_property
    def studio(self) -> httpx.Client:
        """The owner of a studio of its own, logged in."""
        return self.new_studio()

    def new_studio(self) -> httpx.Client:
        """Another one."""
        name = f"studio-{os.getpid()}-{next(_numbers)}-{self.port}"
        return self._logged_in("studio", name, sign_up=True)

    @functools.cached_property
    def operator(self) -> httpx.Client:
        """An operator, made by the command line and logged in."""
        return self.new_operator()

    def new_operator(self, *options: str, name: str = "") -> httpx.Client:
        """Another one. `options` are further ones of the command; it is an admin unless they say otherwise."""
        name = name or f"operator-{os.getpid()}-{next(_numbers)}-{self.port}"
        self.cli("operator", "create", "--username", name, "--password", PASSWORD, "--role", "admin", *options)
        http = self._logged_in("operator", name)
        if self.env["OKLP_SANDBOX"] != "1" or self.env.get("OKLP_OPERATOR_SECOND_FACTOR") == "1":
            enrol(http)
        return http

    def _logged_in(self, kind: str, username: str, *, sign_up: bool = False) -> httpx.Client:
        http = httpx.Client(base_url=f"{self.url}/api/{kind}/v1", timeout=30)
        if sign_up:
            body = {"name": username, "username": username, "email": f"{username}@example.org", "password": PASSWORD}
            assert http.post("/studios", json=body).status_code == 201
        session = http.post("/sessions", json={"username": username, "password": PASSWORD})
        assert session.status_code == 201, session.text
        http.headers["Authorization"] = f"Bearer {session.json()['token']}"
        return http

    def books(self) -> dict[str, Any]:
        """The report of `oklp books verify`; fails when they are not clean."""
        done = self.cli("books", "verify", "--json", check=False)
        report: dict[str, Any] = json.loads(done.stdout)
        assert report["clean"], report["faults"]
        assert done.returncode == 0
        return report


def enrol(http: httpx.Client) -> str:
    """Give whoever is logged in an authenticator app. Its secret."""
    enrolment = http.post("/me/totp", json={"password": PASSWORD})
    assert enrolment.status_code == 200, enrolment.text
    secret = str(enrolment.json()["secret"])
    confirmed = http.post("/me/totp/confirm", json={"code": pyotp.TOTP(secret).now()})
    assert confirmed.status_code == 200, confirmed.text
    return secret


@contextlib.contextmanager
def serving(database_url: str, folder: Path, *options: str, **env: str) -> Iterator[Server]:
    server = Server(database_url, folder, more_env=env).start(*options)
    try:
        yield server
    finally:
        server.stop()


class PlayerClient:
    """A player with a session."""

    def __init__(self, server_url: str, username: str | None = None, deposit: int = 10_000) -> None:
        self.username = username or f"p{next(_numbers)}-{os.getpid()}-{time.time_ns() % 10**9}"
        self.http = httpx.Client(base_url=server_url, timeout=30)
        body = {
            "username": self.username,
            "email": f"{self.username}@example.org",
            "password": PASSWORD,
            "date_of_birth": "1990-05-17",
            "country": "DE",
        }
        self.user_id = self._must(201, self.http.post(f"{PLAYER}/players", json=body))["user_id"]
        credentials = {"username": self.username, "password": PASSWORD}
        session = self._must(201, self.http.post(f"{PLAYER}/sessions", json=credentials))
        self.http.headers["Authorization"] = f"Bearer {session['token']}"
        if deposit:
            self.must(201, "POST", "/wallet/deposits", {"amount": deposit, "currency": "XTS"})

    @staticmethod
    def _must(status: int, response: httpx.Response) -> dict[str, Any]:
        assert response.status_code == status, (response.request.method, response.request.url, response.text)
        found: dict[str, Any] = response.json()
        return found

    def call(self, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
        return self.http.request(method, f"{PLAYER}{path}", json=body, headers=headers)

    def must(self, status: int, method: str, path: str, body: object = None, **headers: str) -> dict[str, Any]:
        return self._must(status, self.call(method, path, body, **headers))

    def create(self, game_id: str, fee: int = 500, **more: object) -> str:
        body = {"game_id": game_id, "entry_fee": {"amount": fee, "currency": "XTS"}, **more}
        return str(self.must(201, "POST", "/matches", body)["match_id"])

    def act(self, match_id: str, action: str, body: object = None) -> dict[str, Any]:
        return self.must(200, "POST", f"/matches/{match_id}/{action}", body)

    def match(self, match_id: str) -> dict[str, Any]:
        return self.must(200, "GET", f"/matches/{match_id}")

    def available(self) -> int:
        return int(self.must(200, "GET", "/wallet")["balances"][0]["available"])

    def await_status(self, match_id: str, *statuses: str, seconds: float = 20) -> dict[str, Any]:
        until = time.monotonic() + seconds
        while (match := self.match(match_id))["status"] not in statuses:
            assert time.monotonic() < until, f"the match is {match['status']}, not {statuses}"
            time.sleep(0.01)
        return match


def paid_match(one: PlayerClient, two: PlayerClient, game_id: str, fee: int = 500) -> str:
    """A match that both have joined and paid."""
    match_id = one.create(game_id, fee, invite=[two.username])
    two.act(match_id, "join")
    one.act(match_id, "confirm")
    two.act(match_id, "confirm")
    return match_id


class GameClient:
    """A game's back end, by the public pages' own requests."""

    def __init__(self, server_url: str, game: GameConfig) -> None:
        self.game = game
        self.http = httpx.Client(base_url=server_url, timeout=30)
        answer = self.http.post(
            game.auth["token_url"],
            data={
                "client_id": game.client_id,
                "client_secret": game.auth["client_secret"],
                "grant_type": "client_credentials",
                "scope": "olp-report-api",
            },
        )
        assert answer.status_code == 200, answer.text
        self.http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def match(self, match_id: str) -> dict[str, Any]:
        answer = self.http.get(f"/api/game/v1/matches/{match_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def report(self, match_id: str, winner: str) -> dict[str, Any]:
        """A synchronous result in which `winner` (a user) comes first."""
        match = self.match(match_id)
        best = next(each["team_id"] for each in match["participants"] if each["id"] == winner)
        others = itertools.count(2)
        return {
            "match_id": match_id,
            "participants": [{"id": e["id"], "score": 100 if e["id"] == winner else 10} for e in match["participants"]],
            "teams": [
                {
                    "id": t["id"],
                    "score": 100 if t["id"] == best else 10,
                    "ranking": 1 if t["id"] == best else next(others),
                }
                for t in match["teams"]
            ],
        }

    def finish(self, body: object, path: str = "/api/game/v1/finish") -> httpx.Response:
        return self.http.post(path, json=body)

"""Reversi's server as a process of its own, with the platform's and the players' side of its wires."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from oklp.signing import new_webhook_secret, sign_webhook, webhook_claims
from tests.harness import free_port
from tests.sdk.stand_in import API, FINISHED, GAME, JWKS_PATH, OTHER_USER, REALM, USER, Platform, Reply, signing_key

GAMES = Path(__file__).resolve().parents[2] / "games" / "reversi"
SECRET = new_webhook_secret(b"r" * 32)
PATIENCE_SECONDS = 20.0
TEAMS = {USER: "t1", OTHER_USER: "t2"}
_numbers = count(1)

View = dict[str, Any]


def new_match_id() -> str:
    return f"{os.getpid():08x}{next(_numbers):016x}"


def match_info(match_id: str) -> dict[str, Any]:
    return {
        "match_id": match_id,
        "participants": [{"id": user, "team_id": team} for user, team in TEAMS.items()],
        "teams": [{"id": team} for team in TEAMS.values()],
    }


def environment() -> dict[str, str]:
    """For a process that runs the game from its sources."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OKLP_")}
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, [str(GAMES), kept.get("PYTHONPATH", "")]))}


@dataclass
class GameServer:
    """`python -m reversi`. `kill` is SIGKILL, `stop` is SIGTERM."""

    config: dict[str, Any]
    folder: Path
    options: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        return self.folder / "reversi.db"

    @property
    def log(self) -> str:
        return (self.folder / "reversi.log").read_text()

    def start(self) -> GameServer:
        config = self.folder / "developer-config.json"
        config.write_text(json.dumps(self.config))
        arguments = ["--config", str(config), "--data", str(self.data), "--port", str(self.port), *self.options]
        with (self.folder / "reversi.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "reversi", *arguments], env=environment(), stdout=log, stderr=log
            )
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until and self.process.poll() is None:
            probe = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
            with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(probe):
                probe.request("GET", "/healthz")
                if probe.getresponse().status == 200:
                    return self
            time.sleep(0.03)
        raise AssertionError(f"the game server is not up:\n{self.log[-3000:]}")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)

    def stop(self) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE_SECONDS)
        assert "Traceback" not in self.log, self.log


@contextlib.contextmanager
def serving(config: dict[str, Any], folder: Path, *options: str) -> Iterator[GameServer]:
    server = GameServer(config, folder, options).start()
    try:
        yield server
    finally:
        server.stop()


def prepare(platform: Platform) -> None:
    """What a stand-in platform has to know for this game."""
    platform.always(JWKS_PATH, Reply(body={"keys": [signing_key("first").public_jwk()]}))
    for name, user in (("marlene", USER), ("otto", OTHER_USER)):
        platform.always(f"{API}/users/{user}", Reply(body={"user_id": user, "username": name}))
    platform.always(f"{API}/finish", Reply(body=FINISHED))


class Board:
    """The WebSocket of `user`."""

    def __init__(self, socket: ClientConnection, user: str) -> None:
        self.socket = socket
        self.user = user
        self.view: View = {}

    def hear(self) -> dict[str, Any]:
        """The next message. Raises ConnectionClosed."""
        message: dict[str, Any] = json.loads(self.socket.recv(PATIENCE_SECONDS))
        if message["type"] == "state":
            self.view = message
        return message

    def until(self, **expected: Any) -> View:
        """The first state, from the last one heard on, that has these values."""
        while not self.view or any(self.view[name] != value for name, value in expected.items()):
            self.hear()
        return self.view

    def until_named(self) -> View:
        """The first state that has both players' names, which are asked for when the match starts."""
        while not (self.view and self.view["you"]["name"] and self.view["them"]["name"]):
            self.hear()
        return self.view

    def hear_the_end(self) -> int | None:
        """The code that the server closes with, after whatever it says before; None when it is just gone."""
        while True:
            try:
                self.hear()
            except ConnectionClosed as closed:
                return None if closed.rcvd is None else closed.rcvd.code

    def refused(self) -> str:
        """Why something is refused: the next message of that kind."""
        while (message := self.hear())["type"] != "refused":
            pass
        return str(message["detail"])

    def say(self, message: Any) -> None:
        self.socket.send(message if isinstance(message, str | bytes) else json.dumps(message))

    def move(self, square: str | None = None) -> str:
        """Play, by default the first legal move, and hear that it is played."""
        number = len(self.view["moves"]) + 1
        square = square or self.view["legal"][0]
        self.say({"type": "move", "number": number, "square": square})
        while len(self.view["moves"]) < number:
            self.hear()
        return square


class House:
    """A game server on a stand-in platform."""

    def __init__(self, platform: Platform, server: GameServer) -> None:
        self.platform = platform
        self.server = server
        self._users: dict[str, str] = {}

    def tell(self, match_id: str, method: str = "PUT", body: Any = None, **headers: str) -> httpx.Response:
        """A webhook as the platform sends it; `headers` replace its own."""
        content = json.dumps(match_info(match_id) if body is None else body).encode()
        now, name = int(time.time()), f"msg_{os.getpid()}_{next(_numbers)}"
        token = signing_key("first").sign(webhook_claims(self.platform.url + REALM, GAME, now, 60, name))
        signed = {
            "authorization": f"Bearer {token}",
            "webhook-id": name,
            "webhook-timestamp": str(now),
            "webhook-signature": sign_webhook([SECRET], name, now, content),
        }
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        with self.http() as http:
            return http.request(method, "/oklp/match", content=content, headers={**signed, **given})

    def http(self) -> httpx.Client:
        return httpx.Client(base_url=self.server.url, trust_env=False, timeout=PATIENCE_SECONDS)

    def start(self) -> str:
        match_id = new_match_id()
        answer = self.tell(match_id)
        assert answer.status_code == 200, answer.text
        return match_id

    def token_is(self, match_id: str, user: str, status: str = "live") -> None:
        """What the platform says of the next match-token."""
        body = {"match_id": match_id, "user_id": user, "match_status": status, "submissions_total": 1}
        self.platform.script(f"{API}/token-info", Reply(body={**body, "submissions_left": 1}))

    def launch(self, match_id: str, user: str, status: str = "live") -> tuple[str, str]:
        """Follow the launch URL: the path of the board, and the cookie for it."""
        self.token_is(match_id, user, status)
        with self.http() as http:
            answer = http.get("/play?token=good")
        assert answer.status_code == 303, answer.text
        found = re.match(r"seat=([^;]+)", answer.headers["set-cookie"])
        assert found is not None
        path = str(answer.headers["location"])
        self._users[path] = user
        return path, f"seat={found[1]}"

    @contextlib.contextmanager
    def at(self, path: str, cookie: str, origin: str | None = "") -> Iterator[Board]:
        """A board with that session; from the page's own origin, unless another or none is given."""
        address = f"ws://127.0.0.1:{self.server.port}{path}/socket"
        whose = self.server.url if origin == "" else origin
        with connect(
            address,
            origin=None if whose is None else Origin(whose),
            additional_headers={"cookie": cookie},
            open_timeout=PATIENCE_SECONDS,
            proxy=None,
        ) as socket:
            yield Board(socket, self._users.get(path, ""))

    @contextlib.contextmanager
    def both(self, match_id: str) -> Iterator[tuple[Board, Board]]:
        """Both players at the board, black first."""
        seats = sorted(self.launch(match_id, user) for user in TEAMS)
        with self.at(*seats[0]) as black, self.at(*seats[1]) as white:
            for board in (black, white):
                board.until(phase="playing")
            yield black, white

    def reports(self, match_id: str) -> list[Any]:
        found = [asked.json for asked in self.platform.asked_for(f"{API}/finish")]
        return [report for report in found if report["match_id"] == match_id]

    def await_reports(self, match_id: str, number: int = 1) -> list[Any]:
        """The reports on a match, once there are so many."""
        until = time.monotonic() + PATIENCE_SECONDS
        while len(found := self.reports(match_id)) < number:
            assert time.monotonic() < until, self.server.log[-3000:]
            time.sleep(0.01)
        return found


def play_out(black: Board, white: Board, most: int = 60) -> None:
    """Legal moves until the match is over, or so many are played."""
    while black.view["phase"] == "playing" and len(black.view["moves"]) < most:
        mover, waiter = (black, white) if black.view["turn"] == "you" else (white, black)
        mover.until(turn="you", moves=waiter.view["moves"])
        mover.move()
        waiter.until(moves=mover.view["moves"])


def standing(report: Any) -> list[tuple[int, bool]]:
    """Ranking and forfeit of each team, in the order of TEAMS."""
    teams = {team["id"]: (team["ranking"], team.get("forfeit", False)) for team in report["teams"]}
    return [teams[team] for team in TEAMS.values()]

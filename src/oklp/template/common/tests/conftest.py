"""The game's server, a stand-in for the platform, and players: all of it over real HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import Thread
from typing import TypeAlias

import httpx
import pytest
import uvicorn
from oklp.sdk import MatchInfo
from oklp.sdk.testing import SignedRequest, StandIn

from sum_sprint.game import wall_clock
from sum_sprint.server import create_app

Serve: TypeAlias = Callable[[], AbstractContextManager["House"]]


class Clock:
    """The server's clock, and what a test puts it forward by."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def __call__(self) -> int:
        return wall_clock() + self.ahead_ms


class House:
    """A running server, and whoever comes to it."""

    def __init__(self, http: httpx.Client, platform: StandIn) -> None:
        self.http = http
        self.platform = platform

    def tell(self, told: SignedRequest) -> int:
        """A webhook arrives; how it is answered."""
        return self.http.request(told.method, "/oklp/match", headers=dict(told.headers), content=told.body).status_code

    def started(self, *, teams: int = 2) -> MatchInfo:
        """A match that this server has been told of."""
        match = self.platform.new_match(teams=teams)
        assert self.tell(self.platform.webhook(match.match_id)) == 200
        return match

    def launch(self, match: MatchInfo, number: int) -> str:
        """A player follows the launch URL; the address that it leads to."""
        token = self.platform.match_token(match.match_id, match.participants[number].id)
        answer = self.http.get("/play", params={"token": token}, headers={"accept": "text/html"})
        assert answer.status_code == 200, answer.text
        return answer.url.path

    def begin(self, match: MatchInfo, number: int) -> str:
        """A player comes and starts the clock; the address of the seat."""
        seat = self.launch(match, number)
        assert self.http.post(f"{seat}/begin").status_code == 200
        return seat

    def play(self, match: MatchInfo, number: int, *, mistakes: int = 0) -> int:
        """A player plays to the end; the score that the page shows."""
        return self.finish(self.begin(match, number), mistakes=mistakes)

    def finish(self, seat: str, *, mistakes: int = 0) -> int:
        """A player who has begun answers; the score that the page shows."""
        asked = self.http.get(f"{seat}/state").json()["sums"]
        answers = {f"sum-{i}": str(a + b + (i < mistakes)) for i, (a, b) in enumerate(asked)}
        assert self.http.post(f"{seat}/answer", data=answers).status_code == 200
        score: int = self.http.get(f"{seat}/state").json()["score"]
        return score


@pytest.fixture(scope="session")
def platform() -> Iterator[StandIn]:
    """One for all tests: each has matches of its own."""
    with StandIn(mode="__MODE__") as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def serve(platform: StandIn, clock: Clock, tmp_path: Path) -> Serve:
    """Starts the server; again, it is the same server after a restart."""

    @contextmanager
    def serving() -> Iterator[House]:
        app = create_app(platform.config, tmp_path / "game.db", clock)
        server = uvicorn.Server(uvicorn.Config(app, port=0, access_log=False, log_config=None))
        thread = Thread(target=server.run)
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            port = server.servers[0].sockets[0].getsockname()[1]
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", follow_redirects=True, trust_env=False) as http:
                yield House(http, platform)
        finally:
            server.should_exit = True
            thread.join()

    return serving


@pytest.fixture
def house(serve: Serve) -> Iterator[House]:
    with serve() as running:
        yield running

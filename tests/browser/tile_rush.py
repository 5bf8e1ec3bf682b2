"""Tile Rush as its players have it: the game server as a process beside a real platform, and pages in Chromium."""

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
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, Request, Response, expect, sync_playwright

from tests.harness import GameConfig, PlayerClient, Server, free_port, paid_match
from tests.sdk.browser import executable

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 60


@dataclass
class GameServer:
    """One process of the game, registered at `platform`. `kill` is SIGKILL."""

    platform: Server
    folder: Path
    run_seconds: int
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    game_id: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OKLP_")}
        return {**kept, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "games" / "tile_rush")])}

    def register(self) -> None:
        body = {
            "name": f"Tile Rush {self.port}",
            "webhook_url": f"{self.url}/oklp/match",
            "launch_urls": {"browser": f"{self.url}/play?token={{match-token}}"},
            "settings": {"mode": "async"},
        }
        answer = self.platform.studio.post("/games", json=body)
        assert answer.status_code == 201, answer.text
        config = GameConfig(answer.json()["developer_config"])
        self.game_id = config.client_id
        (self.folder / "developer-config.json").write_text(json.dumps(config.config), encoding="utf-8")

    def start(self) -> None:
        options = {
            "--config": self.folder / "developer-config.json",
            "--data": self.folder / "tile-rush.db",
            "--port": self.port,
            "--run-seconds": self.run_seconds,
            "--back-url": f"{self.platform.url}/docs?match={{match_id}}",
        }
        arguments = [str(part) for pair in options.items() for part in pair]
        with (self.folder / "game.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tile_rush", *arguments], env=self.env, stdout=log, stderr=log
            )
        until = time.monotonic() + READY_SECONDS
        while not self._is_ready():
            assert self.process.poll() is None, (self.folder / "game.log").read_text()
            assert time.monotonic() < until, "the game server is not ready"
            time.sleep(0.03)

    def _is_ready(self) -> bool:
        probe = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(probe):
            probe.request("GET", "/healthz")
            return probe.getresponse().status == 200
        return False

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)

    def bot(self, launch_url: str, *options: str) -> subprocess.Popen[str]:
        """The game's own bot, at the start of its run."""
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "tile_rush.bot", launch_url, *options],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@contextlib.contextmanager
def playing(platform: Server, folder: Path, run_seconds: int) -> Iterator[GameServer]:
    folder.mkdir(parents=True, exist_ok=True)
    game = GameServer(platform, folder, run_seconds)
    game.register()
    game.start()
    try:
        yield game
    finally:
        game.stop()


def live_match(game: GameServer) -> tuple[PlayerClient, PlayerClient, str]:
    one, two = PlayerClient(game.platform.url), PlayerClient(game.platform.url)
    match_id = paid_match(one, two, game.game_id)
    one.await_status(match_id, "live")
    return one, two, match_id


def launch_url(player: PlayerClient, match_id: str) -> str:
    return str(player.act(match_id, "launch", {"platform": "browser"})["launch_url"])


# --- a person --------------------------------------------------------------------------------------------------------

BEST = re.compile(r"(\d+) together|clears (\d+)")


class Person:
    """Somebody at a page. `faults` are what the browser's console, and the network, had to complain about."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.faults: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda said: self.faults.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("requestfailed", self._on_failed)
        page.on("response", self._on_response)
        page.on("request", lambda request: self.asked.append(request.url))

    def _on_failed(self, request: Request) -> None:
        self.faults.append(f"{request.url}: {request.failure}")

    def _on_response(self, response: Response) -> None:
        if response.status >= 400:
            self.faults.append(f"{response.url}: {response.status}")

    def start(self) -> None:
        """Press Start, and wait until the clock runs."""
        self.page.get_by_role("button", name="Start").click()
        self.await_clock()

    def await_clock(self) -> None:
        expect(self.page.locator(".cells.on")).to_be_visible(timeout=10_000)

    def best(self) -> tuple[int, int]:
        """The number of the button to press for the largest group, and how many tiles it has."""
        labels: list[str] = self.page.locator(".cell").evaluate_all("cells => cells.map((cell) => cell.ariaLabel)")
        sizes = [int(found[1] or found[2]) if (found := BEST.search(label)) else 0 for label in labels]
        size = max(sizes)
        return sizes.index(size), size

    def tap_best(self, times: int) -> None:
        """Tap the largest group, so often; each time the score has to rise."""
        for _ in range(times):
            before = self.score()
            self.page.locator(".cell").nth(self.best()[0]).click()
            expect(self.page.locator('[data-id="score"]')).not_to_have_text(f"{before:,}")

    def score(self) -> int:
        return int(self.page.locator('[data-id="score"]').inner_text().replace(",", ""))

    def await_outcome(self, seconds: float) -> int:
        """The score that is shown at the end."""
        expect(self.page.locator('[data-id="outcome-score"]')).to_have_text(
            re.compile(r"^[\d,]+$"), timeout=1000 * seconds
        )
        return int(self.page.locator('[data-id="outcome-score"]').inner_text().replace(",", ""))


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def person(browser: Browser, **options: Any) -> Iterator[Person]:
    """Nothing may have gone wrong by the end, but for what the test took out of `faults`."""
    context = browser.new_context(**options)
    try:
        somebody = Person(context.new_page())
        yield somebody
        assert somebody.faults == [], somebody.faults
    finally:
        context.close()

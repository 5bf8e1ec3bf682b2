"""Reversi's hall in this process: a disk that is full for a moment, and boards on which nothing happens."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType

import pytest
from starlette.types import Message
from starlette.websockets import WebSocket

from games.reversi.reversi import hall as hall_module
from games.reversi.reversi import sockets
from games.reversi.reversi.hall import Hall, Window
from games.reversi.reversi.integration import Platform, Verdict
from games.reversi.reversi.matches import Match
from games.reversi.reversi.rules import BLACK, SEATS
from games.reversi.reversi.server import PAGES
from games.reversi.reversi.store import Store
from oklp.sdk import MatchAborted, MatchStarted
from tests.games.test_reversi_rules import INFO, MATCH_ID, PACE

PATIENCE_SECONDS = 10.0


class Disk(Store):
    """Takes no match while it is `full`."""

    full = False

    def save(self, match: Match) -> None:
        if self.full:
            raise sqlite3.OperationalError("database or disk is full")
        super().save(match)

    @property
    def kept(self) -> Match:
        match = self.get(MATCH_ID)
        assert match is not None
        return match


class SomePlatform(Platform):
    """Knows everybody, and accepts whatever is reported; `on_report` is called before it says so."""

    def __init__(self) -> None:
        self.reported: list[str] = []
        self.on_report: Callable[[], None] = lambda: None

    async def __aenter__(self) -> SomePlatform:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """There is nothing to close."""

    async def name_of(self, user_id: str) -> str:
        return f"name of {user_id}"

    async def report(self, match: Match) -> Verdict:
        self.reported.append(match.match_id)
        self.on_report()
        return "accepted"


class Room:
    """A hall, and what is around it. `now` is its clock."""

    def __init__(self, folder: Path) -> None:
        self.now = 1_800_000_000_000
        self.disk = Disk(folder / "reversi.db")
        self.platform = SomePlatform()
        self.hall = Hall(self.disk, self.platform, PACE, lambda: self.now)

    async def begin(self) -> tuple[Match, list[Window]]:
        """A match with both players at the board, who know each other."""
        await self.hall.started(MatchStarted(INFO, None, duplicate=False))
        match = self.hall.find(MATCH_ID)
        assert match is not None
        windows = [self.hall.enter(match, seat) for seat in SEATS]
        await until(lambda: all(self.disk.kept.names))
        assert match.phase == "playing"
        return match, windows


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.005)


def visit(folder: Path, what: Callable[[Room], Awaitable[None]]) -> None:
    async def run() -> None:
        room = Room(folder)
        async with room.hall:
            await what(room)

    asyncio.run(run())


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TICK_SECONDS", "KEEP_AGAIN_SECONDS"):
        monkeypatch.setattr(hall_module, name, 0.01)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("ending", ["flag", "resigned"])
def test_a_result_outlives_a_disk_that_is_full_for_a_moment(ending: str, tmp_path: Path) -> None:
    """A match that is over has no clock that runs, and nobody moves in it: nothing would write it once more."""

    async def play(room: Room) -> None:
        match, windows = await room.begin()
        room.disk.full = True
        if ending == "flag":
            room.now += 1_000 * PACE.base_seconds
        else:
            with pytest.raises(sqlite3.Error):
                room.hall.resign(match, BLACK)
        await until(lambda: match.phase == "over")
        assert (room.disk.kept.phase, room.platform.reported) == ("playing", [])
        for window in windows:
            window.changed.clear()
        room.disk.full = False
        await until(lambda: room.disk.kept.phase == "reported")
        assert all(window.changed.is_set() for window in windows), "both players are shown that it is over"
        assert room.platform.reported == [MATCH_ID]
        assert (room.disk.kept.ending, room.disk.kept.answer) == (ending, "accepted")

    visit(tmp_path, play)


@pytest.mark.usefixtures("quick")
def test_what_the_platform_said_of_a_result_is_kept_when_there_is_room_again(tmp_path: Path) -> None:
    async def play(room: Room) -> None:
        match, windows = await room.begin()
        room.platform.on_report = lambda: setattr(room.disk, "full", True)
        room.hall.resign(match, BLACK)
        await until(lambda: match.answer == "accepted")
        assert room.disk.kept.phase == "over"
        for window in windows:
            window.changed.clear()
        room.disk.full = False
        await until(lambda: room.disk.kept.phase == "reported")
        assert all(window.changed.is_set() for window in windows)
        assert room.platform.reported == [MATCH_ID]

    visit(tmp_path, play)


def test_a_match_is_called_off_when_that_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The platform says it again until it is answered, and a restart must not bring the match back after that."""
    monkeypatch.setattr(hall_module, "KEEP_AGAIN_SECONDS", 3_600.0)

    async def play(room: Room) -> None:
        await room.begin()
        room.disk.full = True
        for _ in range(2):
            with pytest.raises(sqlite3.Error):
                await room.hall.aborted(MatchAborted(INFO, None, duplicate=False))
        room.disk.full = False
        await room.hall.aborted(MatchAborted(INFO, None, duplicate=False))
        assert room.disk.kept.phase == "aborted"

    visit(tmp_path, play)


def test_a_quiet_board_is_shown_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page hears of no pings, so without it a dead connection looks like an opponent who thinks."""
    page_waits_ms = re.search(r"SILENCE_MS = ([\d_]+);", (PAGES / "static" / "board.js").read_text(encoding="utf-8"))
    assert page_waits_ms is not None
    assert int(page_waits_ms[1]) > 2_000 * sockets.STATE_EVERY_SECONDS
    monkeypatch.setattr(sockets, "STATE_EVERY_SECONDS", 0.01)

    async def play(room: Room) -> None:
        match, _ = await room.begin()
        heard: asyncio.Queue[Message] = asyncio.Queue()
        serving = asyncio.create_task(sockets.serve(socket_into(heard), room.hall, match, BLACK))
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert (await heard.get())["type"] == "websocket.accept"
            states = [json.loads((await heard.get())["text"]) for _ in range(5)]
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        assert {state["type"] for state in states} == {"state"}
        assert states[-1] == states[0]

    visit(tmp_path, play)


def socket_into(heard: asyncio.Queue[Message]) -> WebSocket:
    """Of a player who opens the board and says nothing."""
    said: list[Message] = [{"type": "websocket.connect"}]

    async def receive() -> Message:
        if not said:
            await asyncio.Event().wait()
        return said.pop()

    return WebSocket({"type": "websocket"}, receive, heard.put)

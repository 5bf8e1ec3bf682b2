"""One player's WebSocket: the board as it stands goes out, moves come in. What it says is in the README.

It is for who has the session of a seat, a cookie that the launch set; no token is in its address, where logs and
histories would keep it. A browser sends cookies wherever a page asks it to, so the page's origin is checked too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from typing import Any, Final

from starlette.websockets import WebSocket, WebSocketDisconnect

from .hall import Hall, Window
from .matches import Match, NotPlayableError
from .rules import Seat

log = logging.getLogger("reversi")

LARGEST_MESSAGE: Final = 512
# A whole match is 60 moves, so nobody who only plays is ever sent away.
MESSAGES_AT_ONCE: Final = 64
MESSAGES_PER_SECOND: Final = 5
SEND_SECONDS: Final = 10.0
# Scripts never hear of pings, so this is how a page can tell a quiet connection from a dead one (`board.js`).
STATE_EVERY_SECONDS: Final = 10.0

# RFC 6455 §7.4.1, and one of ours from the range that is left to applications (§7.4.2).
NORMAL, GOING_AWAY, POLICY, TOO_LARGE, RESTART = 1000, 1001, 1008, 1009, 1012
OUSTED: Final = 4001


class _Over(Exception):
    """The connection is to be closed with this code."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class _Allowance:
    """So many messages at once, and so many a second from then on."""

    def __init__(self) -> None:
        self._left = float(MESSAGES_AT_ONCE)
        self._at = time.monotonic()

    def take(self) -> bool:
        now = time.monotonic()
        self._left = min(MESSAGES_AT_ONCE, self._left + (now - self._at) * MESSAGES_PER_SECOND)
        self._at = now
        self._left -= 1
        return self._left >= 0


async def serve(socket: WebSocket, hall: Hall, match: Match, seat: Seat) -> None:
    """Accept the socket of a seated player and serve it to its end."""
    await socket.accept()
    window = hall.enter(match, seat)
    tasks = [asyncio.create_task(_show(socket, hall, match, seat, window))]
    tasks.append(asyncio.create_task(_listen(socket, hall, match, seat)))
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            await task
    except _Over as over:
        # It may have been faster.
        with contextlib.suppress(WebSocketDisconnect):
            await socket.close(over.code, over.reason)
    except (WebSocketDisconnect, TimeoutError):
        """Gone, or as good as gone."""
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        hall.leave(match, seat, window)


async def _show(socket: WebSocket, hall: Hall, match: Match, seat: Seat, window: Window) -> None:
    """Send the state now, after each change, and when nothing has changed for a while. Who reads slowly gets the
    latest, never a queue of old ones.
    """
    while True:
        # Not `wait_for`, which in Python 3.11 loses a cancellation that comes together with the event.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STATE_EVERY_SECONDS):
                await window.changed.wait()
        window.changed.clear()
        if hall.closing:
            raise _Over(RESTART)
        if window.ousted:
            raise _Over(OUSTED, "The board is open in too many other windows.")
        await _send(socket, hall.view(match, seat))
        if match.phase in ("reported", "aborted") or (match.level is not None and match.phase == "over"):
            raise _Over(NORMAL)


async def _send(socket: WebSocket, message: dict[str, Any]) -> None:
    async with asyncio.timeout(SEND_SECONDS):
        await socket.send_text(json.dumps(message, separators=(",", ":")))


async def _listen(socket: WebSocket, hall: Hall, match: Match, seat: Seat) -> None:
    allowance = _Allowance()
    while True:
        message = await socket.receive()
        if message["type"] != "websocket.receive":
            raise WebSocketDisconnect(message.get("code", GOING_AWAY))
        if not allowance.take():
            raise _Over(POLICY, "Too many messages.")
        text = message.get("text")
        if text is None:
            raise _Over(POLICY, "Send text.")
        if len(text) > LARGEST_MESSAGE:
            raise _Over(TOO_LARGE, "The message is too large.")
        try:
            _obey(hall, match, seat, text)
        except NotPlayableError as refusal:
            await _send(socket, {"type": "refused", "detail": str(refusal)})


def _obey(hall: Hall, match: Match, seat: Seat, text: str) -> None:
    """Do what a message asks for. Whose move it is follows from the session alone. Raises NotPlayableError."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        message = None
    match message:
        case {"type": "move", "number": int(number), "square": str(square)} if not isinstance(number, bool):
            hall.move(match, seat, number, square)
        case {"type": "resign"}:
            hall.resign(match, seat)
        case _:
            raise NotPlayableError("That is no message of this game.")

"""One reader of the event log for all of a process's server-sent event streams."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Self

from starlette.responses import StreamingResponse

from oklp.errors import Unauthenticated, Unavailable
from oklp.services import auth, live
from oklp.services.auth import SessionQuestion
from oklp.services.live import Event, Position
from oklp.settings import Settings
from oklp.storage.engine import Database

if TYPE_CHECKING:
    from oklp.web.context import Context

log = logging.getLogger(__name__)

# After a wake an event may still be above the horizon, held up by an older transaction: look again shortly.
LOOK_AGAIN_SECONDS = (0.02, 0.1, 0.4, 0.8)
IDLE_SECONDS = 2.0
HEARTBEAT_SECONDS = 15.0


class Hub:
    """Wakes the streams of those players whom something new concerns; each then reads its own events."""

    def __init__(self, db: Database, settings: Settings) -> None:
        self._db = db
        self._settings = settings
        self._streams: dict[str, set[Stream]] = {}
        self._woken = asyncio.Event()
        self._followed = asyncio.Event()  # there is a stream, or was one a moment ago
        self.closing = asyncio.Event()

    def wake(self) -> None:
        self._woken.set()

    def close(self) -> None:
        """End every stream: the server is shutting down, and clients resume elsewhere."""
        self.closing.set()
        for streams in self._streams.values():
            for stream in streams:
                stream.woken.set()

    def subscribe(self, user_id: str) -> Stream:
        return Stream(self, user_id)

    async def run(self) -> None:
        """Follow the log until cancelled. While nobody listens, it is not read."""
        while True:
            await self._followed.wait()
            position = await self._first()
            # What came before this position, the streams that are there by now find by themselves.
            for streams in self._streams.values():
                for stream in streams:
                    stream.woken.set()
            while self._streams:
                self._woken.clear()
                position = await self._look(position)
                for pause in LOOK_AGAIN_SECONDS:
                    if self._streams and not self._woken.is_set():
                        await self._sleep(pause)
                        position = await self._look(position)
                await self._sleep(IDLE_SECONDS)
            self._followed.clear()

    async def _first(self) -> Position:
        while True:
            try:
                return await self._db.read(live.here)
            except Exception as error:  # this is the one that follows: it must not end
                log.warning("the event log cannot be read: %r", error)
                await asyncio.sleep(1)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            pass

    async def _look(self, position: Position) -> Position:
        try:
            while True:
                heard = await self._db.read(live.heard, position)
                for _, users in heard.audiences:
                    for user_id in users:
                        for stream in self._streams.get(user_id, ()):
                            stream.woken.set()
                position = heard.position
                if len(heard.audiences) < live.PAGE:
                    return position
        except Exception as error:
            log.warning("the event log cannot be read: %r", error)
            return position


class Stream:
    """One player's events from a position on. Used as a context manager, so that it is always unsubscribed."""

    def __init__(self, hub: Hub, user_id: str) -> None:
        self._hub = hub
        self.user_id = user_id
        self.woken = asyncio.Event()

    def __enter__(self) -> Self:
        self._hub._streams.setdefault(self.user_id, set()).add(self)
        self._hub._followed.set()
        return self

    def __exit__(self, *_: object) -> None:
        streams = self._hub._streams.get(self.user_id, set())
        streams.discard(self)
        if not streams:
            self._hub._streams.pop(self.user_id, None)

    async def events(self, position: Position) -> AsyncIterator[list[Event]]:
        """Batches of events as they come; an empty one is a heartbeat. Ends when the hub closes."""
        while not self._hub.closing.is_set():
            self.woken.clear()
            try:
                events = await self._hub._db.read(live.since, self._hub._settings, self.user_id, position)
            except Unavailable:
                # The database is away. The stream is held open: browsers come back after a cut, not after a refusal.
                await self._pause()
                continue
            if events:
                position = events[-1].position
                yield events
                if len(events) >= live.PAGE:
                    continue
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await self.woken.wait()
            except TimeoutError:
                yield []

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(1):
                await self._hub.closing.wait()
        except TimeoutError:
            pass


# --- over HTTP -------------------------------------------------------------------------------------------------------


async def event_stream(here: Context, user_id: str, session_hash: str, start: Position | None) -> StreamingResponse:
    """A player's events as server-sent events, from `start` or from now on, until the session ends."""
    position = start if start is not None else await here.db.read(live.here)

    async def stream() -> AsyncIterator[str]:
        # An id of its own, so that a client that is cut off before the first event resumes from here too.
        yield f"retry: 1000\nid: {position}\n\n"
        with here.hub.subscribe(user_id) as subscription:
            async for batch in subscription.events(position):
                # Before each batch, or a stream that always has something to say would outlive its session.
                if not await session_holds(here, session_hash):
                    return
                yield "".join(map(_render, batch)) or ": still here\n\n"

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(stream(), headers=headers, media_type="text/event-stream")


def _render(event: Event) -> str:
    return f"id: {event.position}\nevent: {event.event}\ndata: {event.data}\n\n"


async def session_holds(here: Context, session_hash: str) -> bool:
    """A session that was ended elsewhere ends its streams as well."""
    try:
        await here.db.read_set(auth.sessions, SessionQuestion(session_hash, here.clock()))
    except Unauthenticated:
        return False
    except Unavailable:  # nobody can tell just now
        return True
    return True

"""A stream of events and the database behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from oklp.errors import InvariantBroken, Unavailable
from oklp.services import live
from oklp.services.live import Event, Position
from oklp.settings import Settings
from oklp.storage.engine import Database
from oklp.web.live import Hub

START = Position(1, 1)


class Moody:
    """A database that is away for the first reads of a stream."""

    def __init__(self, *failures: Exception) -> None:
        self._failures = list(failures)

    async def read(self, fn: Callable[..., Any], *_: object) -> object:
        if fn is not live.since:
            raise InvariantBroken("this hub is not run")
        if self._failures:
            raise self._failures.pop(0)
        return [Event(Position(2, 1), "wallet", "{}")]


async def _first(hub: Hub) -> list[Event] | None:
    with hub.subscribe("somebody") as stream:
        async for events in stream.events(START):
            return events
    return None


def test_a_stream_outlives_an_outage() -> None:
    """Browsers come back after a cut, and never after a refusal, which is what they would meet now."""

    async def follow() -> None:
        hub = Hub(cast(Database, Moody(Unavailable("away"), Unavailable("away"))), Settings())
        async with asyncio.timeout(30):
            found = await _first(hub)
        assert found is not None
        assert [event.event for event in found] == ["wallet"]

    asyncio.run(follow())


def test_a_server_that_stops_ends_its_streams_in_an_outage_too() -> None:
    async def follow() -> None:
        hub = Hub(cast(Database, Moody(*[Unavailable("away")] * 1_000)), Settings())
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            stream = group.create_task(_first(hub))
            await asyncio.sleep(0)
            hub.close()
        assert stream.result() is None

    asyncio.run(follow())

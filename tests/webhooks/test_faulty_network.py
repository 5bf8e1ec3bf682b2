"""Faults that are played around an exchange, where the exchange ends otherwise than anyone waits for."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from oklp.errors import Unavailable
from oklp.exchange import Exchange, Outgoing
from oklp.faults import FaultyNetwork
from oklp.services.faults import Stroke

OUTGOING = Outgoing("PUT", "http://127.0.0.1:9/oklp/match", {}, b"{}")
TAKEN = Exchange(status=200, headers={}, body="", error=None, duration_ms=1, complete=True, sent=True)


async def taken(outgoing: Outgoing) -> Exchange:
    return TAKEN


def test_a_late_webhook_that_cannot_be_sent_is_logged_when_nobody_waits_any_longer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As when the database, by way of which a listener is asked, is away by then."""
    unheard: list[dict[str, Any]] = []

    async def play() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: unheard.append(context))
        late = asyncio.Event()
        tried = asyncio.Event()

        async def way(outgoing: Outgoing) -> Exchange:
            await late.wait()
            tried.set()
            raise Unavailable("The database is away.")

        network = FaultyNetwork(taken, timeout_seconds=0.01)
        exchange = await network.send(Stroke("late_put", 0), OUTGOING, way)
        assert "timed out" in str(exchange.error)
        late.set()
        await tried.wait()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gc.collect()

    asyncio.run(play())
    assert unheard == []
    assert "The database is away." in caplog.text


def test_a_server_that_stops_does_not_wait_for_a_timeout_that_is_played() -> None:
    async def play() -> Exchange:
        network = FaultyNetwork(taken, timeout_seconds=3_600)
        attempt = asyncio.create_task(network.send(Stroke("put_timeout"), OUTGOING, taken))
        await asyncio.sleep(0)
        network.hold_nothing_up()
        return await asyncio.wait_for(attempt, 30)

    exchange = asyncio.run(play())
    assert exchange.error is not None
    assert "timed out after 3600 s" in exchange.error
    assert (exchange.complete, exchange.sent) == (False, True)

"""What nobody waits for goes on while the lane that writes is held, where there is another for it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from oklp.services.calls import CALL, CallBook, Noted
from oklp.storage import events
from oklp.worker import Worker
from tests.services.world import World, sync_result
from tests.storage.rig import LONG_SECONDS, Gate


@pytest.mark.parametrize("services_url", ["postgresql"], indirect=True)
def test_the_worker_keeps_house_and_records_while_the_write_lane_is_held(world: World) -> None:
    game = world.game()
    ada, bob = world.players(2, 1_000)
    match = world.live(game, [ada, bob])
    world.report(game, sync_result(match, [1, 2]))
    world.run(events.insert, [("wallet", None, ada.user_id, 1)])  # old enough to be swept
    world.await_horizon()
    book = CallBook(10)
    assert book.has_room(game)
    book.note(Noted(game, world.now, CALL, "GET", "/", 200, 1, "request"))
    book.ask("a-token", world.now)
    ring: Any = SimpleNamespace()
    worker = Worker(world.settings, world.db, world.vault, lambda: world.now, lambda: ring, dict, book)

    async def work() -> None:
        recorder = asyncio.create_task(worker._keep_records())
        await worker._write_calls()
        await worker._sweep()
        await worker._roll_up()
        while not await asyncio.to_thread(world.count, "standings"):
            pass
        recorder.cancel()

    held = Gate(world.db)
    try:
        # Its transaction holds up the horizon as well, and by it counting and rolling up.
        asyncio.run(asyncio.wait_for(work(), LONG_SECONDS))
    finally:
        held.open()
    assert world.count("calls", "reference = 'request'") == 1
    assert not world.count("events", "at = 1")

"""What the tools do on the command line: a session, the work, what is shown; the status to exit with."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import Coroutine, Sequence
from typing import Any

from rich.console import Console

from oklp import contract
from oklp.tools import deliveries, logs, show
from oklp.tools.deliveries import Filter
from oklp.tools.listen import Listener, Options
from oklp.tools.screen import JsonLines, Lines
from oklp.tools.screen import show as say
from oklp.tools.studio import StudioMember, connected, the_game

DONE, FAILED = 0, 1
WAIT_SECONDS = 130.0  # longer than the longest time-out of a webhook


async def until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """Until it ends by itself, or somebody ends it: Ctrl-C and SIGTERM are good ends."""
    task = asyncio.create_task(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def listen(
    url: str, game_id: str, forward_to: str, event: str | None, verify_tls: bool, as_json: bool, out: Console,
    err: Console,
) -> None:  # fmt: skip
    screen = JsonLines(out, err) if as_json else Lines(out, err)
    async with connected(url) as studio:
        game_id = await the_game(studio, game_id)
        options = Options(game_id=game_id, forward_to=forward_to, event=event, verify_tls=verify_tls)
        await until_stopped(Listener(studio, options, screen).run())


async def trigger(
    url: str, game_id: str, event: str, overrides: Sequence[str], wait: bool, as_json: bool, out: Console
) -> int:
    wanted = deliveries.test_event(event, overrides)
    async with connected(url) as studio:
        sent = await deliveries.trigger(studio, await the_game(studio, game_id), wanted)
        return await _ended(studio, sent, wait, as_json, out)


async def resend(url: str, delivery_id: str, wait: bool, as_json: bool, out: Console) -> int:
    async with connected(url) as studio:
        return await _ended(studio, await deliveries.resend(studio, delivery_id), wait, as_json, out)


async def _ended(studio: StudioMember, sent: contract.Delivery, wait: bool, as_json: bool, out: Console) -> int:
    found = await deliveries.outcome(studio, sent.delivery_id, WAIT_SECONDS if wait else 0)
    if as_json:
        _write(out, found.model_dump(mode="json"))
        delivered = found.state == "delivered"
    else:
        delivered = show.outcome(out, found)
    return DONE if delivered or not wait else FAILED


async def listed(url: str, game_id: str, chosen: Filter, limit: int, as_json: bool, out: Console) -> None:
    async with connected(url) as studio:
        found = await deliveries.newest(studio, await the_game(studio, game_id), chosen, limit)
    if as_json:
        for each in found:
            _write(out, each.model_dump(mode="json"))
    elif found:
        show.whole(out, show.table(found))
    else:
        say(out, "No deliveries.")


async def shown(url: str, delivery_id: str, as_json: bool, out: Console) -> None:
    async with connected(url) as studio:
        found = await deliveries.detail(studio, delivery_id)
    if as_json:
        _write(out, found.model_dump(mode="json"))
    else:
        show.detail(out, found)


async def tail(
    url: str, game_id: str, lines: int, follow: bool, failed: bool, as_json: bool, out: Console, err: Console
) -> None:
    def shown(call: contract.ApiCall) -> None:
        if as_json:
            _write(out, call.model_dump(mode="json"))
            out.file.flush()
        else:
            logs.line(out, call)

    async def following() -> None:
        calls = logs.tail(studio, game_id, lines, lambda text: say(err, (f"… {text}", "dim")))
        async with contextlib.aclosing(calls):
            async for call in calls:
                if not failed or logs.has_failed(call):
                    shown(call)

    async with connected(url) as studio:
        game_id = await the_game(studio, game_id)
        if follow:
            await until_stopped(following())
        else:
            for call in await logs.last(studio, game_id, max(lines, 1), failed):
                shown(call)


def _write(out: Console, value: Any) -> None:
    """One JSON object a line."""
    out.file.write(json.dumps(value) + "\n")

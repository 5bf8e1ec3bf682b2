"""Trying again what the database refuses because it is away or has too much to do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from oklp.errors import TooManyRequests, Unavailable

T = TypeVar("T")

PAUSES_SECONDS = (0.1, 0.5, 2.0)  # and the last of them from then on


async def while_away(work: Callable[[], Awaitable[T]], seconds: float) -> T:
    """What `work` gives; where it is refused for a while only (429, 503) it is tried again, for so many seconds.

    It is tried once at the least. Raises what it was last refused with.
    """
    now = asyncio.get_running_loop().time
    until, tries = now() + seconds, 0
    while True:
        try:
            return await work()
        except (TooManyRequests, Unavailable):
            pause = PAUSES_SECONDS[min(tries, len(PAUSES_SECONDS) - 1)]
            if now() + pause > until:
                raise
        tries += 1
        await asyncio.sleep(pause)

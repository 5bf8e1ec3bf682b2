"""Waking streams of events when there may be something new for them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Ear:
    """Of one stream: set by the bell, and for good once it is closed."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._woken = asyncio.Event()

    def ring(self) -> None:
        self._woken.set()

    @property
    def closing(self) -> bool:
        return self._bell.closing

    def forget(self) -> None:
        """Before looking: what rings from now on may be missed by the look."""
        self._woken.clear()

    async def wait(self, seconds: float) -> bool:
        """False when nothing rang in this time."""
        if self.closing:
            return True
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
                return True
        return False


class Bell:
    """Rung from the event loop. Closing ends every stream: the server is shutting down, and clients go elsewhere."""

    def __init__(self) -> None:
        self._ears: set[Ear] = set()
        self.closing = False

    def ring(self) -> None:
        for ear in self._ears:
            ear.ring()

    def close(self) -> None:
        self.closing = True
        self.ring()

    @contextmanager
    def ear(self) -> Iterator[Ear]:
        ear = Ear(self)
        self._ears.add(ear)
        try:
            yield ear
        finally:
            self._ears.discard(ear)

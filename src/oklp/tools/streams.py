"""Following a stream of server-sent events for as long as it takes: cuts are survived, refusals are not."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Final

import httpx

from oklp.tools.events import EventReader, ServerEvent
from oklp.tools.studio import StudioMember

# The server is heard of at least every few seconds; a connection that is silent for longer is dead.
SILENCE_SECONDS: Final = 20.0
NOT_UNDERSTOOD: Final = "The platform sends something else than this version of oklp understands."
PAUSES_SECONDS: Final = (0.0, 0.1, 0.3, 1.0, 2.0, 5.0)

Notice = Callable[[str], None]


async def follow(
    studio: StudioMember, path: str, params: Callable[[bool], Mapping[str, Any]], notice: Notice
) -> AsyncGenerator[ServerEvent, None]:
    """Events of one stream after the other, until the platform refuses one (ToolError) or the caller has had enough.

    `params` makes a request's from whether it is a later one, which has the last event's id as well. `notice`
    is told in words of cuts and of what came after; a platform that does not answer at first is a ToolError.
    """
    last_id: str | None = None
    accept = {"accept": "text/event-stream", "cache-control": "no-store"}
    again = cut = False
    tries = 0
    while True:
        reader = EventReader()
        try:
            async with studio.http.stream(
                "GET",
                studio.base + path,
                params=params(again),
                headers={**studio.headers, **accept, **({} if last_id is None else {"last-event-id": last_id})},
                timeout=httpx.Timeout(SILENCE_SECONDS, connect=SILENCE_SECONDS / 2),
            ) as answer:
                if answer.status_code >= 500:
                    raise httpx.RemoteProtocolError(f"answered {answer.status_code}")
                if not answer.is_success:
                    await answer.aread()
                    studio.check(answer)
                if cut:
                    notice("connected again")
                again, cut, tries = True, False, 0
                async for part in answer.aiter_bytes():
                    for event in reader.feed(part):
                        last_id = event.id or last_id
                        yield event
            reason = "the stream ended"
        except httpx.HTTPError as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            if not again:
                raise studio.fault(f"{studio.url} does not answer: {reason}") from error
        if not cut:
            notice(f"the connection was cut ({reason}); connecting again")
        cut = True
        pause = PAUSES_SECONDS[min(tries, len(PAUSES_SECONDS) - 1)]
        tries += 1
        await asyncio.sleep(pause * random.uniform(0.7, 1.3))

"""What a game was told: `oklp deliveries` and `oklp trigger`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from oklp import contract
from oklp.tools.login import ToolError
from oklp.tools.studio import StudioMember, segment

POLL_SECONDS: Final = 0.1
PAGE: Final = 100
OVER: Final = frozenset({"delivered", "failed"})


class Filter(NamedTuple):
    """None: whatever it is."""

    state: contract.DeliveryState | None = None
    event: contract.DeliveryEvent | None = None
    match_id: str | None = None


async def newest(studio: StudioMember, game_id: str, chosen: Filter, limit: int) -> list[contract.Delivery]:
    """So many at the most, newest first."""
    found: list[contract.Delivery] = []
    cursor: str | None = None
    given = {name: value for name, value in chosen._asdict().items() if value is not None}
    while len(found) < limit:
        params: dict[str, Any] = {**given, "limit": min(limit - len(found), PAGE)}
        if cursor is not None:
            params["cursor"] = cursor
        page = await studio.call("GET", f"/games/{segment(game_id)}/deliveries", contract.DeliveryPage, params=params)
        found += page.deliveries
        cursor = page.next_cursor
        if cursor is None:
            break
    return found


async def detail(studio: StudioMember, delivery_id: str) -> contract.DeliveryDetail:
    return await studio.call("GET", f"/deliveries/{segment(delivery_id)}", contract.DeliveryDetail)


async def resend(studio: StudioMember, delivery_id: str) -> contract.Delivery:
    """Once more; that never changes a match."""
    return await studio.call("POST", f"/deliveries/{segment(delivery_id)}/resend", contract.Delivery)


async def outcome(studio: StudioMember, delivery_id: str, seconds: float) -> contract.DeliveryDetail:
    """The delivery once it is over, or as it is when the time is out."""
    until = time.monotonic() + seconds
    while True:
        found = await detail(studio, delivery_id)
        if found.state in OVER or time.monotonic() >= until:
            return found
        await asyncio.sleep(POLL_SECONDS)


# --- test events -----------------------------------------------------------------------------------------------------


def test_event(event: str, overrides: Sequence[str]) -> contract.TestEvent:
    """From `participants=4` and the like. Raises ToolError that names what is at fault."""
    fields = [name for name in contract.TestEvent.model_fields if name != "event"]
    given: dict[str, Any] = {"event": event}
    for override in overrides:
        name, equals, value = override.partition("=")
        if not equals or name not in fields:
            raise ToolError(f"--set {override}: give one of {', '.join(fields)} as name=value.")
        whole = value.isascii() and value.isdigit() and len(value) < 10
        given[name] = int(value) if whole and name != "match_id" else value
    try:
        return contract.TestEvent.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        what = first["msg"].removeprefix("Value error, ")
        raise ToolError(f"--set {where}: {what}" if where else f"--set: {what}") from error


async def trigger(studio: StudioMember, game_id: str, event: contract.TestEvent) -> contract.Delivery:
    """Have the platform send it. It is about a match that does not exist, and moves nothing."""
    body = event.model_dump(exclude_none=True)
    return await studio.call("POST", f"/games/{segment(game_id)}/test-event", contract.Delivery, body)

"""`oklp logs tail`: a game's calls of the API and the deliveries to it, as they happen."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from pydantic import ValidationError
from rich.console import Console
from rich.text import Text

from oklp import contract
from oklp.tools.login import ToolError
from oklp.tools.screen import duration, show, status_text
from oklp.tools.streams import NOT_UNDERSTOOD, Notice, follow
from oklp.tools.studio import StudioMember, segment


async def last(studio: StudioMember, game_id: str, lines: int, failed: bool) -> list[contract.ApiCall]:
    """So many of the newest, the oldest of them first."""
    params = {"limit": lines, "failed": str(failed).lower()}
    page = await studio.call("GET", f"/games/{segment(game_id)}/calls", contract.ApiCallPage, params=params)
    return page.calls[::-1]


async def tail(
    studio: StudioMember, game_id: str, lines: int, notice: Notice
) -> AsyncGenerator[contract.ApiCall, None]:
    """Each line once, whatever becomes of the connection."""

    def params(again: bool) -> Mapping[str, Any]:
        return {"lines": 0 if again else lines}

    events = follow(studio, f"/games/{segment(game_id)}/calls/events", params, notice)
    async with aclosing(events):
        async for event in events:
            if event.event == "call":
                try:
                    yield contract.ApiCall.model_validate_json(event.data)
                except ValidationError as error:
                    raise ToolError(NOT_UNDERSTOOD) from error


def has_failed(call: contract.ApiCall) -> bool:
    return call.kind != "left-out" and (call.status is None or call.status >= 400 or call.detail is not None)


def line(console: Console, call: contract.ApiCall) -> None:
    at = (f"{call.at.astimezone():%H:%M:%S.%f}"[:-3] + "  ", "dim")
    if call.kind == "left-out":
        show(console, at, (call.detail or "", "yellow"))
        return
    arrow = "<-" if call.kind == "call" else "->"  # seen from the platform: into it, out of it
    parts: list[str | Text | tuple[str, str]] = [
        at,
        f"{arrow} {call.method:<6} {call.path}  ",
        status_text(call.status),
    ]
    parts.append(f"  {duration(round(call.duration_ms))}")
    if call.code is not None or call.detail is not None:
        parts.append(("  " + ": ".join(filter(None, [call.code, call.detail])), "red"))
    parts.append((f"  {call.request_id or call.delivery_id or ''}", "dim"))
    show(console, *parts)

"""Faults of the sandbox, for one game of the studio's (docs/faults.md)."""

from __future__ import annotations

from oklp import contract
from oklp.tools.studio import StudioMember, connected, segment, the_game


async def inject(url: str, game: str, fault: contract.NewFault) -> contract.Fault:
    """Raises ToolError, with the platform's words when it refuses."""
    async with connected(url) as studio:
        path = await _path(studio, game)
        return await studio.call("POST", path, contract.Fault, fault.model_dump(exclude_none=True))


async def listed(url: str, game: str) -> contract.FaultList:
    """Oldest first. Raises ToolError."""
    async with connected(url) as studio:
        return await studio.call("GET", await _path(studio, game), contract.FaultList)


async def clear(url: str, game: str, fault_id: str | None) -> None:
    """One of them, or all. Raises ToolError."""
    async with connected(url) as studio:
        path = await _path(studio, game)
        if fault_id is not None:
            path += f"/{segment(fault_id)}"
        studio.check(await studio.send("DELETE", path))


async def _path(studio: StudioMember, game: str) -> str:
    return f"/games/{segment(await the_game(studio, game))}/faults"

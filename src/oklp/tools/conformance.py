"""Handing in what `oklp check` found, for a game's vetting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from oklp import contract
from oklp.tools.login import ToolError
from oklp.tools.studio import connected, segment


def read(file: Path, build: str = "") -> dict[str, Any]:
    """What `oklp check --json` wrote; `build` is the studio's name for what was checked. Raises ToolError."""
    try:
        report: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if build:
            report["game"]["build"] = build
    except OSError as error:
        raise ToolError(f"{file} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ToolError(f"{file} is not what oklp check --json writes.") from error
    return report


async def submit(url: str, game_id: str, report: dict[str, Any]) -> contract.ConformanceSummary:
    """Raises ToolError, with the platform's words when it refuses."""
    async with connected(url) as studio:
        path = f"/games/{segment(game_id)}/conformance-reports"
        return await studio.call("POST", path, contract.ConformanceSummary, report)

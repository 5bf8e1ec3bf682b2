"""The wire: what requests, answers and webhook bodies look like.

Shared by the server, the SDK and the checker. Sections (A3, B3, …) are those of the contract, `docs/contract.md`.
Numbers are strict: `300.0`, `"300"` and `true` are not 300. Unknown fields are tolerated, as the wire may grow,
but for a game's settings, where a slip of the pen would leave a default in force.

There is a room for each of those who speak, and every model is `contract.<Name>` from outside. A room is loaded when a
name is asked for that no room before it has: a game that reports results does not pay for the models of the console.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oklp.contract.accounts import *
    from oklp.contract.games import *
    from oklp.contract.operators import *
    from oklp.contract.players import *
    from oklp.contract.shared import *
    from oklp.contract.studios import *

# Each may import from those before it.
_ROOMS = ("shared", "games", "accounts", "players", "studios", "operators")


def __getattr__(name: str) -> Any:
    if not name.startswith("_"):
        for room in _ROOMS:
            value = getattr(import_module(f"{__name__}.{room}"), name, None)
            if value is not None:
                globals()[name] = value
                return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

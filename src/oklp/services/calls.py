"""The log of a game's traffic: its calls of the API, and the deliveries to it (decision 0010).

Noting a call costs next to nothing and waits for nothing: it goes into a buffer of the process, which the worker writes
down once a moment, in one transaction. The buffer takes so many a game and moment; of the rest only the number is kept.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from oklp import contract
from oklp.services import views
from oklp.services.live import Position
from oklp.storage import calls as store
from oklp.storage import games, matches
from oklp.storage.engine import Tx, horizon
from oklp.storage.tx import Row

PAGE = 200
GAMES_AT_ONCE = 8  # of a moment's whole budget, so many games may have their fill
CALL, DELIVERY, LEFT_OUT = "call", "delivery", "left-out"
LONGEST_PATH, LONGEST_DETAIL = 300, 500
# Of the tokens that games ask about so many are remembered, as many may wait, and so many are written down at once.
TOKENS_KNOWN, TOKENS_AT_ONCE = 10_000, 200


class Noted(NamedTuple):
    """One line. `body` is the beginning of a refusal's answer, read only when it is written down."""

    game_id: str
    at: int
    kind: str
    method: str
    path: str
    status: int | None
    duration_us: int
    reference: str  # the request's id, or the delivery's
    match_id: str | None = None
    detail: str | None = None
    body: bytes | None = None


class CallBook:
    """A process's calls that are not written down yet. Used on the event loop alone."""

    def __init__(self, limit: int) -> None:
        """`limit`: of a game's calls between two takings, so many are kept; 0: none."""
        self._limit = limit
        self._room = limit * GAMES_AT_ONCE
        self._noted: list[Noted] = []
        self._counts: dict[str, int] = {}
        self._known: set[str] = set()
        self._asked: dict[str, int] = {}

    def has_room(self, game_id: str) -> bool:
        """Count a call, and say whether it is to be noted."""
        if not self._limit:
            return False
        count = self._counts.get(game_id, 0)
        self._counts[game_id] = count + 1
        return count < self._limit and len(self._noted) < self._room

    def note(self, noted: Noted) -> None:
        self._noted.append(noted)

    def take(self) -> tuple[list[Noted], dict[str, int]]:
        """What was noted since the last time, and how many calls of which game were not."""
        noted, counts = self._noted, self._counts
        self._noted, self._counts = [], {}
        for each in noted:
            counts[each.game_id] -= 1
        return noted, {game_id: count for game_id, count in counts.items() if count > 0}

    def ask(self, token_hash: str, at: int) -> None:
        """A game was told what a token stands for. Only of the first time that this process knows of is it kept."""
        if token_hash in self._known:
            return
        if len(self._known) >= TOKENS_KNOWN:
            self._known.clear()
        self._known.add(token_hash)
        if len(self._asked) < TOKENS_KNOWN:
            self._asked.setdefault(token_hash, at)

    def take_asked(self) -> dict[str, int]:
        """Of the tokens that games have asked about the first few, with when."""
        taken = dict(itertools.islice(self._asked.items(), TOKENS_AT_ONCE))
        for token_hash in taken:
            del self._asked[token_hash]
        return taken


def keep_asked(tx: Tx, asked: Mapping[str, int]) -> None:
    matches.set_asked(tx, asked)


def keep(tx: Tx, noted: Sequence[Noted], left_out: dict[str, int], now: int) -> None:
    """Write a moment's calls down. Whose game does not exist (a token can claim anything) is dropped."""
    known = games.games_by_id(tx, [*{each.game_id for each in noted}, *left_out])
    rows = [_row(each) for each in noted if each.game_id in known]
    rows += [
        (now, game_id, LEFT_OUT, "", "", None, 0, "", None, None, f"{count} more calls of this moment were not kept")
        for game_id, count in left_out.items()
        if game_id in known
    ]
    store.insert(tx, rows)
    if rows:
        tx.notify("calls")


def _row(each: Noted) -> tuple[object, ...]:
    code, detail = _refusal(each.body) if each.body is not None else (None, each.detail)
    return (
        each.at,
        each.game_id,
        each.kind,
        each.method[:16],
        _fit(each.path, LONGEST_PATH),
        each.status,
        each.duration_us,
        each.reference,
        each.match_id,
        code,
        None if detail is None else _fit(detail, LONGEST_DETAIL),
    )


def _refusal(body: bytes) -> tuple[str | None, str | None]:
    """Code and detail of a problem (B1), or of an OAuth error (RFC 6749, section 5.2)."""
    try:
        said = json.loads(body)
        code = str(said.get("error") or said.get("type") or "").rpartition("/")[2].rpartition(":")[2]
        detail = str(said.get("error_description") or said.get("detail") or "")
    except (ValueError, AttributeError):
        return None, None
    return code[:64] or None, detail or None


def _fit(text: str, length: int) -> str:
    return "".join(c if c.isprintable() else "\ufffd" for c in text[:length])


# --- reading ---------------------------------------------------------------------------------------------------------


def page(
    tx: Tx, game_id: str, failed: bool, before: tuple[int, int] | None, limit: int
) -> tuple[list[contract.ApiCall], tuple[int, int] | None]:
    """Newest first, and the cursor of what follows."""
    rows = store.newest(tx, game_id, failed, before, limit + 1)
    more = (int(rows[limit - 1].tx_number), int(rows[limit - 1].id)) if len(rows) > limit else None
    return [_view(row) for row in rows[:limit]], more


def start(tx: Tx, game_id: str, lines: int) -> Position:
    """Where to read from, so that the last so many lines come first."""
    below = horizon(tx)
    rows = store.newest(tx, game_id, False, (below, 0), lines + 1)
    if len(rows) <= lines:
        return Position(0, 0)
    return Position(int(rows[-1].tx_number), int(rows[-1].id))


def since(tx: Tx, game_id: str, after: Position) -> list[tuple[Position, contract.ApiCall]]:
    """What was written down after a position, in order: nothing comes late below the horizon."""
    rows = store.since(tx, game_id, after.row, horizon(tx), PAGE)
    return [(Position(int(row.tx_number), int(row.id)), _view(row)) for row in rows]


def _view(row: Row) -> contract.ApiCall:
    return contract.ApiCall(
        id=f"{row.tx_number}-{row.id}",
        at=views.when(row.at),
        kind=row.kind,
        method=row.method,
        path=row.path,
        status=row.status,
        duration_ms=row.duration_us / 1_000,
        request_id=row.reference if row.kind == CALL else None,
        delivery_id=row.reference if row.kind == DELIVERY else None,
        match_id=row.match_id,
        code=row.code,
        detail=row.detail,
    )

"""Launching a match, and the token that the game asks about (contract sections A5 and A6)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from oklp import contract
from oklp.domain import matches as rules
from oklp.errors import Forbidden, NotFound, OklpError, WrongState, invalid
from oklp.services import matches
from oklp.services.matches import Caller
from oklp.services.views import lobby
from oklp.signing import hash_token
from oklp.storage import games
from oklp.storage import matches as store
from oklp.storage.engine import Tx

PLACEHOLDER = "{match-token}"


@dataclass(frozen=True, slots=True)
class LaunchJob:
    caller: Caller
    match_id: str
    platform: str
    token: str
    now: int


@dataclass(frozen=True, slots=True)
class TokenQuestion:
    """A game asks about a token, given by its hash: tokens are stored only so."""

    game_id: str
    token_hash: str
    now: int


def launch(tx: Tx, jobs: Sequence[LaunchJob]) -> list[contract.LaunchAnswer | OklpError]:
    """A fresh match-token for each player, in the game's launch URL. Set-based.

    Refusals: NotFound, WrongState unless the match is live, InvalidRequest when the game has no such platform.
    """
    rows = store.get(tx, [job.match_id for job in jobs])
    seats = store.seats(tx, rows) if rows else {}
    templates = {
        key: json.loads(row.launch_urls)
        for key, row in (games.games_by_id(tx, [row.game_id for row in rows.values()]) if rows else {}).items()
    }
    fresh: list[tuple[object, ...]] = []

    def decide(job: LaunchJob) -> contract.LaunchAnswer:
        row = rows.get(job.match_id)
        if row is None:
            raise NotFound(matches.NOT_FOUND)
        room = lobby(row, seats.get(row.id, []))
        if not matches.visible(row, room, job.caller.user_id):
            raise NotFound(matches.NOT_FOUND)
        seat = room.active_seat(job.caller.user_id)
        if seat is None or seat.state not in rules.TAKEN:
            raise NotFound("You are not in this match.")
        rules.permit(row.status, "launch")
        left_ms = row.results_due_at - job.now
        if left_ms <= 0:
            raise WrongState("The time for results is up.")
        template = templates[row.game_id].get(job.platform)
        if template is None:
            raise invalid("platform", f"this game does not run on {job.platform}")
        if PLACEHOLDER in template:
            fresh.append((hash_token(job.token), row.id, job.caller.user_id, row.game_id, job.now, row.results_due_at))
        url = template.replace(PLACEHOLDER, quote(job.token, safe=""))
        return contract.LaunchAnswer(launch_url=url, expires_in=max(left_ms // 1000, 1))

    outcomes: list[contract.LaunchAnswer | OklpError] = []
    for job in jobs:
        try:
            outcomes.append(decide(job))
        except OklpError as refusal:
            outcomes.append(refusal)
    store.insert_tokens(tx, fresh)
    return outcomes


def token_info(tx: Tx, jobs: Sequence[TokenQuestion]) -> list[contract.TokenInfo | OklpError]:
    """What a token stands for. Unknown, expired, revoked, another game's: one and the same NotFound. Set-based.

    Forbidden, whatever the token, for a game that is suspended and has nothing left to play.
    """
    rows = store.tokens(tx, [job.token_hash for job in jobs])
    # A token of a live match proves that its game has one; nobody else is looked up.
    live = {row.game_id for row in rows.values() if row.status == rules.LIVE}
    shut = matches.shut_games(tx, {job.game_id for job in jobs} - live)
    outcomes: list[contract.TokenInfo | OklpError] = []
    for job in jobs:
        row = rows.get(job.token_hash)
        if job.game_id in shut:
            outcomes.append(Forbidden(matches.GAME_SHUT))
            continue
        if row is None or row.game_id != job.game_id or row.expires_at <= job.now:
            outcomes.append(NotFound("There is no such match-token."))
            continue
        left = 0 if row.status in rules.OVER or row.reported is not None else 1
        outcomes.append(
            contract.TokenInfo.model_construct(
                match_id=row.match_id,
                user_id=row.user_id,
                match_status=rules.as_game_sees(row.status),
                submissions_total=1,
                submissions_left=left,
            )
        )
    return outcomes

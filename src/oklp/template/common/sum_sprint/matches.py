"""A match as this server knows it, and the result that is reported of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

from oklp.sdk import MatchInfo, TeamResult

# So long after a match went live a player may still begin. It is shorter than the platform's own patience.
ARRIVAL_MS: Final = 10 * 60_000


@dataclass(frozen=True, slots=True)
class Match:
    """Times are milliseconds since the epoch. `began` and `scores` are by user id."""

    info: MatchInfo
    secret: str
    live_at: int
    is_over: bool = False
    is_off: bool = False
    began: dict[str, int] = field(default_factory=dict)
    scores: dict[str, int] = field(default_factory=dict)

    @property
    def match_id(self) -> str:
        return self.info.match_id

    @property
    def users(self) -> list[str]:
        """In the order of their seats."""
        return [participant.id for participant in self.info.participants]

    @property
    def commitment(self) -> str:
        """Shown to everybody from the start: it tells nothing of the sums, and binds this server to them."""
        return hashlib.sha256(self.secret.encode()).hexdigest()

    def may_begin(self, now: int) -> bool:
        return not self.is_over and not self.is_off and now < self.live_at + ARRIVAL_MS


@dataclass(frozen=True, slots=True)
class Result:
    """One report to the platform."""

    scores: dict[str, int]
    teams: list[TeamResult] | None = None

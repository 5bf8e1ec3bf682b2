"""What is reported, and when: an asynchronous game reports each player's score as soon as there is one.

Who never plays is not reported: the platform counts that as a forfeit when its deadline has passed, and ranks the
others by their scores.
"""

from __future__ import annotations

from .matches import ARRIVAL_MS, Match, Result
from .rules import GRACE_MS, RUN_MS


def due(match: Match, now: int) -> list[Result]:
    """All results of a match that can be reported by now."""
    return [Result({user: score}) for user, score in match.scores.items()]


def is_over(match: Match, now: int) -> bool:
    """Whether no other result will come of it."""
    return len(match.scores) == len(match.users) or now > match.live_at + ARRIVAL_MS + RUN_MS + GRACE_MS

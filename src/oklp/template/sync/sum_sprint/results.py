"""What is reported, and when: a synchronous game reports one result for the whole match, with its teams' ranks."""

from __future__ import annotations

from oklp.sdk import TeamResult

from .matches import ARRIVAL_MS, Match, Result
from .rules import GRACE_MS, RUN_MS


def due(match: Match, now: int) -> list[Result]:
    """The result of a match, once everybody has played or has had the time to. Who has not played has no points."""
    if not is_over(match, now):
        return []
    return [Result({user: match.scores.get(user, 0) for user in match.users}, ranked(match))]


def is_over(match: Match, now: int) -> bool:
    """Whether no other result will come of it."""
    return len(match.scores) == len(match.users) or now > match.live_at + ARRIVAL_MS + RUN_MS + GRACE_MS


def ranked(match: Match) -> list[TeamResult]:
    """The most points first; who has as many shares the rank. A team of which nobody played has forfeited: it comes
    after all that did.
    """
    points: dict[str, int] = {team.id: 0 for team in match.info.teams}
    played: set[str] = set()
    for participant in match.info.participants:
        if participant.id in match.scores:
            points[participant.team_id] += match.scores[participant.id]
            played.add(participant.team_id)
    order = {team: (team in played, total) for team, total in points.items()}
    return [
        TeamResult(
            id=team,
            score=total,
            ranking=1 + sum(other > order[team] for other in order.values()),
            forfeit=team not in played,
        )
        for team, total in points.items()
    ]

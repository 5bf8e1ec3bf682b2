"""From results to a ranking (contract section A7).

A synchronous game reports the ranking itself, and `rank_reported` checks it against the roster. An asynchronous game
reports scores, and `rank_scored` ranks by them once the last is in or the time is up. Either way a Ranking lists the
teams in the order of the roster, whatever the order of the report, so that all that follows from it (leftover minor
units above all) does not depend on how a game happens to write its report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from oklp.errors import FieldError, InvalidRequest, InvariantBroken, invalid


class RosterTeam(NamedTuple):
    """A team and its members as they started, members in the order of their seats."""

    team_id: str
    user_ids: tuple[str, ...]


Roster: TypeAlias = tuple[RosterTeam, ...]


class TeamStanding(NamedTuple):
    """How a team did. `ranking` starts at 1 and may be shared; `score` is None when no member has a result."""

    team_id: str
    user_ids: tuple[str, ...]
    score: int | None
    ranking: int
    forfeit: bool


class Ranking(NamedTuple):
    """`teams` in the order of the roster; `scores` by user id, without the players who have no result."""

    teams: tuple[TeamStanding, ...]
    scores: Mapping[str, int]


# --- Synchronous games -----------------------------------------------------------------------------------------------


def rank_reported(
    roster: Roster,
    participants: Sequence[tuple[str, int]],
    teams: Sequence[tuple[str, int, int, bool]],
) -> Ranking:
    """The ranking that a game reported: participants are (id, score), teams (id, score, ranking, forfeit).

    Raises InvalidRequest with one FieldError for each fault: a player or team that is unknown, there twice or missing;
    ranks that are neither 1,1,2 nor 1,1,3; a forfeited team ranked above one that played. Rankings decide and scores
    inform, so scores that contradict the ranking are no fault. Ranks are kept as they were written.
    """
    faults: list[FieldError] = []
    user_ids = [user_id for team in roster for user_id in team.user_ids]
    _check_ids("participants", "player", [participant[0] for participant in participants], user_ids, faults)
    _check_ids("teams", "team", [team[0] for team in teams], [team.team_id for team in roster], faults)
    # With a team too many or too few, a gap in the ranks may be no more than that team's place.
    if len(teams) == len(roster):
        _check_ranks(teams, faults)
    _check_forfeits(teams, faults)
    if faults:
        raise _refusal(faults)

    reported = {team[0]: team for team in teams}
    standings = [TeamStanding(team_id, members, *reported[team_id][1:]) for team_id, members in roster]
    return Ranking(tuple(standings), dict(participants))


def _check_ids(field: str, noun: str, ids: Sequence[str], expected: Sequence[str], faults: list[FieldError]) -> None:
    if len(ids) == len(expected) and set(ids) == set(expected):
        return
    missing = dict.fromkeys(expected)
    known = frozenset(expected)
    for index, given in enumerate(ids):
        if given not in known:
            faults.append(FieldError(f"{field}.{index}.id", f"is not a {noun} of this match"))
        elif given not in missing:
            faults.append(FieldError(f"{field}.{index}.id", "is there already"))
        else:
            del missing[given]
    if missing:
        faults.append(FieldError(field, f"has no result for {noun} {', '.join(missing)}"))


def _check_ranks(teams: Sequence[tuple[str, int, int, bool]], faults: list[FieldError]) -> None:
    """Ranks must be dense (1,1,2) or competition style (1,1,3) as a whole; the first rank that fits neither is named.

    What comes after that rank cannot be judged before it is put right.
    """
    ranks = sorted([team[2] for team in teams])
    dense, competition = 1, 1  # what the next distinct rank would be in each style
    is_dense = is_competition = True
    for position, rank in enumerate(ranks):
        if position and rank == ranks[position - 1]:
            continue
        if position:
            dense, competition = dense + 1, position + 1
        fits_dense, fits_competition = is_dense and rank == dense, is_competition and rank == competition
        if not (fits_dense or fits_competition):
            wanted = {dense} if is_dense else set()
            wanted |= {competition} if is_competition else set()
            message = f"must be {' or '.join(str(choice) for choice in sorted(wanted))}: ranks start at 1 without a gap"
            faults.extend(
                FieldError(f"teams.{index}.ranking", message) for index, team in enumerate(teams) if team[2] == rank
            )
            return
        is_dense, is_competition = fits_dense, fits_competition


def _check_forfeits(teams: Sequence[tuple[str, int, int, bool]], faults: list[FieldError]) -> None:
    played = [ranking for _, _, ranking, forfeit in teams if not forfeit]
    if len(played) == len(teams):
        return
    worst_played = max(played, default=0)
    for index, (_, _, ranking, forfeit) in enumerate(teams):
        if forfeit and ranking < worst_played:
            faults.append(FieldError(f"teams.{index}.ranking", "ranks a forfeited team above one that played"))


def _refusal(faults: list[FieldError]) -> InvalidRequest:
    detail = f"{faults[0].field}: {faults[0].message}"
    if len(faults) > 1:
        detail += f" (and {len(faults) - 1} more)"
    return InvalidRequest(detail, errors=tuple(faults))


# --- Asynchronous games ----------------------------------------------------------------------------------------------


def check_player(roster: Roster, user_id: str, field: str = "participants.0.id") -> None:
    """Refuse a result for someone who is not in the match: InvalidRequest that names `field`."""
    for team in roster:
        if user_id in team.user_ids:
            return
    raise invalid(field, "is not a player of this match")


def rank_scored(roster: Roster, scores: Mapping[str, int], score_order: Literal["high", "low"]) -> Ranking:
    """Rank by scores (by user id); a player without one counts as forfeited and adds nothing.

    A team's score is the sum of its members'. A team in which nobody has a result is forfeited: its score is None, and
    all such teams share the last rank. When the lowest score wins, a missing result would be worth a perfect one, so
    there more missing results rank lower, whatever the sum. Equal teams share a rank, written 1,1,3.

    The scores of users were checked when they came in, so one of a stranger is InvariantBroken. A team's sum can exceed
    the bound of a single score, by a factor of its size.
    """
    if score_order not in ("high", "low"):
        raise InvariantBroken(f"{score_order!r} is not a score order")
    keys: list[tuple[bool, int, int]] = []  # smaller is better: forfeited, missing results, signed sum
    totals: list[int | None] = []
    counted = 0
    for team in roster:
        results = [scores[user_id] for user_id in team.user_ids if user_id in scores]
        counted += len(results)
        if not results:
            totals.append(None)
            keys.append((True, 0, 0))
            continue
        total = sum(results)
        totals.append(total)
        if score_order == "high":
            keys.append((False, 0, -total))
        else:
            keys.append((False, len(team.user_ids) - len(results), total))
    if counted != len(scores):
        raise InvariantBroken("a score belongs to nobody in the match, or to two of its teams")

    ranks: dict[tuple[bool, int, int], int] = {}
    for position, key in enumerate(sorted(keys), 1):
        ranks.setdefault(key, position)
    standings = [
        TeamStanding(team.team_id, team.user_ids, total, ranks[key], key[0])
        for team, total, key in zip(roster, totals, keys, strict=True)
    ]
    return Ranking(tuple(standings), scores)

"""Between platform and game: configuration, tokens, matches, results (A1 to A7)."""

# Without `from __future__ import annotations`: as texts, they would be compiled at every start.

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from oklp.contract.shared import SCOPE, GameMatchStatus, MatchId, Score, Wire


class Authentication(Wire):
    client_id: str
    client_secret: str | None = Field(default=None, repr=False)
    webhook_secret: str | None = Field(default=None, repr=False)
    public_key_url: str
    token_url: str


class DeveloperConfig(Wire):
    """`developer-config.json` (A1). The secrets are there only at registration and after a rotation."""

    okletsplay_url: str
    authentication: Authentication


class TokenAnswer(Wire):
    access_token: str
    expires_in: int
    refresh_expires_in: int = 0
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - a token type, not a secret
    not_before_policy: int = Field(default=0, serialization_alias="not-before-policy")
    scope: str = SCOPE


class Participant(Wire):
    id: str
    team_id: str


class TeamRef(Wire):
    id: str


class MatchInfo(Wire):
    """Body of the match info webhook (A3)."""

    match_id: str
    participants: list[Participant]
    teams: list[TeamRef]


class GameMatch(MatchInfo):
    """A match as a game reads it (A4)."""

    match_status: GameMatchStatus


class GameMatchPage(Wire):
    matches: list[GameMatch]
    next_cursor: str | None = None


class GameUser(Wire):
    user_id: str
    username: str
    avatar_url: str | None = None


class TokenInfoRequest(Wire):
    token: Annotated[str, StringConstraints(min_length=1, max_length=512)]


class TokenInfo(Wire):
    match_id: str
    user_id: str
    match_status: GameMatchStatus
    submissions_total: int
    submissions_left: int


class ParticipantResult(Wire):
    id: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    score: Score


class TeamResult(Wire):
    id: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    score: Score
    ranking: Annotated[int, Field(strict=True, ge=1, le=64)]
    forfeit: Annotated[bool, Field(strict=True)] | None = False  # null, as typed serializers write it, is no forfeit


class FinishRequest(Wire):
    """A result: with `teams` the whole match of a synchronous game, without one player of an asynchronous one (A7).

    No teams at all are the same as `teams` left out: serializers of typed games write empty lists.
    """

    match_id: MatchId
    participants: Annotated[list[ParticipantResult], Field(min_length=1, max_length=128)]
    teams: Annotated[list[TeamResult], Field(max_length=16)] | None = None


class FinishAnswer(Wire):
    match_id: str
    accepted: bool
    match_status: GameMatchStatus

"""From what was seen of results and tokens to verdicts. Pure: records in, grades out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from pydantic import ValidationError

from oklp.check.catalogue import Grades
from oklp.check.launch import Page, leaks
from oklp.check.proxy import Fault, parsed
from oklp.check.wire import GameCall
from oklp.contract import FinishRequest, MatchInfo, Problem, TeamResult, TokenInfo

Key: TypeAlias = tuple[str, str]
"""A match and, in an asynchronous game, a player: what there is one result of."""

# Fewer calls than this say nothing about how tokens are kept. Several processes may each have a token of their own, and
# calls that begin together may each find none: only about one for each call is a fault.
CALLS_TO_JUDGE_TOKENS: Final = 5
TOKENS_PER_CALL: Final = 0.75
PLAYERS_LOG_IN: Final = "The launch template has no {match-token}: players log in."
# Answers that ask for another attempt, or for another token: no judgement of the result.
_NOT_ABOUT_THE_RESULT: Final = frozenset({401, 403, 408, 425, 429})


@dataclass(slots=True)
class Played:
    """A match of the run. `by_players` when somebody played it; else it was left to end by itself.

    `failed` says which players gave up, `called_off_at` when the game was told that it is off.
    """

    info: MatchInfo
    fault: Fault | None = None
    by_players: bool = False
    ends_by_itself: bool = False
    failed: list[str] = field(default_factory=list)
    called_off_at: float | None = None
    watched: bool = False

    @property
    def match_id(self) -> str:
        return self.info.match_id

    @property
    def expected(self) -> bool:
        """Whether a result must come of it."""
        return self.called_off_at is None and not self.failed and (self.by_players or self.ends_by_itself)


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the game sent, in order."""

    mode: Literal["sync", "async"]
    finishes: Sequence[GameCall]
    token_infos: Sequence[GameCall]
    tokens: Sequence[GameCall]
    calls: Sequence[GameCall]

    def of(self, match_id: str) -> list[GameCall]:
        return [call for call in self.finishes if parsed(call.body).get("match_id") == match_id]


def keys_of(mode: str, call: GameCall) -> list[Key]:
    """Whose results a call brings; it need not be well formed."""
    body = parsed(call.body)
    match_id = str(body.get("match_id"))
    if mode == "sync":
        return [(match_id, "")]
    listed = body.get("participants")
    people = listed if isinstance(listed, list) else []
    return [(match_id, str(person.get("id"))) for person in people if isinstance(person, dict)]


def wanted_keys(mode: str, info: MatchInfo) -> set[Key]:
    if mode == "sync":
        return {(info.match_id, "")}
    return {(info.match_id, participant.id) for participant in info.participants}


def grade(grades: Grades, matches: Sequence[Played], seen: Evidence, *, by_token: bool = True) -> None:
    """Everything about results and tokens. `by_token` says whether players come with a match-token: where they log in
    at the game, it need not ask about any (A5).
    """
    _grade_reported(grades, matches, seen)
    for match in matches:
        for call in seen.of(match.match_id):
            if match.called_off_at is None:
                _grade_result(grades, seen.mode, match.info, call)
    _grade_repeats(grades, matches, seen)
    _grade_called_off(grades, matches, seen)
    if by_token:
        _grade_token_checked(grades, matches, seen)
    else:
        grades.give("token.checked", "not-applicable", PLAYERS_LOG_IN)
    _grade_tokens(grades, seen)


# --- results ---------------------------------------------------------------------------------------------------------


def _grade_reported(grades: Grades, matches: Sequence[Played], seen: Evidence) -> None:
    """Whether as many results came as there must be. Whose they are, and what is in them, is for other checks."""
    for match in matches:
        if match.called_off_at is not None:
            continue
        calls = seen.of(match.match_id)
        wanted = len(wanted_keys(seen.mode, match.info))
        unreadable = any(not keys_of(seen.mode, call) for call in calls)
        came = wanted if unreadable else len({key for call in calls for key in keys_of(seen.mode, call)})
        if came >= wanted:
            grades.give("result.reported", "pass", "A result came for each match that was played.")
        elif match.failed:
            grades.give("result.reported", "not-seen", "Players gave up: " + " ".join(match.failed))
        elif not match.expected or (seen.mode == "async" and not match.by_players):
            grades.give("result.reported", "not-seen", "Nobody played: give --bot-command or --wait.")
        else:
            what = "No result" if came == 0 else f"Only {came} of {wanted} results"
            grades.give("result.reported", "fail", f"{what} came for match {match.match_id}.")


def _grade_result(grades: Grades, mode: str, info: MatchInfo, call: GameCall) -> None:
    """One report against the contract, section A7, and against what the platform said of it."""
    try:
        report = FinishRequest.model_validate_json(call.body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        grades.give("result.shape", "fail", f"{where}: {first['msg']}." if where else f"{first['msg']}.")
        return
    # An empty list of teams is none.
    if bool(report.teams) != (mode == "sync") or (mode == "async" and len(report.participants) != 1):
        found = "with teams" if report.teams else "without teams"
        detail = f"The game is registered as {mode}; it sent {len(report.participants)} participants, {found}."
        grades.give("result.mode", "fail", detail)
        grades.give("result.shape", "pass", _SHAPELY)
        return
    grades.give("result.mode", "pass", f"Results are those of the mode {mode}.")
    roster_faults = list(_roster_faults(mode, info, report))
    grades.judge("result.roster", roster_faults, "Everybody is in it, and nobody else.")
    ranking_faults: list[str] = []
    if report.teams:
        ranking_faults = list(_ranking_faults(report.teams))
        grades.judge("result.ranking", ranking_faults, "Ranks start at 1 and have no gap.")
        if not roster_faults:
            _grade_scores(grades, info, report)
    else:
        grades.give("result.ranking", "not-applicable", "An asynchronous game sends no ranks.")
        grades.give("result.scores", "not-applicable", "An asynchronous game sends no scores of teams.")
    refused = call.status is not None and 400 <= call.status < 500 and call.status not in _NOT_ABOUT_THE_RESULT
    if refused and not roster_faults and not ranking_faults:
        grades.give("result.shape", "fail", f"The platform refused it with {call.status}: {_detail(call.answer)}")
    else:
        grades.give("result.shape", "pass", _SHAPELY)


_SHAPELY: Final = "Every field is there and of its type."


def _roster_faults(mode: str, info: MatchInfo, report: FinishRequest) -> Iterable[str]:
    players = [participant.id for participant in info.participants]
    named = [participant.id for participant in report.participants]
    if strangers := [each for each in named if each not in players]:
        yield f"{len(strangers)} of {len(named)} participants are not of this match."
    if mode == "async":
        return
    if len(set(named)) < len(named):
        yield "A participant is there twice."
    if missing := [each for each in players if each not in named]:
        yield f"{len(missing)} of {len(players)} participants are missing."
    teams = [team.id for team in info.teams]
    ranked = [team.id for team in report.teams or ()]
    if sorted(teams) != sorted(ranked):
        yield f"The result has {len(ranked)} teams that are not just the {len(teams)} of the match."


def _ranking_faults(teams: Sequence[TeamResult]) -> Iterable[str]:
    ranks = sorted(team.ranking for team in teams)
    distinct = sorted(set(ranks))
    dense = [distinct.index(rank) + 1 for rank in ranks]
    competition = [ranks.index(rank) + 1 for rank in ranks]
    if ranks not in (dense, competition):
        yield f"The ranks are {', '.join(map(str, ranks))}."
    worst_played = max((team.ranking for team in teams if not team.forfeit), default=0)
    if any(team.forfeit and team.ranking < worst_played for team in teams):
        yield "A team that forfeited is ranked above one that played."


def _grade_scores(grades: Grades, info: MatchInfo, report: FinishRequest) -> None:
    team_of = {participant.id: participant.team_id for participant in info.participants}
    sums: dict[str, int] = {}
    for participant in report.participants:
        team_id = team_of[participant.id]
        sums[team_id] = sums.get(team_id, 0) + participant.score
    off = [team for team in report.teams or () if team.score != sums.get(team.id, 0)]
    if off:
        team = off[0]
        detail = f"A team has the score {team.score}, its players together {sums.get(team.id, 0)}."
        grades.give("result.scores", "warn", detail)
    else:
        grades.give("result.scores", "pass", "The scores add up.")


def _grade_repeats(grades: Grades, matches: Sequence[Played], seen: Evidence) -> None:
    names: dict[str, str] = {"503": "result.retry-503", "dropped": "result.retry-dropped"}
    met: set[str] = set()
    for match in matches:
        faulty = next((call for call in seen.of(match.match_id) if call.fault), None)
        if match.fault is None or faulty is None:
            continue
        met.add(match.fault)
        keys = set(keys_of(seen.mode, faulty))
        later = [call for call in seen.of(match.match_id) if call.at > faulty.at]
        again = [call for call in later if keys & set(keys_of(seen.mode, call))]
        if again:
            detail = f"It came again after {again[0].at - faulty.answered_at:.1f} s."
            grades.give(names[match.fault], "pass", detail)
        else:
            grades.give(names[match.fault], "fail", "It was sent once and not again.")
    for fault, check_id in names.items():
        if fault not in met:
            grades.give(check_id, "not-seen", "No result came that could have met the fault.")
    _grade_same(grades, matches, seen)


def _grade_same(grades: Grades, matches: Sequence[Played], seen: Evidence) -> None:
    known: dict[Key, object] = {}
    for match in matches:
        for call in seen.of(match.match_id) if match.called_off_at is None else ():
            said = _said(call.body)
            for key in keys_of(seen.mode, call):
                if known.setdefault(key, said) != said:
                    detail = f"Two different results were sent for match {match.match_id}."
                    grades.give("result.same", "fail", detail)
    if known:
        grades.give("result.same", "pass", f"{len(known)} results, each always the same.")
    else:
        grades.give("result.same", "not-seen", "No result came.")


def _said(body: bytes) -> object:
    """The same for the same result: what the platform reads of it, whatever its order, and whatever else is in it that
    changes with each attempt. What cannot be read is taken as it is.
    """
    try:
        report = FinishRequest.model_validate_json(body)
    except ValidationError:
        return parsed(body)
    people = sorted((each.id, each.score) for each in report.participants)
    return people, sorted((each.id, each.score, each.ranking, bool(each.forfeit)) for each in report.teams or ())


def _grade_called_off(grades: Grades, matches: Sequence[Played], seen: Evidence) -> None:
    for match in matches:
        if match.called_off_at is None:
            continue
        late = [call for call in seen.of(match.match_id) if call.at > match.called_off_at]
        if late:
            grades.give("result.called-off", "fail", f"A result of match {match.match_id} came after its DELETE.")
        elif match.watched:
            grades.give("result.called-off", "pass", "Players tried to go on, and no result came.")
        else:
            grades.give("result.called-off", "not-seen", "Nobody tried to play it: give --bot-command or --wait.")


# --- tokens ----------------------------------------------------------------------------------------------------------


def _grade_token_checked(grades: Grades, matches: Sequence[Played], seen: Evidence) -> None:
    asked: dict[Key, float] = {}
    for call in seen.token_infos:
        if call.ok:
            info = TokenInfo.model_validate_json(call.answer)
            asked.setdefault((info.match_id, info.user_id), call.at)
    for match in matches:
        calls = seen.of(match.match_id)
        if not match.by_players or match.called_off_at is not None or not calls:
            continue
        late = [
            participant.id
            for participant in match.info.participants
            if asked.get((match.match_id, participant.id), float("inf")) > _played_by(seen, calls, participant.id)
        ]
        if late:
            detail = f"Nobody asked who {len(late)} of {len(match.info.participants)} players are before their result."
            grades.give("token.checked", "fail", detail)
        else:
            grades.give("token.checked", "pass", "Every player's token was asked about before their result came.")
    if grades.verdict("token.checked") == "not-seen":
        if asked:
            grades.give("token.checked", "pass", "Tokens were asked about when the page was opened.")
        else:
            grades.give("token.checked", "not-seen", "Nobody played who has a match-token: give --bot-command.")


def _played_by(seen: Evidence, calls: Sequence[GameCall], user_id: str) -> float:
    """When a player had played for certain: when the first result came that has them in it, or never. In an
    asynchronous game others may long have been reported when this one comes.
    """
    own = (call.at for call in calls if any(key[1] == user_id for key in keys_of(seen.mode, call)))
    return calls[0].at if seen.mode == "sync" else next(own, float("inf"))


def _grade_tokens(grades: Grades, seen: Evidence) -> None:
    calls, fetched = len(seen.calls), len(seen.tokens)
    used = len({call.token for call in seen.calls})
    said = f"{calls} calls with {used} access tokens; {fetched} were fetched."
    if calls < CALLS_TO_JUDGE_TOKENS:
        grades.give("token.reused", "not-seen", f"Too few calls to tell: {said}")
    elif max(used, fetched) >= TOKENS_PER_CALL * calls:
        grades.give("token.reused", "fail", said)
    else:
        grades.give("token.reused", "pass", said)


# --- secrets ---------------------------------------------------------------------------------------------------------


def grade_secrets(grades: Grades, pages: Sequence[Page], secrets: Sequence[str], seen: Evidence) -> None:
    """What browsers were given. A page may have an access token from its back end, to call token-info with and nothing
    else (A6); the secrets are for no page.
    """

    def serving(hidden: Collection[str]) -> list[str]:
        return list(dict.fromkeys(url for page in pages for url in leaks(page, hidden)))

    faults = [f"A secret is in what {url} serves." for url in serving(secrets)]
    if any(call.from_browser for call in seen.tokens):
        faults.append("A browser asked the platform for an access token with the game's credentials.")
    if any(call.from_browser and call.kind != "token-info" for call in seen.calls):
        faults.append("A browser called the platform in the game's place, and not for token-info.")
    files = sum(len(page.served) for page in pages)
    grades.judge("launch.secrets", faults, f"None in {files} pages, scripts and answers.")
    for url in serving({call.token for call in seen.calls}):
        grades.give("launch.secrets", "warn", f"An access token is in what {url} serves.")
    if any(call.from_browser and call.kind == "token-info" for call in seen.calls):
        grades.give("launch.secrets", "warn", "A browser called token-info with an access token of the game's.")


def _detail(answer: bytes) -> str:
    try:
        return Problem.model_validate_json(answer).detail
    except ValidationError:
        return "no reason given"

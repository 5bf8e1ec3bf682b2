"""The API of studios: games and their settings, conformance, deliveries, faults, figures, members (B4)."""

# Without `from __future__ import annotations`: as texts, they would be compiled at every start.

from datetime import date, datetime
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, AwareDatetime, ConfigDict, Field, StringConstraints, model_validator

from oklp.contract.games import DeveloperConfig
from oklp.contract.players import Match
from oklp.contract.shared import Email, GameId, Line, MatchId, Name, Password, Url, Username, Vetting, Wire, printable


class LaunchTemplates(Wire):
    """One launch URL template a platform, each with an optional `{match-token}` (A5)."""

    browser: Url | None = None
    android: Url | None = None
    ios: Url | None = None
    steam: Url | None = None


class GameSettings(Wire):
    """What a studio sets. Ranges are inclusive; money is in minor units of `currency`."""

    mode: Literal["sync", "async"] = "sync"
    score_order: Literal["high", "low"] = "high"
    discovery: Literal["push", "pull"] = "push"
    fee_bps: Annotated[int, Field(strict=True, ge=0, le=4_000)] = 1_000
    studio_share_bps: Annotated[int, Field(strict=True, ge=0, le=10_000)] = 5_000
    entry_fee_min: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] = 0
    entry_fee_max: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] = 1_000_000
    teams_min: Annotated[int, Field(strict=True, ge=2, le=16)] = 2
    teams_max: Annotated[int, Field(strict=True, ge=2, le=16)] = 16
    team_size_min: Annotated[int, Field(strict=True, ge=1, le=8)] = 1
    team_size_max: Annotated[int, Field(strict=True, ge=1, le=8)] = 8
    results_due_seconds: Annotated[int, Field(strict=True, ge=1, le=30 * 24 * 3600)] = 3_600
    start_retries: Annotated[int, Field(strict=True, ge=0, le=10)] = 0
    start_backoff_seconds: Annotated[int, Field(strict=True, ge=1, le=30)] = 2


class NewGameSettings(GameSettings):
    """The same, as a studio gives them: one that there is not is a slip of the pen, and no default takes its place."""

    model_config = ConfigDict(extra="forbid")


class GameSettingsPatch(Wire):
    """The same fields, each optional: only what is given changes. `studio_share_bps` is given as it is, or left out."""

    model_config = ConfigDict(extra="forbid")

    mode: Literal["sync", "async"] | None = None
    score_order: Literal["high", "low"] | None = None
    discovery: Literal["push", "pull"] | None = None
    fee_bps: Annotated[int, Field(strict=True, ge=0, le=4_000)] | None = None
    studio_share_bps: Annotated[int, Field(strict=True, ge=0, le=10_000)] | None = None
    entry_fee_min: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] | None = None
    entry_fee_max: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] | None = None
    teams_min: Annotated[int, Field(strict=True, ge=2, le=16)] | None = None
    teams_max: Annotated[int, Field(strict=True, ge=2, le=16)] | None = None
    team_size_min: Annotated[int, Field(strict=True, ge=1, le=8)] | None = None
    team_size_max: Annotated[int, Field(strict=True, ge=1, le=8)] | None = None
    results_due_seconds: Annotated[int, Field(strict=True, ge=1, le=30 * 24 * 3600)] | None = None
    start_retries: Annotated[int, Field(strict=True, ge=0, le=10)] | None = None
    start_backoff_seconds: Annotated[int, Field(strict=True, ge=1, le=30)] | None = None


class NewGame(Wire):
    name: Name
    game_id: GameId | None = None
    webhook_url: Url | None = None
    launch_urls: LaunchTemplates = LaunchTemplates()
    settings: NewGameSettings = NewGameSettings()


class GamePatch(Wire):
    name: Name | None = None
    webhook_url: Url | None = None
    launch_urls: LaunchTemplates | None = None
    settings: GameSettingsPatch | None = None


ReportId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
Verdict = Literal["pass", "fail", "warn", "not-seen", "not-applicable"]
CheckText = Annotated[str, StringConstraints(max_length=20_000)]


class ConformanceResult(Wire):
    """One check of `oklp check`: `detail` is what was seen, `fix` what to do about it."""

    id: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9.-]{0,63}$")]
    title: Annotated[str, StringConstraints(max_length=500)]
    section: Annotated[str, StringConstraints(max_length=40)]
    reason: CheckText
    fix: CheckText
    verdict: Verdict
    detail: CheckText


class ConformanceSubject(Wire):
    """What was checked, as it was reached then; `build` is the studio's own name for it."""

    game_id: Annotated[str, StringConstraints(max_length=64)]
    webhook_url: Url
    launch_urls: LaunchTemplates
    mode: Literal["sync", "async"]
    teams: Annotated[int, Field(strict=True, ge=1, le=64)]
    team_size: Annotated[int, Field(strict=True, ge=1, le=64)]
    build: Name | None = None


class ConformanceReport(Wire):
    """What `oklp check --json` writes."""

    schema_version: Literal[1]
    oklp_version: Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(printable)]
    started_at: AwareDatetime
    finished_at: AwareDatetime
    game: ConformanceSubject
    results: Annotated[list[ConformanceResult], Field(min_length=1, max_length=500)]
    problems: Annotated[list[CheckText], Field(max_length=100)] = []


class ConformanceSummary(Wire):
    """A report that a studio handed in: who did, what was checked by which version when, and how many checks ended how.

    `problems` counts what kept the run from seeing all that it came to see.
    """

    report_id: str
    submitted_by: str
    submitted_at: datetime
    oklp_version: str
    started_at: datetime
    finished_at: datetime
    webhook_url: str
    build: str | None = None
    passed: int
    failed: int
    warnings: int
    not_seen: int
    not_applicable: int
    problems: int


class ConformanceDetail(ConformanceSummary):
    report: ConformanceReport


class ConformancePage(Wire):
    """Newest first."""

    reports: list[ConformanceSummary]


class StudioGame(Wire):
    """A game as its studio sees it. `conformance` is the newest report that was handed in."""

    game_id: str
    studio_id: str
    name: str
    webhook_url: str | None
    launch_urls: LaunchTemplates
    settings: GameSettings
    vetting: Vetting
    vetting_reason: str | None = None
    vetting_by: str | None = None
    vetting_at: datetime | None = None
    conformance: ConformanceSummary | None = None
    created_at: datetime


class StudioGamePage(Wire):
    games: list[StudioGame]


class RegisteredGame(StudioGame):
    developer_config: DeveloperConfig


class NewStudio(Wire):
    name: Name
    username: Username
    email: Email
    password: Password


class Studio(Wire):
    studio_id: str
    name: str
    member_id: str


Role = Literal["owner", "developer", "viewer"]


class StudioProfile(Studio):
    """The member who asks, and the studio."""

    username: str
    email: str
    email_verified: bool
    role: Role


class NewStudioMember(Wire):
    """Without a password the member is invited: a mail has a link to choose one."""

    username: Username
    email: Email
    password: Password | None = None
    role: Role = "developer"


class MemberPatch(Wire):
    role: Role


class StudioMember(Wire):
    member_id: str
    username: str
    email: str
    email_verified: bool
    role: Role
    created_at: datetime


class StudioMemberPage(Wire):
    members: list[StudioMember]


DeliveryId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(-abort(-again)?)?$")]
DeliveryEvent = Literal["match.started", "match.aborted", "test"]
DeliveryState = Literal["waiting", "sending", "delivered", "failed"]


class TestEvent(Wire):
    """What a test event is about: so many players in so many teams of one size, of a match that does not exist."""

    __test__: ClassVar[bool] = False  # no class of tests, whatever its name says to a test runner

    event: Literal["match.started", "match.aborted"] = "match.started"
    match_id: MatchId | None = None
    participants: Annotated[int, Field(strict=True, ge=2, le=128)] = 2
    teams: Annotated[int, Field(strict=True, ge=2, le=16)] = 2

    @model_validator(mode="after")
    def _teams_of_one_size(self) -> Self:
        if self.participants % self.teams or self.participants // self.teams > 8:
            raise ValueError("participants must fill the teams evenly, 1 to 8 in each")
        return self


class ForwardedAnswer(Wire):
    """What came of a delivery that a listener forwarded: an answer, or why there was none.

    `sent` is false only if surely no byte of the request reached the receiver. Of the body the first 4 KB are kept.
    """

    status: Annotated[int, Field(strict=True, ge=100, le=999)] | None = None
    headers: dict[
        Annotated[str, StringConstraints(max_length=200)], Annotated[str, StringConstraints(max_length=8_192)]
    ] = {}
    body: Annotated[str, StringConstraints(max_length=65_536)] = ""
    error: Line | None = None
    sent: Annotated[bool, Field(strict=True)] = True
    duration_ms: Annotated[int, Field(strict=True, ge=0, le=3_600_000)] = 0
    forwarded_to: Url | None = None

    @model_validator(mode="after")
    def _an_answer_or_none(self) -> Self:
        if self.status is None and self.error is None:
            raise ValueError("status or error must be given")
        return self


class Forwarded(Wire):
    """`counts`: the answer is the outcome of its attempt; it is not when it came late, or second."""

    counts: bool


class DeliveryAttempt(Wire):
    """One request of a delivery. Headers never hold `Authorization`; the answer is its first 4 KB.

    `fault` is the kind of the fault that was injected into it, if one was.
    """

    attempt: int
    started_at: datetime
    duration_ms: int | None
    url: str
    request_headers: dict[str, str]
    status: int | None
    response_headers: dict[str, str] | None
    response_body: str | None
    error: str | None
    fault: str | None = None


class Delivery(Wire):
    delivery_id: str
    game_id: str
    match_id: str | None
    event: DeliveryEvent
    method: Literal["PUT", "DELETE"]
    state: DeliveryState
    attempts: int
    next_attempt_at: datetime | None
    created_at: datetime
    last_status: int | None
    last_error: str | None


class DeliveryDetail(Delivery):
    request_body: Any
    log: list[DeliveryAttempt]


class DeliveryPage(Wire):
    deliveries: list[Delivery]
    next_cursor: str | None = None


class FaultOptions(Wire):
    """What a fault can be told; each kind takes some of these (docs/faults.md), and they are null on the others."""

    delay_seconds: Annotated[float, Field(strict=True, ge=0, le=60, allow_inf_nan=False)] | None = None
    offset_seconds: Annotated[int, Field(strict=True, ge=-86_400, le=86_400)] | None = None
    retry_after_seconds: Annotated[int, Field(strict=True, ge=0, le=60)] | None = None
    call: Literal["any", "token-info", "finish"] | None = None


FaultId = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,17}$")]


class NewFault(FaultOptions):
    """A fault to inject into what passes between the sandbox and the game, the next `times` that it can strike."""

    kind: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,40}$")]
    times: Annotated[int, Field(strict=True, ge=1, le=1_000)] = 1


class Fault(FaultOptions):
    """`fired` of `times` are over; the rest is `left`."""

    fault_id: str
    game_id: str
    kind: str
    times: int
    fired: int
    left: int
    created_by: str
    created_at: datetime
    last_fired_at: datetime | None = None


class FaultList(Wire):
    """Oldest first, the order in which they strike."""

    faults: list[Fault]


class ApiCall(Wire):
    """One line of a game's log: a call of the API, a delivery to the game, or how many calls were left out.

    `path` is without its query; of a delivery it is the URL. `code` and `detail` say why it was refused or failed.
    """

    id: str
    at: datetime
    kind: Literal["call", "delivery", "left-out"]
    method: str
    path: str
    status: int | None
    duration_ms: float
    request_id: str | None
    delivery_id: str | None
    match_id: str | None
    code: str | None
    detail: str | None


class ApiCallPage(Wire):
    calls: list[ApiCall]
    next_cursor: str | None = None


class StudioMatchPage(Wire):
    matches: list[Match]
    next_cursor: str | None = None


class CurrencyFigures(Wire):
    currency: str
    entry_fees: int
    prizes: int
    fees: int
    studio_share: int


class DayFigures(Wire):
    """Matches made on a day (UTC), players who took a seat in them, and money of matches that were settled on it."""

    day: date
    matches: int
    players: int
    money: list[CurrencyFigures]


class GameFigures(Wire):
    """Counts of matches by status, of distinct players, and money by currency: of a period, or since registration.

    `days` has those on which there was something.
    """

    game_id: str
    since: date | None = None
    until: date | None = None
    matches: dict[str, int]
    players: int
    money: list[CurrencyFigures]
    days: list[DayFigures] = []

"""The wire: what requests, answers and webhook bodies look like.

Shared by the server, the SDK and the checker. Sections (A3, B3, …) are those of the contract, `docs/contract.md`.
Numbers are strict: `300.0`, `"300"` and `true` are not 300. Unknown fields are tolerated, as the wire may grow.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

MAX_SCORE = 2**53 - 1
MAX_AMOUNT = 2**53 - 1
SCOPE = "olp-report-api"
CLIENT_CREDENTIALS = "client_credentials"


# Surrogates are no characters: half of a pair can be written in JSON, and in no database and no UTF-8.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_ISO_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _printable(value: str) -> str:
    if _UNPRINTABLE.search(value):
        raise ValueError("must not contain control characters")
    return value


def _iso_date(value: object) -> object:
    """RFC 3339 `full-date`, and none of the other spellings that the library would take: times, numbers."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if not isinstance(value, str) or _ISO_DATE.fullmatch(value) is None:
        raise ValueError("must be a date such as 1990-05-17")
    return value


# Every text of a request has a native constraint or the check above behind it: both refuse lone surrogates. The check
# comes last, or the constraints would be asked of whatever it returns, and would speak of "items".
MatchId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{24}$")]
UserId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
TeamId = Annotated[str, StringConstraints(pattern=r"^[0-9a-zA-Z_-]{1,64}$")]
GameId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$")]
Username = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{3,32}$")]
Password = Annotated[str, StringConstraints(min_length=8, max_length=256)]
Email = Annotated[
    str, StringConstraints(pattern=r"^[^@\s\x00-\x1f\x7f-\x9f]{1,64}@[^@\s\x00-\x1f\x7f-\x9f]{1,190}$", max_length=254)
]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
Score = Annotated[int, Field(strict=True, ge=0, le=MAX_SCORE)]
Amount = Annotated[int, Field(strict=True, ge=0, le=MAX_AMOUNT)]
Reason = Annotated[
    str, StringConstraints(min_length=1, max_length=500, strip_whitespace=True), AfterValidator(_printable)
]
Name = Annotated[str, StringConstraints(min_length=1, max_length=80, strip_whitespace=True), AfterValidator(_printable)]
Url = Annotated[str, StringConstraints(min_length=1, max_length=2_000), AfterValidator(_printable)]
LogInName = Annotated[str, StringConstraints(min_length=1, max_length=254), AfterValidator(_printable)]
Token = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,128}$")]
Base64Url = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+={0,2}$", max_length=100_000)]
SessionId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
DateOfBirth = Annotated[date, BeforeValidator(_iso_date)]

MatchStatus = Literal["pending", "starting", "live", "finished", "aborted"]
GameMatchStatus = Literal["pending", "live", "finished", "aborted"]
MemberState = Literal["invited", "joined", "confirmed", "declined", "left"]
Platform = Literal["browser", "android", "ios", "steam"]
Vetting = Literal["draft", "in-review", "approved", "suspended"]


class Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


# --- B1, B2 ----------------------------------------------------------------------------------------------------------


class ProblemField(Wire):
    field: str
    message: str


class Problem(Wire):
    """RFC 9457, `application/problem+json`."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[ProblemField] | None = None


class Money(Wire):
    """`amount` in minor units of the ISO 4217 `currency`."""

    amount: Amount
    currency: Currency


# --- A1, A2 ----------------------------------------------------------------------------------------------------------


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


# --- A3, A4 ----------------------------------------------------------------------------------------------------------


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


# --- A6, A7 ----------------------------------------------------------------------------------------------------------


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


# --- B3: players -----------------------------------------------------------------------------------------------------


class SignUp(Wire):
    username: Username
    email: Email
    password: Password
    date_of_birth: DateOfBirth
    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]


class Player(Wire):
    user_id: str
    username: str


class Profile(Player):
    email: str
    country: str
    date_of_birth: date
    status: Literal["active", "suspended"]
    verified: bool
    email_verified: bool
    created_at: datetime


class PlayerPage(Wire):
    players: list[Player]


MatchVerdict = Literal["won", "drawn", "lost"]


class Tally(Wire):
    matches: int
    wins: int
    draws: int
    losses: int


class GameRecord(Tally):
    game_id: GameId
    name: str


class MoneyRecord(Wire):
    """Minor units, in matches that are over: entry fees paid, and prizes."""

    currency: str
    paid: int
    won: int


class RecentResult(Wire):
    match_id: str | None = Field(None, description="Of one's own results alone; `paid` and `won` too.")
    game_id: GameId
    game_name: str
    finished_at: datetime
    place: int
    verdict: MatchVerdict
    paid: Money | None = None
    won: Money | None = None


class PlayerRecord(Tally):
    user_id: str
    username: str
    since: date
    private: bool = Field(description="Only the player himself sees his results; to others they are empty.")
    games: list[GameRecord]
    recent: list[RecentResult]
    money: list[MoneyRecord] | None = Field(None, description="In one's own record alone.")


class BestPlayer(Tally):
    user_id: str
    username: str


class BestPlayers(Wire):
    players: list[BestPlayer]


class Notification(Wire):
    notification_id: str
    kind: Literal["invited", "began", "won", "drawn", "lost", "held", "released", "refunded", "called-off"]
    match_id: MatchId
    amount: Money | None = Field(None, description="The entry fee of an invitation; else what came, or came back.")
    reason: str | None = Field(None, description="Why a match was called off: its `abort_reason`.")
    created_at: datetime
    read: bool


class Unread(Wire):
    unread: int = Field(description="100 stands for 100 and more.")


class NotificationPage(Unread):
    notifications: list[Notification]
    next_cursor: str | None = None


class ReadNotifications(Wire):
    upto: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,18}$")]


class Privacy(Wire):
    private: Annotated[bool, Field(strict=True)]


class NamedPerson(Wire):
    """A player or operator made by the command line."""

    username: Username
    password: Password


class NewOperator(NamedPerson):
    email: Email | None = None


class LogIn(Wire):
    username: LogInName
    password: Annotated[str, StringConstraints(min_length=1, max_length=256)]


class Session(Wire):
    token: str
    expires_in: int
    expires_at: datetime


class OpenSession(Wire):
    """One of the caller's log-ins: where from, and with what."""

    session_id: str
    created_at: datetime
    expires_at: datetime
    address: str | None
    user_agent: str | None
    current: bool


class OpenSessions(Wire):
    sessions: list[OpenSession]


class PasswordReset(Wire):
    """Whose password is forgotten. All accounts of an address are meant."""

    name_or_email: LogInName


class PasswordResetConfirmation(Wire):
    token: Token
    password: Password


class CurrentPassword(Wire):
    """Proof that it is the caller, and not somebody who found his session."""

    password: Annotated[str, StringConstraints(min_length=1, max_length=256)]


class PasswordChange(Wire):
    current_password: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    password: Password


class SecondFactorProblem(Problem):
    """The problem `second-factor-required` of a log-in whose password was right."""

    pending_token: str
    methods: list[Literal["totp", "passkey", "recovery-code"]]
    expires_in: int


class CredentialResponse(Wire):
    """What an authenticator said; of a registration or of a log-in."""

    model_config = ConfigDict(populate_by_name=True)

    client_data_json: Base64Url = Field(alias="clientDataJSON")
    attestation_object: Base64Url | None = Field(default=None, alias="attestationObject")
    authenticator_data: Base64Url | None = Field(default=None, alias="authenticatorData")
    signature: Base64Url | None = None
    user_handle: Base64Url | None = Field(default=None, alias="userHandle")


class Credential(Wire):
    """A `PublicKeyCredential` in its JSON form (Web Authentication, level 3, section 5.1)."""

    model_config = ConfigDict(populate_by_name=True)

    id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$", max_length=1_400)]
    raw_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+={0,2}$", max_length=1_400)] = Field(
        alias="rawId"
    )
    type: Literal["public-key"]
    response: CredentialResponse


class TotpCode(Wire):
    code: Annotated[str, StringConstraints(pattern=r"^[0-9]{6}$")]


class SecondFactor(Wire):
    """The second step of a log-in, by one of the three."""

    pending_token: Token
    code: Annotated[str, StringConstraints(pattern=r"^[0-9]{6}$")] | None = None
    recovery_code: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9 -]{16,40}$")] | None = None
    credential: Credential | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> SecondFactor:
        if sum(each is not None for each in (self.code, self.recovery_code, self.credential)) != 1:
            raise ValueError("must have one of code, recovery_code and credential")
        return self


class PasskeyLogInStart(Wire):
    """With the token of a log-in that waits for its second step; without, for a log-in by passkey alone."""

    pending_token: Token | None = None


class PasskeyLogIn(Wire):
    credential: Credential


class PasskeyRegistration(PasskeyLogIn):
    name: Name


class TotpEnrolment(Wire):
    """For an authenticator app: the secret in base 32, and the same as an address to be shown as a QR code."""

    secret: str
    otpauth_uri: str


class RecoveryCodes(Wire):
    recovery_codes: list[str]


class FactorAdded(Wire):
    """`recovery_codes` come with the first factor; each works once in place of another."""

    recovery_codes: list[str] | None


class Passkey(Wire):
    passkey_id: str
    name: str
    created_at: datetime
    last_used_at: datetime | None


class NewPasskey(Passkey, FactorAdded):
    pass


class SecondFactors(Wire):
    enabled: bool
    totp: bool
    passkeys: list[Passkey]
    recovery_codes_left: int


class EmailChange(CurrentPassword):
    email: Email


class EmailConfirmation(Wire):
    token: Token


class Accepted(Wire):
    """What was asked for happens later, or not: the answer is the same."""

    detail: str


class FeeRange(Wire):
    minimum: Amount
    maximum: Amount
    currency: Currency


class IntRange(Wire):
    minimum: int
    maximum: int


class Game(Wire):
    """A game as players see it."""

    game_id: str
    name: str
    studio: str
    mode: Literal["sync", "async"]
    score_order: Literal["high", "low"]
    platforms: list[Platform]
    entry_fee: FeeRange
    fee_bps: int
    teams: IntRange
    team_size: IntRange
    results_due_seconds: int


class GamePage(Wire):
    games: list[Game]
    next_cursor: str | None = None


class NewMatch(Wire):
    game_id: GameId
    entry_fee: Money
    teams: Annotated[int, Field(strict=True, ge=2, le=16)] = 2
    team_size: Annotated[int, Field(strict=True, ge=1, le=8)] = 1
    invite: Annotated[list[Username], Field(max_length=200)] = []
    visibility: Literal["private", "public"] = "private"
    prize_shares_bps: Annotated[
        list[Annotated[int, Field(strict=True, ge=1, le=10_000)]] | None,
        Field(min_length=1, max_length=16, description="Share of each place in the prizes; sums to 10,000."),
    ] = None


class Invite(Wire):
    usernames: Annotated[list[Username], Field(min_length=1, max_length=200)]


class Join(Wire):
    team_id: TeamId | None = None
    join_code: Annotated[str, StringConstraints(max_length=64)] | None = None


class Launch(Wire):
    platform: Platform = "browser"


class LaunchAnswer(Wire):
    launch_url: str
    expires_in: int


class Member(Wire):
    user_id: str
    username: str
    state: MemberState
    score: int | None = None


class Team(Wire):
    id: str
    members: list[Member]
    score: int | None = None
    ranking: int | None = None
    forfeit: bool | None = None


class Winning(Wire):
    user_id: str
    amount: int


class Match(Wire):
    match_id: str
    game_id: str
    status: MatchStatus
    visibility: Literal["private", "public"]
    entry_fee: Money
    prize_pool: Money
    fee_bps: int
    prize_shares_bps: list[int] | None = None
    team_size: int
    teams: list[Team]
    created_by: str
    created_at: datetime
    starts_by: datetime
    started_at: datetime | None = None
    results_due_at: datetime | None = None
    finished_at: datetime | None = None
    winnings: list[Winning] = []
    abort_reason: str | None = None
    abort_detail: str | None = None
    join_code: str | None = None


class MatchPage(Wire):
    matches: list[Match]
    next_cursor: str | None = None


class Balance(Wire):
    currency: str
    available: int
    in_escrow: int


class Wallet(Wire):
    balances: list[Balance]


class WalletEntry(Wire):
    """One posting on the player's account; `amount` is signed, minor units."""

    entry_id: str
    kind: str
    amount: int
    currency: str
    match_id: str | None = None
    created_at: datetime


class WalletEntryPage(Wire):
    entries: list[WalletEntry]
    next_cursor: str | None = None


class Payment(Wire):
    """Request of a deposit or a withdrawal."""

    amount: Annotated[int, Field(strict=True, ge=1, le=100_000_000)]
    currency: Currency


class PaymentAnswer(Wire):
    payment_id: str
    kind: Literal["deposit", "withdrawal"]
    amount: int
    currency: str
    status: Literal["completed"]
    balance: int


# --- B4: studios and operators ---------------------------------------------------------------------------------------


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


class GameSettingsPatch(Wire):
    """The same fields, each optional: only what is given changes."""

    mode: Literal["sync", "async"] | None = None
    score_order: Literal["high", "low"] | None = None
    discovery: Literal["push", "pull"] | None = None
    fee_bps: Annotated[int, Field(strict=True, ge=0, le=4_000)] | None = None
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
    settings: GameSettings = GameSettings()


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
    oklp_version: Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_printable)]
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


class OperatorGame(StudioGame):
    """A game as operators see it: `studio` is the name."""

    studio: str


class OperatorGamePage(Wire):
    games: list[OperatorGame]
    next_cursor: str | None = None


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


class OperatorProfile(Wire):
    operator_id: str
    username: str
    email: str
    email_verified: bool


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


DeliveryId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(-abort)?$")]
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
    def _teams_of_one_size(self) -> TestEvent:
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
    error: Reason | None = None
    sent: Annotated[bool, Field(strict=True)] = True
    duration_ms: Annotated[int, Field(strict=True, ge=0, le=3_600_000)] = 0
    forwarded_to: Url | None = None

    @model_validator(mode="after")
    def _an_answer_or_none(self) -> ForwardedAnswer:
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


class OperatorReason(Wire):
    reason: Reason


class VettingDecision(Wire):
    decision: Literal["approve", "refuse", "suspend"]
    reason: Reason


class PlayerAction(Wire):
    action: Literal["suspend", "reinstate", "verify"]
    reason: Reason


class HeldDecision(Wire):
    """What happens to winnings held for a suspended player: paid to the player, or kept among the platform's fees."""

    decision: Literal["release", "confiscate"]
    reason: Reason


class HeldWinning(Wire):
    match_id: str
    amount: int
    currency: str
    state: Literal["held", "released", "confiscated"]


class OperatorPlayer(Profile):
    balances: list[Balance]
    held_winnings: list[HeldWinning]
    status_reason: str | None = None


class OperatorPlayerPage(Wire):
    players: list[Profile]
    next_cursor: str | None = None


class SettleRequest(Wire):
    """A result that an operator sets in the game's place: ranking and forfeits, as in A7."""

    reason: Reason
    participants: Annotated[list[ParticipantResult], Field(max_length=128)] = []
    teams: Annotated[list[TeamResult], Field(min_length=1, max_length=16)]


class RefusedResult(Wire):
    received_at: datetime
    reason: str
    body: Any


class RefusedResults(Wire):
    results: list[RefusedResult]


class LedgerPosting(Wire):
    set_id: str
    account: str
    amount: int
    currency: str
    created_at: datetime


class AuditEntry(Wire):
    entry_id: str
    at: datetime
    actor: str
    action: str
    subject: str
    reason: str | None
    detail: Any


class AuditPage(Wire):
    entries: list[AuditEntry]
    next_cursor: str | None = None


class OperatorMatch(Match):
    postings: list[LedgerPosting]
    deliveries: list[Delivery]
    refused_results: list[RefusedResult]
    audit: list[AuditEntry]


class OperatorMatchPage(Wire):
    matches: list[Match]
    next_cursor: str | None = None


class BookFault(Wire):
    check: str
    row: str
    detail: str


class BookTotals(Wire):
    """Sums over the ledger in one currency, minor units."""

    currency: str
    players: int
    escrow: int
    held: int
    platform_fees: int
    studios: int
    clearing: int


class Books(Wire):
    clean: bool
    postings: int
    posting_sets: int
    matches: int
    totals: list[BookTotals]
    faults: list[BookFault]


MailState = Literal["waiting", "sent", "failed"]


class Mail(Wire):
    """A mail of the outbox. What it says is shown in the sandbox alone, since there are links in it that log in."""

    mail_id: str
    kind: str
    recipient: str
    state: MailState
    attempts: int
    created_at: datetime
    next_attempt_at: datetime | None
    sent_at: datetime | None
    last_error: str | None
    subject: str | None
    text: str | None


class MailPage(Wire):
    mails: list[Mail]
    next_cursor: str | None = None


class Health(Wire):
    database: str
    schema_current: bool
    sandbox: bool
    write_queue: int
    read_queue: int
    deliveries_waiting: int
    deliveries_failed: int
    matches_overdue: int

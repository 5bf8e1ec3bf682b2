"""The API of players: people, games, matches, wallets (B3)."""

# Without `from __future__ import annotations`: as texts, they would be compiled at every start.

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from oklp.contract.shared import (
    Amount,
    Currency,
    GameId,
    MatchId,
    MatchStatus,
    MemberState,
    Money,
    Platform,
    TeamId,
    Username,
    Wire,
)


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
    """Minor units, in matches that are over: entry fees paid, and prizes that reached the wallet."""

    currency: str
    paid: int
    won: int


class RecentResult(Wire):
    match_id: str | None = Field(None, description="Of one's own results alone; `paid`, `won` and `held` too.")
    game_id: GameId
    game_name: str
    finished_at: datetime
    place: int
    verdict: MatchVerdict
    paid: Money | None = None
    won: Money | None = None
    held: Literal["held", "released", "confiscated"] | None = Field(
        None,
        description="What became of `won` where it was held, as a suspended player's is; of it, only what was"
        " released reached the wallet.",
    )


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
    kind: Literal[
        "invited", "began", "won", "drawn", "lost", "held", "released", "confiscated", "refunded", "called-off"
    ]
    match_id: MatchId
    amount: Money | None = Field(None, description="The entry fee of an invitation; else what came or did not.")
    reason: str | None = Field(None, description="Why a match was called off: its `abort_reason`; or `all-forfeited`.")
    created_at: datetime
    read: bool


class Unread(Wire):
    unread: int = Field(description="100 stands for 100 and more.")


class NotificationPage(Unread):
    notifications: list[Notification]
    next_cursor: str | None = None


class ReadNotifications(Wire):
    upto: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,18}$")]


NotificationTopic = Literal["winnings", "refunded", "held", "invited", "began", "lost"]


class NotificationChoice(Wire):
    site: Annotated[bool, Field(strict=True)]
    mail: Annotated[bool, Field(strict=True)]


class NotificationChoices(Wire):
    """`winnings` are matches won and drawn, `refunded` those that were called off, `held` winnings that wait."""

    language: Literal["en", "de"] = Field(description="Of mails.")
    topics: dict[NotificationTopic, NotificationChoice]


class Privacy(Wire):
    private: Annotated[bool, Field(strict=True)]


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
    held: int = Field(
        0,
        exclude_if=lambda held: not held,
        description="Winnings about which an operator has yet to decide; left out where there are none.",
    )


class Wallet(Wire):
    balances: list[Balance]


EntryKind = Literal["deposit", "withdrawal", "grant", "hold", "refund", "settle", "held"]


class WalletEntry(Wire):
    """One posting on the player's account; `amount` is signed, minor units, and `balance` what there was after it."""

    entry_id: str
    kind: EntryKind
    amount: int
    currency: str
    balance: int
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


class PaymentRecord(Wire):
    """A deposit or a withdrawal that was made."""

    payment_id: str
    kind: Literal["deposit", "withdrawal"]
    amount: int
    currency: str
    status: Literal["completed"] = "completed"
    created_at: datetime


class PaymentPage(Wire):
    payments: list[PaymentRecord]
    next_cursor: str | None = None

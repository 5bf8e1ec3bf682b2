"""The API of operators: vetting, players, money, ledger, audit, health (B4)."""

# Without `from __future__ import annotations`: as texts, they would be compiled at every start.

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from oklp.contract.games import ParticipantResult, TeamResult
from oklp.contract.players import Balance, Match, Profile
from oklp.contract.shared import Reason, Wire
from oklp.contract.studios import Delivery, StudioGame


class OperatorGame(StudioGame):
    """A game as operators see it: `studio` is the name."""

    studio: str


class OperatorGamePage(Wire):
    games: list[OperatorGame]
    next_cursor: str | None = None


OperatorRole = Literal["support", "finance", "admin"]


class OperatorProfile(Wire):
    operator_id: str
    username: str
    email: str
    email_verified: bool
    role: OperatorRole


class OperatorAccount(OperatorProfile):
    """An operator as the others see him. Without a `second_factor` his password alone lets him in."""

    status: Literal["active", "suspended"]
    second_factor: bool
    created_at: datetime


class OperatorAccounts(Wire):
    operators: list[OperatorAccount]


class OperatorReason(Wire):
    reason: Reason


class OperatorAction(Wire):
    """What an admin decides about an operator; `change-role` comes with the `role`."""

    action: Literal["change-role", "suspend", "reinstate", "remove-factors"]
    role: OperatorRole | None = None
    reason: Reason

    @model_validator(mode="after")
    def _role_where_it_counts(self) -> Self:
        if (self.role is not None) != (self.action == "change-role"):
            raise ValueError("change-role needs a role, and nothing else has one")
        return self


class VettingDecision(Wire):
    decision: Literal["approve", "refuse", "suspend"]
    reason: Reason


class PlayerAction(Wire):
    action: Literal["suspend", "reinstate", "verify", "remove-factors"]
    reason: Reason


class HeldDecision(Wire):
    """What happens to winnings held for a suspended player: paid to the player, or kept among the platform's fees."""

    decision: Literal["release", "confiscate"]
    reason: Reason


ProposalAction = Literal["match.settle", "match.abort", "held-winnings.release", "held-winnings.confiscate"]


class Proposal(Wire):
    """What an operator would have done, and a second one decides on.

    `amount` is what it moves, in minor units: the match's escrow, or what was held for the player `user_id`. `request`
    is what was asked for, as it was sent. A proposal that its own proposer has withdrawn has no `decided_by`, and is
    over since `decided_at`. It is `obsolete` when its match has ended otherwise.
    """

    proposal_id: str
    action: ProposalAction
    match_id: str
    user_id: str | None
    amount: int
    currency: str
    request: Any
    reason: str
    proposed_by: str
    proposed_at: datetime
    expires_at: datetime
    state: Literal["waiting", "approved", "declined", "expired", "withdrawn", "obsolete"]
    decided_by: str | None = None
    decided_at: datetime | None = None
    decision_reason: str | None = None


class Proposed(Proposal):
    """The answer to what takes two persons: nothing was done yet."""

    ANSWER_STATUS: ClassVar[int] = 202


class ProposalPage(Wire):
    proposals: list[Proposal]
    next_cursor: str | None = None


class ProposalDecision(Wire):
    decision: Literal["approve", "decline"]
    reason: Reason


class HeldWinning(Wire):
    match_id: str
    amount: int
    currency: str
    state: Literal["held", "released", "confiscated"]


class OperatorPlayer(Profile):
    """A player as operators see him. Without a `second_factor` his password alone lets him in."""

    balances: list[Balance]
    held_winnings: list[HeldWinning]
    status_reason: str | None = None
    second_factor: bool = False


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
    """`more`: others came, and were not kept."""

    results: list[RefusedResult]
    more: bool


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


class MatchLaunch(Wire):
    """Somebody pressed *Play*; the token that the game was opened with is not kept, only its hash is.

    Known until thirty days after the token's end. `asked_at` is when the game first asked about it; null where that is
    not known.
    """

    user_id: str
    launched_at: datetime
    token_expires_at: datetime
    asked_at: datetime | None


class OperatorMatch(Match):
    postings: list[LedgerPosting]
    deliveries: list[Delivery]
    launches: list[MatchLaunch]
    refused_results: list[RefusedResult]
    more_refused_results: bool  # others came, and were not kept
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


class BooksVerification(Wire):
    """A run of the verification. `lost`: its server has ended. How far it is, the server knows that does it."""

    run_id: str
    state: Literal["running", "done", "lost"]
    begun_by: str
    begun_at: datetime
    ended_at: datetime | None = None
    checks_made: int | None = None
    checks: int | None = None
    books: Books | None = None


class PostingPage(Wire):
    postings: list[LedgerPosting]
    next_cursor: str | None = None


class FoundThing(Wire):
    """The name of a payment is the account of the player whose it is. A member of a studio is found as the studio."""

    kind: Literal["match", "player", "studio", "operator", "game", "delivery", "payment", "account"]
    id: str
    name: str


class FoundThings(Wire):
    """`more` says that there is more than `found` shows."""

    found: list[FoundThing]
    more: bool


class HourOfMatches(Wire):
    """How the matches that were made in an hour, from `at` on, stand now."""

    at: datetime
    made: int
    aborted: int


class RefusedOfMatch(RefusedResult):
    match_id: str


class EscrowTotal(Wire):
    """Minor units of the entry fees of matches that are not over."""

    currency: str
    amount: int


class OperatorOverview(Wire):
    """What goes on: the newest of each list, at the most six. `counting_lag_ms` as in `Health`."""

    pending: int
    starting: int
    live: int
    escrow: list[EscrowTotal]
    deliveries_waiting: int
    deliveries_failed: int
    matches_overdue: int
    counting_lag_ms: int
    hours: list[HourOfMatches]
    oldest_live: list[Match]
    failed_deliveries: list[Delivery]
    refused_results: list[RefusedOfMatch]
    games_in_review: list[OperatorGame]


class Health(Wire):
    """`counting_lag_ms`: how long the oldest event has waited to be counted for players' results and told to them."""

    database: str
    schema_current: bool
    sandbox: bool
    write_queue: int
    read_queue: int
    deliveries_waiting: int
    deliveries_failed: int
    matches_overdue: int
    counting_lag_ms: int

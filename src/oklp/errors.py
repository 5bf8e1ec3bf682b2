"""Every refusal that OKLP makes, in one tree. Each has a stable `code`, an HTTP status and a title.

    OklpError
    ├── InvalidRequest        422  invalid-request       a field is at fault; `errors` names it
    │   └── IdempotencyReuse  422  idempotency-reuse     the key was used with another body
    ├── MalformedRequest      400  malformed-request     not JSON, not a form, not decodable
    │   ├── RequestTooLarge   413  request-too-large
    │   │   └── HeadTooLarge  431  head-too-large        the address and the headers
    │   └── RequestTimedOut   408  request-timed-out     not all of it has come
    ├── Unauthenticated       401  unauthenticated       no credentials, or not valid ones
    │   └── SecondFactorRequired 401  second-factor-required  the password is right, and not enough
    ├── Forbidden             403  forbidden             known, and not allowed
    │   ├── RoleMissing       403  role-missing          an operator whose role may not do this
    │   ├── SecondFactorMissing 403  second-factor-missing  an operator who has none yet
    │   ├── AccountSuspended  403  account-suspended     a player who may begin nothing
    │   └── NotVerified       403  not-verified          a player who may play free matches alone
    ├── NotFound              404  not-found             or not the caller's to know of
    ├── MethodNotAllowed      405  method-not-allowed
    ├── Conflict              409  conflict              the state does not allow it
    │   ├── WrongState        409  wrong-state           a match or review in another state
    │   │   ├── GameSuspended 409  game-suspended        no match of it is made or begun
    │   │   └── PaymentsSuspended 409  payments-suspended  those of a suspended player
    │   ├── MatchFull         409  match-full            no free seat
    │   ├── InsufficientFunds 409  insufficient-funds
    │   ├── NameTaken         409  name-taken            username or slug is in use
    │   └── LimitReached      409  limit-reached         a bound that protects the books
    ├── TooManyRequests       429  too-many-requests     has `retry_after_seconds`
    ├── Unavailable           503  unavailable           has `retry_after_seconds`
    │   ├── Overloaded        503  overloaded            a queue is full
    │   └── MatchStarting     503  match-starting        the game is still being told
    └── InvariantBroken       500  internal              a bug; never caused by input

A refusal is part of the contract (section B1), so codes are documented in `docs/errors.md` and never change meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field at fault: `field` is a dotted path in the request (`teams.0.ranking`)."""

    field: str
    message: str


class OklpError(Exception):
    """The root. `detail` is a sentence for people; `errors` names the fields at fault."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(
        self,
        detail: str,
        *,
        errors: tuple[FieldError, ...] = (),
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors
        self.retry_after_seconds = retry_after_seconds

    def members(self) -> dict[str, object]:
        """Further members of the problem (RFC 9457, section 3.2)."""
        return {}


class InvalidRequest(OklpError):
    code, status, title = "invalid-request", 422, "A field is not valid"


def invalid(field: str, message: str) -> InvalidRequest:
    """The usual InvalidRequest: one field at fault, with `detail` saying the same in a sentence."""
    return InvalidRequest(f"{field}: {message}", errors=(FieldError(field, message),))


class IdempotencyReuse(InvalidRequest):
    code, title = "idempotency-reuse", "The idempotency key was used for another request"


class MalformedRequest(OklpError):
    code, status, title = "malformed-request", 400, "The request cannot be read"


class RequestTooLarge(MalformedRequest):
    code, status, title = "request-too-large", 413, "The request is too large"


class HeadTooLarge(RequestTooLarge):
    """The address and the headers together (RFC 6585, section 5)."""

    code, status, title = "head-too-large", 431, "The head of the request is too large"


class RequestTimedOut(MalformedRequest):
    """It took too long to arrive (RFC 9110, section 15.5.9)."""

    code, status, title = "request-timed-out", 408, "The request took too long"


class Unauthenticated(OklpError):
    """`token_refused`: a token was sent, and is unknown, expired or for something else (RFC 6750: `invalid_token`)."""

    code, status, title = "unauthenticated", 401, "Valid credentials are needed"

    def __init__(
        self,
        detail: str,
        *,
        errors: tuple[FieldError, ...] = (),
        retry_after_seconds: int | None = None,
        token_refused: bool = False,
    ) -> None:
        super().__init__(detail, errors=errors, retry_after_seconds=retry_after_seconds)
        self.token_refused = token_refused


class SecondFactorRequired(Unauthenticated):
    """The first step of a log-in is done. `pending_token` and one of `methods` do the second."""

    code, title = "second-factor-required", "A second factor is needed"

    def __init__(self, detail: str, *, pending_token: str, methods: tuple[str, ...], expires_in: int) -> None:
        super().__init__(detail)
        self.pending_token = pending_token
        self.methods = methods
        self.expires_in = expires_in

    def members(self) -> dict[str, object]:
        return {"pending_token": self.pending_token, "methods": list(self.methods), "expires_in": self.expires_in}


class Forbidden(OklpError):
    code, status, title = "forbidden", 403, "Not allowed"


class RoleMissing(Forbidden):
    code, title = "role-missing", "The role may not do this"


class SecondFactorMissing(Forbidden):
    code, title = "second-factor-missing", "A second factor has to be set up first"


class AccountSuspended(Forbidden):
    code, title = "account-suspended", "The account is suspended"


class NotVerified(Forbidden):
    code, title = "not-verified", "The player is not verified"


class NotFound(OklpError):
    code, status, title = "not-found", 404, "Not found"


class MethodNotAllowed(OklpError):
    """The address is there, and does not take this HTTP method."""

    code, status, title = "method-not-allowed", 405, "Method not allowed"


class Conflict(OklpError):
    code, status, title = "conflict", 409, "The state does not allow this"


class WrongState(Conflict):
    code, title = "wrong-state", "Not possible in this state"


class GameSuspended(WrongState):
    code, title = "game-suspended", "The game is suspended"


class PaymentsSuspended(WrongState):
    """Of a suspended player: they wait for an operator."""

    code, title = "payments-suspended", "Payments wait for an operator"


class MatchFull(Conflict):
    code, title = "match-full", "No seat is free"


class InsufficientFunds(Conflict):
    code, title = "insufficient-funds", "Not enough money"


class NameTaken(Conflict):
    code, title = "name-taken", "Already in use"


class LimitReached(Conflict):
    code, title = "limit-reached", "A limit is reached"


class TooManyRequests(OklpError):
    code, status, title = "too-many-requests", 429, "Too many requests"


class Unavailable(OklpError):
    code, status, title = "unavailable", 503, "Not available right now"


class Overloaded(Unavailable):
    code, title = "overloaded", "The server is busy"


class MatchStarting(Unavailable):
    code, title = "match-starting", "The match is starting"


class InvariantBroken(OklpError):
    """A bug in OKLP: something that must hold does not. The transaction is rolled back."""

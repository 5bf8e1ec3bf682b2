"""What every part of the wire shares: the kinds of its values, problems and money (B1, B2)."""

# Without `from __future__ import annotations`: as texts, they would be compiled at every start.

import re
from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

MAX_SCORE = 2**53 - 1
MAX_AMOUNT = 2**53 - 1
SCOPE = "olp-report-api"
CLIENT_CREDENTIALS = "client_credentials"

# Surrogates are no characters: half of a pair can be written in JSON, and in no database and no UTF-8. Separators of
# lines begin one in a mail, and overrides of the direction make a name read as another one.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_LINE_END = re.compile(r"\r\n?")
_ISO_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def printable(value: str) -> str:
    """The text, when it has no control characters and no lone surrogates. Raises ValueError."""
    if _UNPRINTABLE.search(value):
        raise ValueError("must not contain control characters")
    return value


def _lines(value: object) -> object:
    """With one kind of line break, whichever the writer's system has: browsers send two characters for each."""
    return _LINE_END.sub("\n", value) if isinstance(value, str) else value


def _written(value: str) -> str:
    """The text, when but for line breaks and tabs it is printable. Raises ValueError."""
    printable(value.replace("\n", " ").replace("\t", " "))
    return value


def _visible(value: str) -> str:
    """A name of which something is seen: there are characters without a width. Raises ValueError."""
    if not any(character.isprintable() and not character.isspace() for character in value):
        raise ValueError("must not be invisible")
    return printable(value)


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
    str,
    StringConstraints(min_length=1, max_length=500, strip_whitespace=True),
    AfterValidator(_written),
    BeforeValidator(_lines),
]
Line = Annotated[str, StringConstraints(min_length=1, max_length=500, strip_whitespace=True), AfterValidator(printable)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=80, strip_whitespace=True), AfterValidator(_visible)]
Url = Annotated[str, StringConstraints(min_length=1, max_length=2_000), AfterValidator(printable)]
LogInName = Annotated[str, StringConstraints(min_length=1, max_length=254), AfterValidator(printable)]
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
    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)


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

"""The protocol of the game API without any I/O: what to send, how to read the answer, when to try again.

An *exchange* is a generator that yields steps (`Authorize`, `Send`, `Wait`) and is sent what came of each. The two
clients differ only in how they carry the steps out, so that retries, token renewal and errors are written, and tested,
once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from typing import Generic, TypeAlias, TypeVar
from urllib.parse import quote, urlencode

from pydantic import ValidationError

import oklp
from oklp.contract import (
    CLIENT_CREDENTIALS,
    SCOPE,
    DeveloperConfig,
    FinishAnswer,
    FinishRequest,
    GameMatch,
    GameMatchPage,
    GameUser,
    ParticipantResult,
    Problem,
    TeamResult,
    TokenAnswer,
    TokenInfo,
    TokenInfoRequest,
)
from oklp.errors import FieldError, InvariantBroken
from oklp.sdk.errors import (
    ApiError,
    ConfigError,
    InvalidCallError,
    SdkError,
    UnexpectedAnswerError,
    UnreachableError,
    api_error_class,
    is_passing,
)

T = TypeVar("T")

Participants: TypeAlias = Mapping[str, int] | Iterable[ParticipantResult]
"""Scores by user id, or results as the wire has them."""

_ACCEPT = "application/json, application/problem+json"
_LONGEST_QUOTE = 200
# Whatever an answer says: numbers beyond any time cannot be reckoned with.
_LONGEST_LIFE_SECONDS = 365 * 24 * 3600


# --- Calls -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request of the API. `parse` makes the result of a successful body, or raises ValueError."""

    method: str
    url: str
    parse: Callable[[bytes], T]
    content: bytes | None = field(default=None, repr=False)
    content_type: str | None = None
    authorized: bool = True

    def headers(self, token: str | None) -> dict[str, str]:
        headers = {"accept": _ACCEPT, "user-agent": f"oklp-python/{oklp.__version__}"}
        if self.content_type is not None:
            headers["content-type"] = self.content_type
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        return headers


def finish_request(
    match_id: str, participants: Participants, teams: Iterable[TeamResult] | None = None
) -> FinishRequest:
    """The body of a report (A7). Raises InvalidCallError."""
    with _refusing_arguments("finish"):
        result = {
            "match_id": match_id,
            "participants": [{"id": user_id, "score": score} for user_id, score in participants.items()]
            if isinstance(participants, Mapping)
            else list(participants),
            "teams": None if teams is None else list(teams),
        }
        request = FinishRequest.model_validate(result)
    if request.teams == []:
        # The platform reads it as no teams at all, which is not what somebody who gives a list has in mind.
        message = "must not be empty; leave it out in an asynchronous game"
        raise InvalidCallError(f"finish: teams: {message}", (FieldError("teams", message),))
    return request


class Calls:
    """Builds every call that a game server makes with its developer configuration."""

    def __init__(self, config: DeveloperConfig) -> None:
        self._config = config
        self._base = f"{config.okletsplay_url.rstrip('/')}/api/game/v1"

    def token(self) -> Call[TokenAnswer]:
        """`POST token_url`, section A2. Raises ConfigError when the configuration holds no client secret."""
        authentication = self._config.authentication
        if not authentication.client_secret:
            raise ConfigError(
                "authentication.client_secret: is missing; it is in the first download and in the one after a rotation"
            )
        form = {
            "client_id": authentication.client_id,
            "client_secret": authentication.client_secret,
            "grant_type": CLIENT_CREDENTIALS,
            "scope": SCOPE,
        }
        return Call(
            "POST",
            authentication.token_url,
            _token_answer,
            content=urlencode(form).encode("ascii"),
            content_type="application/x-www-form-urlencoded",
            authorized=False,
        )

    def token_info(self, token: str) -> Call[TokenInfo]:
        """`POST /token-info`, section A6."""
        with _refusing_arguments("token_info"):
            body = TokenInfoRequest(token=token).model_dump_json()
        return self._post("/token-info", body, TokenInfo.model_validate_json)

    def finish(
        self, match_id: str, participants: Participants, teams: Iterable[TeamResult] | None = None
    ) -> Call[FinishAnswer]:
        """`POST /finish`, section A7. The body is made once, so that every retry is identical."""
        body = finish_request(match_id, participants, teams).model_dump_json(exclude_none=True)
        return self._post("/finish", body, FinishAnswer.model_validate_json)

    def matches(
        self, *, status: str | None, user_id: str | None, cursor: str | None, limit: int | None
    ) -> Call[GameMatchPage]:
        """`GET /matches`, section A4: one page."""
        given = {"status": status, "user_id": user_id, "cursor": cursor, "limit": limit}
        query = urlencode({name: value for name, value in given.items() if value is not None})
        return self._get(f"/matches?{query}" if query else "/matches", GameMatchPage.model_validate_json)

    def match(self, match_id: str) -> Call[GameMatch]:
        """`GET /matches/{match_id}`, section A4."""
        return self._get(f"/matches/{_segment(match_id, 'match_id')}", GameMatch.model_validate_json)

    def user(self, user_id: str) -> Call[GameUser]:
        """`GET /users/{user_id}`, section A4."""
        return self._get(f"/users/{_segment(user_id, 'user_id')}", GameUser.model_validate_json)

    def _get(self, path: str, parse: Callable[[bytes], T]) -> Call[T]:
        return Call("GET", self._base + path, parse)

    def _post(self, path: str, body: str, parse: Callable[[bytes], T]) -> Call[T]:
        return Call("POST", self._base + path, parse, content=body.encode("utf-8"), content_type="application/json")


def _token_answer(body: bytes) -> TokenAnswer:
    answer = TokenAnswer.model_validate_json(body)
    if not answer.access_token.isascii() or not answer.access_token.isprintable():
        raise ValueError("an access token that no header can hold")
    return answer


@contextmanager
def _refusing_arguments(method: str) -> Iterator[None]:
    """Turns what the wire models refuse into an InvalidCallError that does not quote the values."""
    try:
        yield
    except ValidationError as error:
        faults = tuple(
            FieldError(".".join(map(str, fault["loc"])), fault["msg"])
            for fault in error.errors(include_input=False, include_url=False)
        )
        message = "; ".join(f"{fault.field}: {fault.message}" for fault in faults)
        raise InvalidCallError(f"{method}: {message}", faults) from None


def _segment(value: str, name: str) -> str:
    """`value` as one segment of a path, whatever is in it."""
    try:
        segment = quote(value, safe="")
    except UnicodeError:
        segment = ""
    if segment in ("", ".", ".."):
        raise InvalidCallError(f"{name}: is not an id", (FieldError(name, "is not an id"),)) from None
    return segment


# --- Steps and what comes of them ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Authorize:
    """A token is wanted: any but `refused`, which the platform has just turned down."""

    refused: str | None


@dataclass(frozen=True, slots=True)
class Send:
    """A request is to be sent. Redirects are not followed: they would carry the credentials elsewhere."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    content: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float


Step: TypeAlias = Authorize | Send | Wait


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer. `headers` is looked up by lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """The request failed beneath HTTP: `reason` says how, and whether another attempt may go better."""

    reason: str
    retryable: bool
    cause: Exception | None = None


Exchange: TypeAlias = Generator[Step, "Answer | NoAnswer | str | None", T]


# --- Retries ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how soon a call is repeated after a connection error, a 408, 425, 429 or 5xx.

    The wait doubles from `first_wait_seconds` to `longest_wait_seconds`; chance takes up to half of it off, so that
    clients that failed together do not come back together. `Retry-After` is a lower bound. No wait begins that would
    end later than `budget_seconds` after the call was made: then the last failure is raised at once.
    """

    attempts: int = 6
    first_wait_seconds: float = 0.25
    longest_wait_seconds: float = 8.0
    budget_seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError("attempts must be at least 1")
        if not 0 <= self.first_wait_seconds <= self.longest_wait_seconds:
            raise ValueError("first_wait_seconds must be between 0 and longest_wait_seconds")

    def wait_seconds(self, attempt: int, chance: float, retry_after_seconds: float | None) -> float:
        """The wait after failed attempt number `attempt`, from 1. `chance` is from 0 up to 1."""
        longest = min(self.first_wait_seconds * 2.0 ** min(attempt - 1, 32), self.longest_wait_seconds)
        wait = longest * (1 - chance / 2)
        if retry_after_seconds is None:
            return wait
        return max(wait, retry_after_seconds + self.first_wait_seconds * chance)


def exchange(
    call: Call[T], policy: RetryPolicy, clock: Callable[[], float], chance: Callable[[], float]
) -> Exchange[T]:
    """The whole life of one call: authorize, send, renew the token once after a 401, retry, parse. Raises SdkError.

    `clock` gives seconds that never go back; `chance` a number from 0 up to 1.
    """
    started = clock()
    attempt = 0
    refused: str | None = None
    while True:
        token: str | None = None
        if call.authorized:
            given = yield Authorize(refused)
            if not isinstance(given, str):
                raise InvariantBroken("an exchange that asked for a token was given none")
            token = given
        reply = yield Send(call.method, call.url, call.headers(token), call.content)
        if not isinstance(reply, Answer | NoAnswer):
            raise InvariantBroken("an exchange that sent a request was given no reply")
        if isinstance(reply, Answer) and 200 <= reply.status < 300:
            return _parsed(call, reply)
        if isinstance(reply, Answer) and reply.status == 401 and token is not None and refused is None:
            # The token may have been revoked, or its key withdrawn, before its time. With a new one it is said for
            # good.
            refused = token
            continue
        attempt += 1
        retry_after_seconds = _retry_after_seconds(reply)
        wait = policy.wait_seconds(attempt, chance(), retry_after_seconds)
        too_late = clock() + wait - started > policy.budget_seconds
        if not _is_retryable(reply) or attempt >= policy.attempts or too_late:
            cause = reply.cause if isinstance(reply, NoAnswer) else None
            raise _failure(call, reply, attempt, retry_after_seconds) from cause
        yield Wait(wait)


def _is_retryable(reply: Answer | NoAnswer) -> bool:
    if isinstance(reply, NoAnswer):
        return reply.retryable
    return is_passing(reply.status)


def _retry_after_seconds(reply: Answer | NoAnswer) -> float | None:
    """`Retry-After` (RFC 9110 §10.2.3). A date counts from the answer's own `Date`, so that no clock has to be
    right.
    """
    if isinstance(reply, NoAnswer):
        return None
    value = reply.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit() and len(value) <= 9:
        return float(value)
    try:
        until = parsedate_to_datetime(value)
        sent = parsedate_to_datetime(reply.headers.get("date", ""))
        return max(0.0, (until - sent).total_seconds())
    except (TypeError, ValueError):
        return None


# --- Answers ---------------------------------------------------------------------------------------------------------


def _parsed(call: Call[T], answer: Answer) -> T:
    try:
        return call.parse(answer.body)
    except ValueError:
        # Not chained: a validation error quotes its input, and the answer of the token endpoint is a secret.
        message = f"{call.method} {call.url} answered {answer.status} with something that is not of the contract"
        raise UnexpectedAnswerError(message, answer.status) from None


def _failure(call: Call[T], reply: Answer | NoAnswer, attempts: int, retry_after_seconds: float | None) -> SdkError:
    if isinstance(reply, NoAnswer):
        times = "1 attempt" if attempts == 1 else f"{attempts} attempts"
        return UnreachableError(f"no answer from {call.method} {call.url} after {times}: {reply.reason}", attempts)
    if reply.status < 400:
        return UnexpectedAnswerError(f"{call.method} {call.url} answered {reply.status}", reply.status)
    return _refusal(reply, retry_after_seconds)


def _refusal(answer: Answer, retry_after_seconds: float | None) -> ApiError:
    """The ApiError of an answer: its problem (RFC 9457), its OAuth error (RFC 6749 §5.2), or the bare status."""
    make = api_error_class(answer.status)
    try:
        problem = Problem.model_validate_json(answer.body)
    except ValidationError:
        title, detail, code = _oauth_or_text(answer)
        return make(
            status=answer.status, title=title, detail=detail, code=code, retry_after_seconds=retry_after_seconds
        )
    return make(
        status=answer.status,
        title=problem.title,
        detail=problem.detail,
        type=problem.type,
        code=_code(problem.type),
        errors=tuple(FieldError(fault.field, fault.message) for fault in problem.errors or ()),
        retry_after_seconds=retry_after_seconds,
    )


def _oauth_or_text(answer: Answer) -> tuple[str, str, str]:
    """Title, detail and code of an answer without a problem."""
    try:
        error = json.loads(answer.body)
    except (ValueError, RecursionError):
        error = None
    if isinstance(error, dict) and isinstance(error.get("error"), str):
        code = error["error"]
        return code, str(error.get("error_description") or code), code
    text = answer.body[: 4 * _LONGEST_QUOTE].decode("utf-8", "replace")
    shown = "".join(c if c.isprintable() else " " for c in text).strip()[:_LONGEST_QUOTE]
    return "Not a problem document", shown, ""


def _code(problem_type: str) -> str:
    """The last word of a problem's `type`: `https://…/errors#not-found` and `urn:oklp:not-found` are both
    `not-found`.
    """
    return problem_type.replace("#", "/").replace(":", "/").rstrip("/").rpartition("/")[2]


# --- Tokens ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _HeldToken:
    token: str = field(repr=False)
    renew_at: float
    expires_at: float


class TokenCache:
    """The access token in use. Until it expires it can be used; renewal is due ahead of that, when three quarters of
    its life have passed or, if that is later, 30 seconds are left. Times are of the clock that `exchange` is given.

    What is held is replaced as a whole, never changed, so that threads may read without a lock.
    """

    def __init__(self) -> None:
        self._held: _HeldToken | None = None
        self._refused: str | None = None

    def usable(self, now: float) -> str | None:
        held = self._held
        if held is None or held.token == self._refused or now >= held.expires_at:
            return None
        return held.token

    def fresh(self, now: float) -> str | None:
        """The token, if it is usable and need not be renewed yet."""
        held = self._held
        return self.usable(now) if held is not None and now < held.renew_at else None

    def store(self, answer: TokenAnswer, asked_at: float) -> str:
        """Life is counted from when the token was asked for, so that it never ends later here than at the platform."""
        life = min(max(0, answer.expires_in), _LONGEST_LIFE_SECONDS)
        self._held = _HeldToken(answer.access_token, asked_at + max(life * 0.75, life - 30), asked_at + life)
        return answer.access_token

    def refuse(self, token: str) -> None:
        """Stop using `token`. When another is in use already nothing changes: calls that failed together renew once."""
        held = self._held
        if held is not None and held.token == token:
            self._refused = token

    def postpone(self, now: float) -> None:
        """A renewal ahead of time failed: keep to the token in use for a while before the next attempt."""
        held = self._held
        if held is not None:
            self._held = replace(held, renew_at=now + max(1.0, (held.expires_at - now) / 4))

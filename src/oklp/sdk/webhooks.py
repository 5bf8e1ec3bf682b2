"""Receiving match info webhooks (contract section A3), in any framework.

    from oklp.sdk import MatchAborted, MatchStarted, OklpError, WebhookVerifier

    verifier = WebhookVerifier("developer-config.json")

    def match_info(request):
        try:
            event = verifier.verify(request.method, request.headers, request.body)
        except OklpError as refusal:
            return refusal.status
        if isinstance(event, MatchStarted):
            start(event.match_id, event.participants)
        return 200

A request is believed when its Bearer token is from the platform's issuer for this game and, where the configuration
holds a webhook secret, the body's signature holds as well. Without a secret nothing ties the body to the token, so keep
the secret in the configuration.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from types import MappingProxyType, TracebackType
from typing import Annotated, Any, ClassVar, Final, Protocol, TypeAlias

import httpx
from pydantic import ConfigDict, Field, ValidationError

from oklp.contract import MatchInfo, Participant, TeamRef
from oklp.errors import FieldError, MalformedRequest, RequestTooLarge, Unauthenticated, Unavailable
from oklp.sdk.config import ConfigSource, load_config
from oklp.sdk.errors import ApiError, ConfigError, SdkError, UnavailableError, UnexpectedAnswerError
from oklp.sdk.requests import Call, Exchange, RetryPolicy, exchange
from oklp.sdk.transport import AsyncSingleFlight, AsyncTransport, SingleFlight, SyncTransport
from oklp.signing import (
    WEBHOOK_ID,
    WEBHOOK_SIGNATURE,
    WEBHOOK_TIMESTAMP,
    WEBHOOK_TOLERANCE_SECONDS,
    UnknownKey,
    UnusableKey,
    VerifyingKeys,
    check_webhook_secret,
    verify_webhook,
)

MAX_BODY_BYTES: Final = 262_144
LEEWAY_SECONDS: Final = 30
KEYS_MAX_AGE_SECONDS: Final = 3_600
# Whoever sends made-up key ids can make the receiver ask the platform for keys, but no more often than this.
REFETCH_INTERVAL_SECONDS: Final = 5.0
# With no keys at all nothing can be answered, so the next try comes sooner.
_FIRST_FETCH_INTERVAL_SECONDS: Final = 1.0
# The platform waits 10 seconds for the answer to its PUT, and fetching keys is a part of that.
_FETCH_TIMEOUT_SECONDS: Final = 2.5
# The JWK Set and, from an issuer without one, the realm document: both in that time, however slowly they come.
_FETCH_LONGEST_SECONDS: Final = 4.0
_FETCH_RETRY: Final = RetryPolicy(attempts=3, first_wait_seconds=0.1, budget_seconds=2.0)
# Where there are keys already, fetching them anew is not worth more than one attempt.
_REFRESH: Final = RetryPolicy(attempts=1)
_SEEN_CAPACITY: Final = 100_000


class Headers(Protocol):
    """Any mapping of header names to values, or multi-mapping: of Starlette, werkzeug, Django, httpx, or a dict."""

    def items(self) -> Iterable[tuple[str, str]]: ...


# --- Events ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Event:
    """`info` is the body as section A3 has it, `extra` what else was in it.

    `duplicate` says that this very delivery was seen before: the platform may deliver twice, and a recorded request may
    be played back within the tolerance of its timestamp. It speaks only of deliveries that this process remembers, so
    that the match itself, by its id, remains what a game must not start twice. Answer 200 in either case.
    """

    info: MatchInfo
    webhook_id: str | None
    duplicate: bool
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def match_id(self) -> str:
        return self.info.match_id

    @property
    def participants(self) -> list[Participant]:
        return self.info.participants

    @property
    def teams(self) -> list[TeamRef]:
        return self.info.teams


@dataclass(frozen=True, slots=True)
class MatchStarted(_Event):
    """All have paid. Answering 200 starts the match; anything else aborts it and returns every entry fee."""


@dataclass(frozen=True, slots=True)
class MatchAborted(_Event):
    """The match is off and all fees went back. It may be one that this game never heard of."""


@dataclass(frozen=True, slots=True)
class TestEvent(_Event):
    """A studio asked for a test of the webhook. There is no such match; answer 200 and do nothing."""

    __test__: ClassVar[bool] = False  # Not a test case, whatever a collector of tests makes of the name.


WebhookEvent: TypeAlias = MatchStarted | MatchAborted | TestEvent


class _Body(MatchInfo):
    model_config = ConfigDict(extra="allow", frozen=True)

    test: Annotated[bool, Field(strict=True)] = False


# --- What needs no I/O -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Request:
    """A request whose signature, where one is asked for, has been checked."""

    method: str
    token: str = field(repr=False)
    webhook_id: str | None
    body: bytes = field(repr=False)


class _Seen:
    """Names of deliveries, remembered for as long as a playback of the same request would still be taken."""

    def __init__(self) -> None:
        self._until: OrderedDict[str, float] = OrderedDict()
        self._lock = Lock()

    def before(self, name: str, now: float, until: float) -> bool:
        """Whether `name` is known; from now on it is."""
        with self._lock:
            while self._until and (len(self._until) >= _SEEN_CAPACITY or next(iter(self._until.values())) <= now):
                self._until.popitem(last=False)
            known = name in self._until
            self._until[name] = max(until, self._until.get(name, until))
            return known


class _Core:
    """What both verifiers have in common: every check, the keys in use, and how to fetch them."""

    def __init__(
        self,
        config: ConfigSource,
        tolerance_seconds: float,
        clock: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        authentication = load_config(config).authentication
        self._issuer = authentication.public_key_url
        self._audience = authentication.client_id
        self._secrets = [authentication.webhook_secret] if authentication.webhook_secret else []
        try:
            for secret in self._secrets:
                check_webhook_secret(secret)
        except UnusableKey as error:
            raise ConfigError(f"authentication.webhook_secret: {error}") from None
        self._tolerance_seconds = tolerance_seconds
        self._clock = clock
        self._chance = chance
        self._seen = _Seen()
        self._keys: VerifyingKeys | None = None
        self._fetched_at = 0.0
        self._tried_at: float | None = None

    @property
    def signed(self) -> bool:
        """Whether requests must be signed: whether the configuration holds a webhook secret."""
        return bool(self._secrets)

    def _open(self, method: str, headers: Headers, body: bytes) -> _Request:
        """Checks what can be checked without keys. The signature comes before the token, so that where a secret is
        configured no stranger gets as far as making this process ask the platform for keys.
        """
        if len(body) > MAX_BODY_BYTES:
            raise RequestTooLarge(f"The body is larger than {MAX_BODY_BYTES} bytes.")
        named = _named(headers)
        if self._secrets:
            verify_webhook(
                self._secrets,
                named,
                body,
                now_seconds=self._clock(),
                tolerance_seconds=self._tolerance_seconds,
            )
        scheme, _, token = named.get("authorization", "").strip().partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated("A Bearer token is needed.")
        return _Request(method.upper(), token.strip(), named.get(WEBHOOK_ID), body)

    def _claims(self, request: _Request, keys: VerifyingKeys) -> dict[str, Any]:
        claims = keys.verify(
            request.token,
            issuer=self._issuer,
            audience=self._audience,
            now_seconds=self._clock(),
            leeway_seconds=LEEWAY_SECONDS,
        )
        # A start that is played back as a DELETE would call its match off: no signature covers the method. A platform
        # that does not say which it is for is taken at its word, as the contract asks for no more.
        if claims.get("htm", request.method) != request.method:
            raise Unauthenticated("The token is for another method.")
        return claims

    def _event(self, request: _Request, claims: Mapping[str, Any]) -> WebhookEvent:
        if request.method not in ("PUT", "DELETE"):
            raise MalformedRequest("A match info webhook is a PUT or a DELETE.")
        try:
            body = _Body.model_validate_json(request.body)
        except ValidationError as error:
            faults = tuple(
                FieldError(".".join(map(str, fault["loc"])), fault["msg"])
                for fault in error.errors(include_input=False, include_url=False)
            )
            raise MalformedRequest("The body is not match info.", errors=faults) from None
        info = MatchInfo(match_id=body.match_id, participants=body.participants, teams=body.teams)
        extra = MappingProxyType(dict(body.model_extra or {}))
        duplicate = self._is_duplicate(request, claims)
        kind: type[WebhookEvent] = MatchStarted if request.method == "PUT" else MatchAborted
        if request.method == "PUT" and body.test:
            kind = TestEvent
        return kind(info=info, webhook_id=request.webhook_id, duplicate=duplicate, extra=extra)

    def _is_duplicate(self, request: _Request, claims: Mapping[str, Any]) -> bool:
        now = self._clock()
        if self._secrets:
            # The signature covers the webhook-id, and ends with the tolerance around its timestamp.
            return self._seen.before(f"id:{request.webhook_id}", now, now + 2 * self._tolerance_seconds)
        # Without a signature anyone could write a webhook-id. What a playback cannot change are the token and the body;
        # both, since the platform is free to use a token for more than one delivery.
        digest = hashlib.sha256(request.method.encode("ascii") + request.body).hexdigest()
        return self._seen.before(f"jti:{claims.get('jti')}:{digest}", now, claims["exp"] + LEEWAY_SECONDS)

    def _recently_tried(self, interval_seconds: float) -> bool:
        # A wall clock may have been set back: then "recently" is not taken to last until it catches up.
        return self._tried_at is not None and 0 <= self._clock() - self._tried_at < interval_seconds

    def _fresh_keys(self) -> VerifyingKeys | None:
        """The keys in use, unless they should be fetched anew: a key withdrawn by the platform is to be forgotten here
        in the end. While the platform cannot be asked, old keys stay in use.
        """
        fresh = 0 <= self._clock() - self._fetched_at < KEYS_MAX_AGE_SECONDS
        return self._keys if fresh or self._recently_tried(REFETCH_INTERVAL_SECONDS) else None

    def _newer_keys(self, used: VerifyingKeys) -> VerifyingKeys | None:
        """Keys that came in while `used` were in use."""
        return self._keys if self._keys is not used else None

    def _fetch(self, policy: RetryPolicy) -> Exchange[VerifyingKeys]:
        """The issuer's JWK Set or, from an issuer without one, the single key of the realm document (A2)."""
        realm = self._issuer.rstrip("/")
        jwks: Call[VerifyingKeys] = Call("GET", f"{realm}/protocol/openid-connect/certs", _jwks, authorized=False)
        document: Call[VerifyingKeys] = Call("GET", self._issuer, _realm_key, authorized=False)
        try:
            try:
                keys = yield from exchange(jwks, policy, time.monotonic, self._chance)
            except UnavailableError:
                raise
            except (ApiError, UnexpectedAnswerError):
                keys = yield from exchange(document, policy, time.monotonic, self._chance)
            self._keys = keys
            self._fetched_at = self._clock()
            return keys
        finally:
            self._tried_at = self._clock()


# --- The verifiers ---------------------------------------------------------------------------------------------------


class WebhookVerifier(_Core):
    """Checks webhook requests and tells what they say. Threads may share one; keys are fetched once and kept.

    `config` is as for `Client`, without need of a client secret. `clock` is Unix time in seconds. Raises ConfigError.
    """

    def __init__(
        self,
        config: ConfigSource = None,
        *,
        tolerance_seconds: float = WEBHOOK_TOLERANCE_SECONDS,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(config, tolerance_seconds, clock, chance)
        self._transport = SyncTransport(
            timeout_seconds=_FETCH_TIMEOUT_SECONDS,
            longest_seconds=_FETCH_LONGEST_SECONDS,
            transport=transport,
            sleep=sleep,
        )
        self._flight: SingleFlight[VerifyingKeys] = SingleFlight()

    def __enter__(self) -> WebhookVerifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._transport.close()

    def warm_up(self) -> None:
        """Fetch the keys now, so that the first webhook does not have to wait for them. Raises Unavailable."""
        self._current_keys()

    def verify(self, method: str, headers: Headers, body: bytes) -> WebhookEvent:
        """The event that a request brings. `body` is the raw body, as it came.

        Raises classes of `oklp.errors`, whose `status` is the answer to give: Unauthenticated when the request is not
        from the platform, or not for this game, or too old; MalformedRequest when it is, and is no match info;
        Unavailable when the platform's keys cannot be had.
        """
        request = self._open(method, headers, body)
        keys = self._current_keys()
        try:
            claims = self._claims(request, keys)
        except UnknownKey:
            newer = self._keys_after(keys)
            if newer is None:
                raise
            claims = self._claims(request, newer)
        return self._event(request, claims)

    def _current_keys(self) -> VerifyingKeys:
        keys = self._keys
        if keys is None:
            if not self._flight.busy and self._recently_tried(_FIRST_FETCH_INTERVAL_SECONDS):
                raise _no_keys()
            return self._fetched(_FETCH_RETRY, lambda: self._keys)
        if self._fresh_keys() is None and not self._flight.busy:
            return self._fetched(_REFRESH, self._fresh_keys)
        return keys

    def _keys_after(self, used: VerifyingKeys) -> VerifyingKeys | None:
        """Keys that may hold the one that `used` did not, or None when it is too soon to ask for them again."""
        newer = self._newer_keys(used)
        if newer is not None or (self._recently_tried(REFETCH_INTERVAL_SECONDS) and not self._flight.busy):
            return newer
        return self._fetched(_FETCH_RETRY, lambda: self._newer_keys(used))

    def _fetched(self, policy: RetryPolicy, present: Callable[[], VerifyingKeys | None]) -> VerifyingKeys:
        """Fetches the keys, together with whoever wants them now. `present` gives them when another was faster."""

        def work() -> VerifyingKeys:
            keys = present()
            return keys if keys is not None else self._transport.run(self._fetch(policy))

        try:
            return self._flight.run(work)
        except SdkError as error:
            if self._keys is not None:
                return self._keys
            raise _no_keys() from error


class AsyncWebhookVerifier(_Core):
    """As `WebhookVerifier`, for asyncio. It belongs to one event loop."""

    def __init__(
        self,
        config: ConfigSource = None,
        *,
        tolerance_seconds: float = WEBHOOK_TOLERANCE_SECONDS,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(config, tolerance_seconds, clock, chance)
        self._transport = AsyncTransport(
            timeout_seconds=_FETCH_TIMEOUT_SECONDS,
            longest_seconds=_FETCH_LONGEST_SECONDS,
            transport=transport,
            sleep=sleep,
        )
        self._flight: AsyncSingleFlight[VerifyingKeys] = AsyncSingleFlight()

    async def __aenter__(self) -> AsyncWebhookVerifier:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._flight.cancel()
        await self._transport.aclose()

    async def warm_up(self) -> None:
        """As `WebhookVerifier.warm_up`."""
        await self._current_keys()

    async def verify(self, method: str, headers: Headers, body: bytes) -> WebhookEvent:
        """As `WebhookVerifier.verify`."""
        request = self._open(method, headers, body)
        keys = await self._current_keys()
        try:
            claims = self._claims(request, keys)
        except UnknownKey:
            newer = await self._keys_after(keys)
            if newer is None:
                raise
            claims = self._claims(request, newer)
        return self._event(request, claims)

    async def _current_keys(self) -> VerifyingKeys:
        keys = self._keys
        if keys is None:
            if not self._flight.busy and self._recently_tried(_FIRST_FETCH_INTERVAL_SECONDS):
                raise _no_keys()
            return await self._fetched(_FETCH_RETRY, lambda: self._keys)
        if self._fresh_keys() is None:
            # Beside the loop's other work: no webhook has to wait for this.
            self._flight.start(lambda: self._transport.run(self._fetch(_REFRESH)))
        return keys

    async def _keys_after(self, used: VerifyingKeys) -> VerifyingKeys | None:
        newer = self._newer_keys(used)
        if newer is not None or (self._recently_tried(REFETCH_INTERVAL_SECONDS) and not self._flight.busy):
            return newer
        return await self._fetched(_FETCH_RETRY, lambda: self._newer_keys(used))

    async def _fetched(self, policy: RetryPolicy, present: Callable[[], VerifyingKeys | None]) -> VerifyingKeys:
        async def work() -> VerifyingKeys:
            keys = present()
            return keys if keys is not None else await self._transport.run(self._fetch(policy))

        try:
            return await self._flight.run(work)
        except SdkError as error:
            if self._keys is not None:
                return self._keys
            raise _no_keys() from error


# --- Beneath ---------------------------------------------------------------------------------------------------------


def _named(headers: Headers) -> dict[str, str]:
    """The headers that matter here by lower-case names. One that is there twice could be read in two ways."""
    wanted = ("authorization", WEBHOOK_ID, WEBHOOK_TIMESTAMP, WEBHOOK_SIGNATURE)
    named: dict[str, str] = {}
    for name, value in headers.items():
        lower = name.lower()
        if lower not in wanted:
            continue
        if named.setdefault(lower, value) != value:
            raise Unauthenticated(f"The header {lower} is there more than once.")
    return named


def _no_keys() -> Unavailable:
    return Unavailable("The platform's keys cannot be fetched right now.", retry_after_seconds=1)


def _jwks(body: bytes) -> VerifyingKeys:
    return VerifyingKeys.from_jwks(_object(body))


def _realm_key(body: bytes) -> VerifyingKeys:
    public_key = _object(body).get("public_key")
    if not isinstance(public_key, str):
        raise UnusableKey("the realm document has no public key")
    return VerifyingKeys.from_public_keys([public_key])


def _object(body: bytes) -> dict[str, Any]:
    data = json.loads(body)
    if not isinstance(data, dict):
        raise UnusableKey("not a JSON object")
    return data

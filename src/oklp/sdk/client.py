"""The clients of the game API (contract sections A4, A6 and A7): `Client` blocks, `AsyncClient` awaits.

    from oklp.sdk import Client

    with Client("developer-config.json") as client:
        player = client.token_info(match_token)
        client.finish(player.match_id, {player.user_id: 300})

Every call may be repeated: the endpoints are idempotent, and the clients rely on it when they retry.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from types import TracebackType
from typing import TypeVar

import httpx

from oklp.contract import FinishAnswer, GameMatch, GameMatchPage, GameMatchStatus, GameUser, TeamResult, TokenInfo
from oklp.sdk.config import ConfigSource, load_config
from oklp.sdk.errors import SdkError, UnexpectedAnswerError
from oklp.sdk.requests import Call, Calls, Exchange, Participants, RetryPolicy, TokenCache, exchange
from oklp.sdk.transport import (
    TIMEOUTS_FOR_AN_ATTEMPT,
    AsyncSingleFlight,
    AsyncTransport,
    SingleFlight,
    SyncTransport,
)

T = TypeVar("T")

DEFAULT_RETRY = RetryPolicy()
# A renewal ahead of time has the old token to fall back on, so it is not worth a wait.
_RENEW_AHEAD = RetryPolicy(attempts=1)


class _Core:
    """What both clients have in common: the configuration, the calls, the token."""

    def __init__(
        self,
        config: ConfigSource,
        retry: RetryPolicy,
        clock: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        self.config = load_config(config)
        self._calls = Calls(self.config)
        self._token_call = self._calls.token()
        self._retry = retry
        self._clock = clock
        self._chance = chance
        self._tokens = TokenCache()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.config.authentication.client_id!r} at {self.config.okletsplay_url!r})"

    def _exchange(self, call: Call[T], retry: RetryPolicy | None) -> Exchange[T]:
        return exchange(call, retry or self._retry, self._clock, self._chance)

    def _token_exchange(self, policy: RetryPolicy) -> Exchange[str]:
        """A new access token, into the cache."""
        asked_at = self._clock()
        answer = yield from exchange(self._token_call, policy, self._clock, self._chance)
        return self._tokens.store(answer, asked_at)


class Client(_Core):
    """The blocking client. Threads may share one. Close it, or use it as a context manager.

    `config` is a path, a dict, a `DeveloperConfig`, or None for the environment (see `load_config`). `timeout_seconds`
    bounds connecting, each read and each write of one attempt, and three times that the whole of it. `transport`,
    `clock` (seconds that never go back), `sleep` and `chance` (0 up to 1) can be replaced in tests. Raises ConfigError.

    Every method raises SdkError: see `oklp.sdk.errors` for the tree.
    """

    def __init__(
        self,
        config: ConfigSource = None,
        *,
        retry: RetryPolicy = DEFAULT_RETRY,
        timeout_seconds: float = 10.0,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(config, retry, clock, chance)
        self._transport = SyncTransport(
            timeout_seconds=timeout_seconds,
            longest_seconds=TIMEOUTS_FOR_AN_ATTEMPT * timeout_seconds,
            transport=transport,
            sleep=sleep,
        )
        self._renewal: SingleFlight[str] = SingleFlight()
        self._renewal_ahead: SingleFlight[str] = SingleFlight()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections. Calls in progress fail."""
        self._transport.close()

    def token_info(self, token: str) -> TokenInfo:
        """Who plays which match with this match-token (A6). NotFoundError when it is worth nothing here."""
        return self._call(self._calls.token_info(token))

    def finish(
        self,
        match_id: str,
        participants: Participants,
        teams: Iterable[TeamResult] | None = None,
        *,
        retry: RetryPolicy | None = None,
    ) -> FinishAnswer:
        """Report a result (A7): of the whole match with `teams` in a synchronous game, of one player without in an
        asynchronous one. `participants` are scores by user id, or `ParticipantResult`s. `retry` is for this call alone.

        The answer's `accepted` is False when another result was accepted before. ConflictError when the match takes no
        result in its state, InvalidRequestError when the result does not fit the match, InvalidCallError, before
        anything is sent, when it cannot fit any.
        """
        return self._call(self._calls.finish(match_id, participants, teams), retry)

    def matches(
        self, *, status: GameMatchStatus | None = None, user_id: str | None = None, page_size: int | None = None
    ) -> Iterator[GameMatch]:
        """The game's own matches, oldest first (A4). Pages are fetched as the iterator gets to them."""
        cursor: str | None = None
        while True:
            page = self._call(self._calls.matches(status=status, user_id=user_id, cursor=cursor, limit=page_size))
            yield from page.matches
            cursor = _next_cursor(page, cursor)
            if cursor is None:
                return

    def match(self, match_id: str) -> GameMatch:
        """One of the game's matches (A4). NotFoundError for any other."""
        return self._call(self._calls.match(match_id))

    def user(self, user_id: str) -> GameUser:
        """A player who is or was in one of the game's matches (A4). NotFoundError for any other."""
        return self._call(self._calls.user(user_id))

    def _call(self, call: Call[T], retry: RetryPolicy | None = None) -> T:
        return self._transport.run(self._exchange(call, retry), self._authorize)

    def _authorize(self, refused: str | None) -> str:
        if refused is not None:
            self._tokens.refuse(refused)
        now = self._clock()
        usable = self._tokens.usable(now)
        if usable is None:
            return self._renewal.run(self._renew)
        if self._tokens.fresh(now) is None and not self._renewal_ahead.busy:
            return self._renewal_ahead.run(lambda: self._renew_ahead(usable))
        return usable

    def _renew(self) -> str:
        known = self._tokens.usable(self._clock())
        return known if known is not None else self._transport.run(self._token_exchange(self._retry))

    def _renew_ahead(self, usable: str) -> str:
        """A new token, or, if none is to be had, the one that is still usable."""
        known = self._tokens.fresh(self._clock())
        if known is not None:
            return known
        try:
            return self._transport.run(self._token_exchange(_RENEW_AHEAD))
        except SdkError:
            self._tokens.postpone(self._clock())
            return usable


class AsyncClient(_Core):
    """The client for asyncio, with the same arguments, methods and errors as `Client`. It belongs to one event loop.

    However many calls are under way, a token is asked for once, and no call waits for a renewal ahead of time.
    """

    def __init__(
        self,
        config: ConfigSource = None,
        *,
        retry: RetryPolicy = DEFAULT_RETRY,
        timeout_seconds: float = 10.0,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(config, retry, clock, chance)
        self._transport = AsyncTransport(
            timeout_seconds=timeout_seconds,
            longest_seconds=TIMEOUTS_FOR_AN_ATTEMPT * timeout_seconds,
            transport=transport,
            sleep=sleep,
        )
        self._renewal: AsyncSingleFlight[str] = AsyncSingleFlight()
        self._renewal_ahead: AsyncSingleFlight[None] = AsyncSingleFlight()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the connections. Calls in progress fail."""
        await self._renewal_ahead.cancel()
        await self._renewal.cancel()
        await self._transport.aclose()

    async def token_info(self, token: str) -> TokenInfo:
        """As `Client.token_info`."""
        return await self._call(self._calls.token_info(token))

    async def finish(
        self,
        match_id: str,
        participants: Participants,
        teams: Iterable[TeamResult] | None = None,
        *,
        retry: RetryPolicy | None = None,
    ) -> FinishAnswer:
        """As `Client.finish`."""
        return await self._call(self._calls.finish(match_id, participants, teams), retry)

    async def matches(
        self, *, status: GameMatchStatus | None = None, user_id: str | None = None, page_size: int | None = None
    ) -> AsyncIterator[GameMatch]:
        """As `Client.matches`."""
        cursor: str | None = None
        while True:
            call = self._calls.matches(status=status, user_id=user_id, cursor=cursor, limit=page_size)
            page = await self._call(call)
            for match in page.matches:
                yield match
            cursor = _next_cursor(page, cursor)
            if cursor is None:
                return

    async def match(self, match_id: str) -> GameMatch:
        """As `Client.match`."""
        return await self._call(self._calls.match(match_id))

    async def user(self, user_id: str) -> GameUser:
        """As `Client.user`."""
        return await self._call(self._calls.user(user_id))

    async def _call(self, call: Call[T], retry: RetryPolicy | None = None) -> T:
        return await self._transport.run(self._exchange(call, retry), self._authorize)

    async def _authorize(self, refused: str | None) -> str:
        if refused is not None:
            self._tokens.refuse(refused)
        now = self._clock()
        usable = self._tokens.usable(now)
        if usable is None:
            return await self._renewal.run(self._renew)
        if self._tokens.fresh(now) is None:
            self._renewal_ahead.start(self._renew_ahead)
        return usable

    async def _renew(self) -> str:
        known = self._tokens.usable(self._clock())
        return known if known is not None else await self._transport.run(self._token_exchange(self._retry))

    async def _renew_ahead(self) -> None:
        try:
            await self._transport.run(self._token_exchange(_RENEW_AHEAD))
        except SdkError:
            self._tokens.postpone(self._clock())


def _next_cursor(page: GameMatchPage, cursor: str | None) -> str | None:
    """Where the next page begins. A platform that sends the reader in a circle is not followed for ever."""
    if page.next_cursor is not None and page.next_cursor == cursor:
        raise UnexpectedAnswerError("the list of matches does not advance: its cursor was answered twice", 200)
    return page.next_cursor or None

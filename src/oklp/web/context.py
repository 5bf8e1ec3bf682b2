"""What every handler needs, made once by `app`: settings, database, clock, keys, the pool for slow sums."""

from __future__ import annotations

import asyncio
import secrets
import uuid
from base64 import b32encode
from collections.abc import Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, ParamSpec, Protocol, TypeVar

from starlette.requests import HTTPConnection

from oklp.contract import SCOPE
from oklp.services import auth, faults
from oklp.services.accounts import Draft
from oklp.services.auth import KeyRing
from oklp.services.calls import CallBook
from oklp.services.factors import RECOVERY_CODES
from oklp.services.faults import Armed
from oklp.services.games import origins_of_browsers
from oklp.services.vault import Vault
from oklp.settings import Settings
from oklp.signing import VerifiedTokens
from oklp.storage.engine import Database
from oklp.web.bell import Bell
from oklp.web.live import Hub
from oklp.web.signer import Signer

P = ParamSpec("P")
T = TypeVar("T")

LEEWAY_SECONDS = 0


@dataclass(slots=True)
class Context:
    """Of one process. `keys`, `origins` and `armed` follow the database: other processes change them too."""

    settings: Settings
    db: Database
    vault: Vault
    clock: Callable[[], int]
    pool: ThreadPoolExecutor
    keys: KeyRing
    tokens: VerifiedTokens
    hub: Hub
    signer: Signer
    book: CallBook
    listeners: Bell = field(default_factory=Bell)
    calls: Bell = field(default_factory=Bell)
    traffic: Bell = field(default_factory=Bell)  # matches, deliveries, calls, games: what open pages of studios show
    origins: dict[str, frozenset[str]] = field(default_factory=dict)  # of browser templates → games
    armed: Armed = field(default_factory=dict)  # injected faults; empty in production

    @classmethod
    async def open(
        cls, settings: Settings, db: Database, vault: Vault, clock: Callable[[], int], pool: ThreadPoolExecutor
    ) -> Context:
        keys = await db.read(auth.key_ring, vault, clock())
        tokens = VerifiedTokens(
            keys.verifying,
            issuer=settings.issuer,
            audience=settings.issuer,
            scope=SCOPE,
            leeway_seconds=LEEWAY_SECONDS,
        )
        book = CallBook(settings.call_log_per_second)
        context = cls(settings, db, vault, clock, pool, keys, tokens, Hub(db, settings), Signer(), book)
        await context.reload_games()
        if settings.sandbox:
            await context.reload_faults()
        return context

    async def reload_keys(self) -> None:
        """Take on keys that were rotated, here or elsewhere."""
        keys = await self.db.read(auth.key_ring, self.vault, self.clock())
        changed = keys.jwks != self.keys.jwks
        self.keys = keys
        if changed:
            self.tokens.replace_keys(keys.verifying)

    async def reload_games(self) -> None:
        self.origins = await self.db.read(origins_of_browsers)

    async def reload_faults(self) -> None:
        """Take on what was armed or spent, here or elsewhere."""
        self.armed = await self.db.read(faults.armed)

    def close_streams(self) -> None:
        """The server is shutting down: clients of streams resume elsewhere."""
        self.hub.close()
        self.listeners.close()
        self.calls.close()
        self.traffic.close()

    async def in_pool(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a slow sum (a password hash, a key) off the event loop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.pool, lambda: fn(*args, **kwargs))


class Asked(Protocol):
    """What a plain route may ask of its request: so much of Starlette's that `requests.ShortRequest` offers it too."""

    @property
    def app(self) -> Any: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def path_params(self) -> Mapping[str, Any]: ...
    @property
    def scope(self) -> MutableMapping[str, Any]: ...
    async def body(self) -> bytes: ...


def context_of(connection: HTTPConnection) -> Context:
    context: Context = connection.app.state.context
    return context


def context_behind(request: Asked) -> Context:
    """As `context_of`, for plain routes."""
    context: Context = request.app.state.context
    return context


def new_uuid() -> str:
    return str(uuid.uuid4())


def new_totp_secret() -> str:
    """160 random bits in base 32, as RFC 4226, section 4, recommends."""
    return b32encode(secrets.token_bytes(20)).decode()


def new_recovery_codes() -> list[str]:
    """Ten codes of 80 random bits, in groups that people can read: `a3kd-…`."""
    codes = [b32encode(secrets.token_bytes(10)).decode().lower() for _ in range(RECOVERY_CODES)]
    return ["-".join(code[at : at + 4] for at in range(0, len(code), 4)) for code in codes]


def new_draft(language: str) -> Draft:
    """What is random of a mail with a link, and the language of the request."""
    return Draft(new_uuid(), new_token(), language)


def new_token() -> str:
    """256 random bits: a session, a match-token."""
    return secrets.token_urlsafe(32)

"""What goes over the wire: the checker's own issuer, and records of what the game and the platform said."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from oklp.contract import Authentication
from oklp.processes import ProcessError
from oklp.signing import (
    WEBHOOK_ID,
    WEBHOOK_SIGNATURE,
    WEBHOOK_TIMESTAMP,
    SigningKey,
    sign_webhook,
    webhook_claims,
)

TOKEN_SECONDS: Final = 60
LONGEST_QUOTE: Final = 160
# What is looked through for tokens: a multiple of the longest, and little enough for whatever is in it.
_LOOKED_THROUGH: Final = 16_384
_JWT: Final = re.compile(r"eyJ[\w-]{8,}\.[\w-]*\.?[\w-]*")


class CheckError(ProcessError):
    """The check cannot be run, be it for a process or for anything else."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a request: a status, or else why there is none. `seconds` is how long it took; `unreachable` when
    there was not even a connection.
    """

    status: int | None
    seconds: float
    text: str = field(default="", repr=False)
    error: str = ""
    unreachable: bool = False

    @property
    def ok(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def said(self) -> str:
        """In a few words, with the beginning of what a refusal says."""
        if self.status is None:
            return f"gave no answer ({self.error})"
        return f"answered {self.status}" + (f" ({self.text})" if self.text and not self.ok else "")


@dataclass(slots=True)
class GameCall:
    """One call of the game to the platform, as the proxy saw it. `fault` is what the proxy did to it."""

    kind: str
    at: float
    game_id: str
    body: bytes = field(repr=False)
    token: str = field(default="", repr=False)
    status: int | None = None
    answer: bytes = field(default=b"", repr=False)
    fault: str = ""
    from_browser: bool = False
    answered_at: float = 0.0

    @property
    def ok(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Delivery:
    """One match info request that the platform made and the proxy passed on to the game."""

    method: str
    match_id: str
    webhook_id: str
    body: bytes = field(repr=False)
    at: float
    reply: Reply


class Issuer:
    """The platform's key, as the game knows it: the proxy shows this one, so the checker can sign what it likes."""

    def __init__(self, key: SigningKey, stranger: SigningKey, url: str) -> None:
        self.key = key
        self.url = url
        self._stranger = stranger

    def token(self, client_id: str, method: str, **changes: Any) -> str:
        """A webhook token for a request with `method` as the contract wants it, but for `changes` of its claims."""
        return self.key.sign({**self.claims(client_id, method), **changes})

    def claims(self, client_id: str, method: str) -> dict[str, Any]:
        return webhook_claims(self.url, client_id, int(time.time()), TOKEN_SECONDS, str(uuid.uuid4()), method)

    def forged(self, client_id: str, method: str) -> dict[str, str]:
        """Tokens that the platform never signed, by what is wrong with them."""
        claims = self.claims(client_id, method)
        own = self._stranger.sign(claims)
        payload, signature = own.split(".")[1:]
        # The signature covers the header too; it is wrong either way, as it would be in a real forgery.
        header = {"alg": "RS256", "typ": "JWT", "kid": self.key.kid}
        confused = _encoded({"alg": "HS256", "typ": "JWT", "kid": self.key.kid}) + "." + payload
        mac = hmac.new(self._public_pem(), confused.encode("ascii"), hashlib.sha256).digest()
        return {
            "another key under an unknown key id": own,
            "another key under the platform's key id": f"{_encoded(header)}.{payload}.{signature}",
            "HS256, keyed with the public key": f"{confused}.{_base64url(mac)}",
        }

    def unsigned(self, client_id: str, method: str) -> str:
        """RFC 7519 §6: alg none."""
        return f"{_encoded({'alg': 'none', 'typ': 'JWT'})}.{_encoded(self.claims(client_id, method))}."

    def _public_pem(self) -> bytes:
        text = self.key.public_key_base64()
        lines = "\n".join(text[start : start + 64] for start in range(0, len(text), 64))
        return f"-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n".encode("ascii")


def signed_headers(secret: str, webhook_id: str, body: bytes) -> dict[str, str]:
    """The Standard Webhooks headers of a request made now. A body that is no text is signed as if it were empty."""
    now = int(time.time())
    try:
        signature = sign_webhook([secret], webhook_id, now, body)
    except UnicodeDecodeError:
        signature = sign_webhook([secret], webhook_id, now, b"")
    return {WEBHOOK_ID: webhook_id, WEBHOOK_TIMESTAMP: str(now), WEBHOOK_SIGNATURE: signature}


def new_match_id() -> str:
    """Of a match that no platform knows."""
    return secrets.token_hex(12)


def quoted(text: str, hidden: Iterable[str | None]) -> str:
    """The beginning of what a server said, fit to be shown: printable, and without secrets and tokens."""
    for secret in hidden:
        if secret:
            text = text.replace(secret, "[secret]")
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    shown = _JWT.sub("[token]", text[:_LOOKED_THROUGH])
    return shown[:LONGEST_QUOTE] + ("…" if len(shown) > LONGEST_QUOTE else "")


def secrets_of(authentication: Authentication) -> list[str]:
    return [secret for secret in (authentication.client_secret, authentication.webhook_secret) if secret]


def client_of(token: str) -> str:
    """The `client_id` that a token claims, which whoever forwards it will see verified; empty where there is none."""
    try:
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        return str(claims["client_id"])
    except (IndexError, KeyError, TypeError, ValueError):
        return ""


def _encoded(part: dict[str, Any]) -> str:
    return _base64url(json.dumps(part, separators=(",", ":")).encode("utf-8"))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")

"""Signatures: RS256 tokens (contract section A2) and Standard Webhooks (A3). Keys and times are arguments.

There is no clock and no I/O here. A key is parsed once and kept: reading an RSA PEM costs about 150 times as much as
signing with it. Signing goes to `cryptography` directly, since the compact form of a token is two encodings and a
dot; reading tokens, which strangers write, is left to joserfc's strict parser.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from threading import Lock
from types import MappingProxyType
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from standardwebhooks import Webhook

from oklp.errors import Unauthenticated

ALGORITHM: Final = "RS256"
SCOPE: Final = "olp-report-api"
KEY_BITS: Final = 2048
MAX_TOKEN_CHARS: Final = 8_192
MAX_KEYS: Final = 64
# A token from the future was made by a node whose clock runs ahead. It is signed and ends all the same, so this much
# is no danger.
CLOCK_SKEW_SECONDS: Final = 60

WEBHOOK_ID: Final = "webhook-id"
WEBHOOK_TIMESTAMP: Final = "webhook-timestamp"
WEBHOOK_SIGNATURE: Final = "webhook-signature"
WEBHOOK_SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - the public prefix of a secret
WEBHOOK_TOLERANCE_SECONDS: Final = 300

_PADDING: Final = padding.PKCS1v15()
_SHA256: Final = hashes.SHA256()
_REGISTRY: Final = jws.JWSRegistry(algorithms=[ALGORITHM], strict_check_header=False)
_to_json: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
# Header parameters that bring a key along, say where to fetch one, or change what is signed (RFC 7515 §4.1, RFC
# 7797). A token that could choose its own key would prove nothing. Others are ignored, as RFC 7515 §4 demands.
_REFUSED_HEADERS: Final = frozenset({"jwk", "jku", "x5c", "x5u", "crit", "b64"})


class UnusableKey(ValueError):
    """A key or secret that OKLP cannot work with: not RSA, too short, or not decodable."""


class UnknownKey(Unauthenticated):
    """The token names a key that is not known here. After a rotation that is no forgery: fetch the keys again, once."""


# --- Keys and tokens -------------------------------------------------------------------------------------------------


def generate_key() -> str:
    """A new RSA private key of 2,048 bits as unencrypted PKCS #8 PEM. Takes around 100 ms of CPU."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem.decode("ascii")


def hash_token(token: str) -> str:
    """SHA-256 of a token as 64 hex digits: what the database keeps of match-tokens, sessions and client secrets.

    No salt and no stretching: the tokens are random, 128 bits or more, so there is nothing to guess. Any string is
    hashed, also one that is not valid Unicode, as the text comes from the outside.
    """
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class SigningKey:
    """An RSA private key, parsed once. `kid` is its RFC 7638 thumbprint, so a key has the same name everywhere."""

    __slots__ = ("_header", "_private", "_public", "kid")

    def __init__(self, pem: str) -> None:
        """Raises UnusableKey when `pem` is not an unencrypted RSA private key of at least 2,048 bits."""
        try:
            private = serialization.load_pem_private_key(pem.encode("utf-8"), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # The parser's own message may quote the input, and the input is a secret.
            raise UnusableKey("not an unencrypted PEM private key") from None
        if not isinstance(private, rsa.RSAPrivateKey) or private.key_size < KEY_BITS:
            raise UnusableKey(f"not an RSA private key of at least {KEY_BITS} bits")
        self._private = private
        self._public = private.public_key()
        self.kid: Final = RSAKey.import_key(self._public).thumbprint()
        header = _to_json({"alg": ALGORITHM, "typ": "JWT", "kid": self.kid})
        self._header = _base64url(header.encode("ascii")) + b"."

    def __repr__(self) -> str:
        return f"SigningKey(kid={self.kid!r})"

    def sign(self, claims: Mapping[str, Any]) -> str:
        """`claims` as a JWT (RFC 7519) in compact form, RS256, with `kid` in its header."""
        signed = self._header + _base64url(_to_json(claims).encode("ascii"))
        return (signed + b"." + _base64url(self._private.sign(signed, _PADDING, _SHA256))).decode("ascii")

    def public_jwk(self) -> dict[str, str]:
        """The public half as a JWK (RFC 7517): `kty`, `use`, `alg`, `kid`, `n`, `e`."""
        numbers = RSAKey.import_key(self._public).as_dict(private=False)
        return {
            "kty": "RSA",
            "use": "sig",
            "alg": ALGORITHM,
            "kid": self.kid,
            "n": str(numbers["n"]),
            "e": str(numbers["e"]),
        }

    def public_key_base64(self) -> str:
        """The public half as the realm document shows it (A2): one line of base64 of the DER SubjectPublicKeyInfo."""
        der = self._public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(der).decode("ascii")


class VerifyingKeys:
    """Public keys that tokens may be signed with: by `kid`, and *bare* ones, whose `kid` the issuer did not tell."""

    __slots__ = ("_bare", "_by_kid")

    def __init__(self, by_kid: Mapping[str, RSAKey], bare: Sequence[RSAKey] = ()) -> None:
        self._by_kid = dict(by_kid)
        self._bare = tuple(bare)

    @classmethod
    def from_jwks(cls, jwks: Mapping[str, Any]) -> VerifyingKeys:
        """From a JWK Set (RFC 7517 §5): its RSA signature keys; all others are passed over.

        Raises UnusableKey when it is not a JWK Set or none of its keys can be used.
        """
        listed = jwks.get("keys")
        if not isinstance(listed, list):
            raise UnusableKey("not a JWK Set: `keys` is not a list")
        by_kid: dict[str, RSAKey] = {}
        bare: list[RSAKey] = []
        for jwk in listed[:MAX_KEYS]:
            key = _key_from_jwk(jwk)
            if key is None:
                continue
            kid = jwk.get("kid")
            if isinstance(kid, str):
                by_kid.setdefault(kid, key)
            else:
                bare.append(key)
        if not by_kid and not bare:
            raise UnusableKey("the JWK Set has no RSA key for RS256 signatures")
        return cls(by_kid, bare)

    @classmethod
    def from_public_keys(cls, keys: Iterable[str]) -> VerifyingKeys:
        """From public keys as PEM, or as the base64 of their DER (A2's `public_key`). Raises UnusableKey.

        Each is known by its thumbprint, which is how OKLP names keys, and is tried as well for tokens that name an
        unknown key: an issuer that names its keys otherwise does not say so here.
        """
        bare = [_key_from_text(text) for text in keys]
        if not bare:
            raise UnusableKey("no public key given")
        return cls({key.thumbprint(): key for key in bare}, bare)

    @property
    def kids(self) -> frozenset[str]:
        return frozenset(self._by_kid)

    def verify(
        self,
        token: str,
        *,
        issuer: str,
        audience: str,
        now_seconds: float,
        leeway_seconds: float = 0,
        scope: str | None = None,
    ) -> dict[str, Any]:
        """The claims of `token`, once its signature, issuer, audience and times are right (RFC 7519 §7.2, RFC 8725).

        `leeway_seconds` is forgiven after `exp` and before `nbf`. With `scope`, the token must hold it among its own.
        Raises UnknownKey when the token names a key that is not here, and Unauthenticated, saying why, for whatever
        else is wrong.
        """
        claims = self._open(token)
        if claims.get("iss") != issuer:
            raise Unauthenticated("The token is from another issuer.")
        if not _contains(claims.get("aud"), audience):
            raise Unauthenticated("The token is for another audience.")
        if scope is not None and scope not in _words(claims.get("scope")):
            raise Unauthenticated(f"The token lacks the scope {scope}.")
        _check_times(claims, now_seconds, leeway_seconds)
        return claims

    def _open(self, token: str) -> dict[str, Any]:
        """The claims, with only the signature checked."""
        if len(token) > MAX_TOKEN_CHARS or not token.isascii():
            raise Unauthenticated("The token is not a signed JWT.")
        try:
            signed = jws.extract_compact(token.encode("ascii"), registry=_REGISTRY)
        except (JoseError, ValueError, TypeError, RecursionError):
            raise Unauthenticated("The token is not a signed JWT.") from None
        kid = _check_header(signed.headers())
        key = self._by_kid.get(kid) if kid is not None else None
        if key is not None:
            if not _is_signed_by(signed, key):
                raise Unauthenticated("The token's signature is not valid.")
        elif not any(_is_signed_by(signed, bare) for bare in self._bare):
            if kid is None and not self._bare:
                raise Unauthenticated("The token does not name its key.")
            raise UnknownKey("The token is signed with an unknown key.")
        try:
            claims = json.loads(signed.payload)
        except (ValueError, RecursionError):
            claims = None
        if not isinstance(claims, dict):
            raise Unauthenticated("The token has no claims.")
        return claims


class VerifiedTokens:
    """A bounded cache before `VerifyingKeys.verify` for one issuer, audience and scope. Threads may share it.

    A cached token costs a dictionary look-up where a fresh one costs an RSA verification. Only what has to do with
    the token itself is remembered: whether its bearer is suspended is the caller's question at each request (A2).
    Claims are shared, hence read-only.
    """

    __slots__ = ("_audience", "_capacity", "_issuer", "_keys", "_known", "_leeway_seconds", "_lock", "_scope")

    def __init__(
        self,
        keys: VerifyingKeys,
        *,
        issuer: str,
        audience: str,
        scope: str | None = None,
        leeway_seconds: float = 0,
        capacity: int = 4_096,
    ) -> None:
        if capacity < 1:
            raise ValueError("capacity must be at least 1")
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._scope = scope
        self._leeway_seconds = leeway_seconds
        self._capacity = capacity
        self._known: OrderedDict[str, tuple[float, Mapping[str, Any]]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._known)

    def verify(self, token: str, now_seconds: float) -> Mapping[str, Any]:
        """As `VerifyingKeys.verify`, with the issuer, audience and scope given at construction."""
        known = self._known.get(token)
        if known is not None and now_seconds < known[0]:
            return known[1]
        if known is not None:
            with self._lock:
                self._known.pop(token, None)
        keys = self._keys
        claims = keys.verify(
            token,
            issuer=self._issuer,
            audience=self._audience,
            scope=self._scope,
            now_seconds=now_seconds,
            leeway_seconds=self._leeway_seconds,
        )
        verified: Mapping[str, Any] = MappingProxyType(claims)
        self._remember(token, claims["exp"] + self._leeway_seconds, verified, keys, now_seconds)
        return verified

    def replace_keys(self, keys: VerifyingKeys) -> None:
        """After a rotation. Forgets every token, as the key of some may have been withdrawn."""
        with self._lock:
            self._keys = keys
            self._known.clear()

    def _remember(
        self, token: str, until_seconds: float, claims: Mapping[str, Any], keys: VerifyingKeys, now_seconds: float
    ) -> None:
        with self._lock:
            if self._keys is not keys:
                return  # The keys changed while this token was being verified with the old ones.
            # Tokens of one issuer live equally long, so the oldest entry expires first: looking at the front is enough.
            while self._known and (
                len(self._known) >= self._capacity or next(iter(self._known.values()))[0] <= now_seconds
            ):
                self._known.popitem(last=False)
            self._known[token] = (until_seconds, claims)


def access_claims(issuer: str, client_id: str, now_seconds: int, life_seconds: int, jti: str) -> dict[str, Any]:
    """Claims of an access token (A2): its audience is the issuer itself, its scope the one the game API asks for."""
    return {
        "iss": issuer,
        "aud": issuer,
        "sub": client_id,
        "azp": client_id,
        "client_id": client_id,
        "typ": "Bearer",
        "scope": SCOPE,
        "iat": now_seconds,
        "exp": now_seconds + life_seconds,
        "jti": jti,
    }


def webhook_claims(
    issuer: str, client_id: str, now_seconds: int, life_seconds: int, jti: str, method: str | None = None
) -> dict[str, Any]:
    """Claims of a webhook request's token (A2): for the game, and without a scope, so it opens nothing here.

    `method` is of the request that the token is for, as its `htm` (RFC 9449 §4.2): a Standard Webhooks signature covers
    the body alone, and a start and its abort have the same.
    """
    claims = {"iss": issuer, "aud": client_id, "iat": now_seconds, "exp": now_seconds + life_seconds, "jti": jti}
    return claims if method is None else {**claims, "htm": method}


# --- Standard Webhooks (https://www.standardwebhooks.com) ------------------------------------------------------------


def new_webhook_secret(random_bytes: bytes) -> str:
    """`whsec_` and the base64 of 24 to 64 random bytes, the range that the standard allows; 32 are a good choice."""
    if not 24 <= len(random_bytes) <= 64:
        raise ValueError("a webhook secret is made of 24 to 64 random bytes")
    return WEBHOOK_SECRET_PREFIX + base64.b64encode(random_bytes).decode("ascii")


def check_webhook_secret(secret: str) -> None:
    """Raises UnusableKey, without quoting it, when `secret` is not of the form `new_webhook_secret` makes."""
    encoded = secret.removeprefix(WEBHOOK_SECRET_PREFIX)
    try:
        key = base64.b64decode(encoded.encode("ascii"), validate=True)
    except ValueError:
        key = b""
    if encoded == secret or not 24 <= len(key) <= 64:
        raise UnusableKey(f"not a webhook secret: {WEBHOOK_SECRET_PREFIX} and the base64 of 24 to 64 bytes")


def sign_webhook(secrets: Sequence[str], webhook_id: str, timestamp_seconds: int, body: bytes) -> str:
    """The `webhook-signature` header: `v1,` and HMAC-SHA256 over `id.timestamp.body`, one for each secret, by spaces.

    `body` must be UTF-8, as JSON is, or UnicodeDecodeError is raised. Raises UnusableKey for a malformed secret.
    """
    text = body.decode("utf-8")
    at = datetime.fromtimestamp(timestamp_seconds, tz=UTC)
    return " ".join(_webhook(secret).sign(webhook_id, at, text) for secret in secrets)


def verify_webhook(
    secrets: Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    *,
    now_seconds: float,
    tolerance_seconds: float = WEBHOOK_TOLERANCE_SECONDS,
) -> str:
    """The `webhook-id` of a request that is signed with one of `secrets` and whose timestamp is near enough to now.

    Header names are taken without regard to case. Raises Unauthenticated, saying why.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    webhook_id, stamp, given = (lower.get(name, "") for name in (WEBHOOK_ID, WEBHOOK_TIMESTAMP, WEBHOOK_SIGNATURE))
    if not (webhook_id and stamp and given):
        raise Unauthenticated(f"The headers {WEBHOOK_ID}, {WEBHOOK_TIMESTAMP} and {WEBHOOK_SIGNATURE} are needed.")
    # What is signed is the header's text. Only the plain spelling is taken, so that the number stands for that text.
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12 and str(int(stamp)) == stamp):
        raise Unauthenticated(f"The header {WEBHOOK_TIMESTAMP} is not a Unix time in seconds.")
    if abs(now_seconds - int(stamp)) > tolerance_seconds:
        raise Unauthenticated("The webhook's timestamp is too far from the present.")
    try:
        expected = sign_webhook(secrets, webhook_id, int(stamp), body).split()
        offered = [candidate.encode("ascii") for candidate in given.split()]
    except UnicodeError:
        raise Unauthenticated("The webhook's signature is not valid.") from None
    # Every pair is compared, so that the time taken tells nothing of which one held.
    matches = [hmac.compare_digest(mine.encode("ascii"), theirs) for mine in expected for theirs in offered]
    if not any(matches):
        raise Unauthenticated("The webhook's signature is not valid.")
    return webhook_id


def _webhook(secret: str) -> Webhook:
    check_webhook_secret(secret)
    return Webhook(secret)


# --- Beneath ---------------------------------------------------------------------------------------------------------


def _base64url(data: bytes) -> bytes:
    """RFC 7515 §2: the URL-safe alphabet without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _key_from_jwk(jwk: object) -> RSAKey | None:
    """A public RSA key that may check RS256 signatures, or None for any other."""
    if not isinstance(jwk, dict) or jwk.get("kty") != "RSA":
        return None
    if jwk.get("use", "sig") != "sig" or jwk.get("alg", ALGORITHM) != ALGORITHM:
        return None
    modulus, exponent = jwk.get("n"), jwk.get("e")
    # Six bits to a letter: what is plainly too short is not even read, as the library would warn of it.
    if not isinstance(modulus, str) or not isinstance(exponent, str) or len(modulus) * 6 < KEY_BITS:
        return None
    try:
        key = RSAKey.import_key({"kty": "RSA", "n": modulus, "e": exponent})
        size = key.public_key.key_size
    except (JoseError, ValueError, TypeError, AttributeError):
        return None
    return key if size >= KEY_BITS else None


def _key_from_text(text: str) -> RSAKey:
    try:
        if "-----BEGIN" in text:
            public = serialization.load_pem_public_key(text.encode("utf-8"))
        else:
            public = serialization.load_der_public_key(base64.b64decode("".join(text.split()), validate=True))
    except (ValueError, TypeError, binascii.Error, UnsupportedAlgorithm) as error:
        raise UnusableKey("not a public key in PEM or in base64 of its DER") from error
    if not isinstance(public, rsa.RSAPublicKey) or public.key_size < KEY_BITS:
        raise UnusableKey(f"not an RSA public key of at least {KEY_BITS} bits")
    return RSAKey.import_key(public)


def _check_header(header: object) -> str | None:
    """The `kid` of a token whose header is acceptable, None when it has none."""
    if not isinstance(header, dict) or header.get("alg") != ALGORITHM:
        raise Unauthenticated(f"The token is not signed with {ALGORITHM}.")
    refused = _REFUSED_HEADERS.intersection(header)
    if refused:
        raise Unauthenticated(f"The token's header has {', '.join(sorted(refused))}, which is not accepted.")
    kid = header.get("kid")
    if kid is not None and not isinstance(kid, str):
        raise Unauthenticated("The token's header has a kid that is not text.")
    return kid


def _is_signed_by(signed: jws.CompactSignature, key: RSAKey) -> bool:
    try:
        return jws.validate_compact(signed, key, registry=_REGISTRY)
    except (JoseError, ValueError, TypeError):
        return False


def _contains(audiences: object, audience: str) -> bool:
    return audience in audiences if isinstance(audiences, list) else audiences == audience


def _words(scopes: object) -> list[str]:
    return scopes.split() if isinstance(scopes, str) else []


def _check_times(claims: Mapping[str, Any], now_seconds: float, leeway_seconds: float) -> None:
    expires, issued = _instant(claims, "exp"), _instant(claims, "iat")
    begins = _instant(claims, "nbf") if "nbf" in claims else issued
    if now_seconds >= expires + leeway_seconds:
        raise Unauthenticated("The token has expired.")
    if max(issued, begins) > now_seconds + max(leeway_seconds, CLOCK_SKEW_SECONDS):
        raise Unauthenticated("The token is not valid yet.")
    if issued > expires:
        raise Unauthenticated("The token ends before it begins.")


def _instant(claims: Mapping[str, Any], name: str) -> float:
    """A NumericDate (RFC 7519 §2). Python reads NaN and Infinity as JSON numbers, and neither would ever be past."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        raise Unauthenticated(f"The token's {name} is not a time.")
    return value

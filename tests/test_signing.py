"""Tokens and webhook signatures: what holds, and everything that must not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import subprocess
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from oklp import contract, signing
from oklp.errors import Unauthenticated
from oklp.signing import (
    SigningKey,
    UnknownKey,
    UnusableKey,
    VerifiedTokens,
    VerifyingKeys,
    access_claims,
    hash_token,
    new_webhook_secret,
    sign_webhook,
    verify_webhook,
    webhook_claims,
)

ISSUER = "http://127.0.0.1:8000/auth/realms/oklp"
GAME = "tile-rush"
NOW = 1_800_000_000
LIFE = 300
MATCH_INFO = b'{"match_id":"600f369851f450dd3ecb0035","participants":[],"teams":[]}'


@cache
def pem_of(name: str) -> str:
    """A private key for each name; making one takes too long to do it for every test."""
    return signing.generate_key()


@cache
def key_of(name: str) -> SigningKey:
    return SigningKey(pem_of(name))


def raw_private(name: str) -> rsa.RSAPrivateKey:
    key = serialization.load_pem_private_key(pem_of(name).encode(), password=None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def public_pem(name: str) -> str:
    """What a client makes of the realm document's key."""
    return f"-----BEGIN PUBLIC KEY-----\n{key_of(name).public_key_base64()}\n-----END PUBLIC KEY-----\n"


def keys_of(*names: str) -> VerifyingKeys:
    return VerifyingKeys.from_jwks({"keys": [key_of(name).public_jwk() for name in names]})


def access_token(name: str = "first", now: int = NOW) -> str:
    return key_of(name).sign(access_claims(ISSUER, GAME, now, LIFE, "j1"))


def check(keys: VerifyingKeys, token: str, **changes: Any) -> dict[str, Any]:
    wanted: dict[str, Any] = {"issuer": ISSUER, "audience": ISSUER, "now_seconds": NOW, **changes}
    return keys.verify(token, **wanted)


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forge(header: Mapping[str, Any], claims: Mapping[str, Any], sign: Callable[[bytes], bytes]) -> str:
    signed = ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
    return f"{signed}.{base64url(sign(signed.encode()))}"


def signed_by(name: str) -> Callable[[bytes], bytes]:
    return lambda data: raw_private(name).sign(data, padding.PKCS1v15(), hashes.SHA256())


GOOD_CLAIMS = access_claims(ISSUER, GAME, NOW, LIFE, "j1")


# --- keys ------------------------------------------------------------------------------------------------------------


def test_a_key_is_named_by_its_rfc_7638_thumbprint() -> None:
    # The key and the thumbprint of RFC 7638 §3.1.
    modulus = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3ok"
        "njhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu"
        "6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8a"
        "wapJzKnqDKgw"
    )
    number = int.from_bytes(base64.urlsafe_b64decode(modulus + "=="), "big")
    public = rsa.RSAPublicNumbers(65537, number).public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    assert VerifyingKeys.from_public_keys([pem]).kids == {"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"}


def test_every_way_of_publishing_a_key_gives_it_the_same_name() -> None:
    key = key_of("first")
    assert key.public_jwk()["kid"] == key.kid
    assert keys_of("first").kids == {key.kid}
    assert VerifyingKeys.from_public_keys([public_pem("first")]).kids == {key.kid}
    assert VerifyingKeys.from_public_keys([key.public_key_base64()]).kids == {key.kid}


def test_the_public_jwk_holds_nothing_private() -> None:
    assert set(key_of("first").public_jwk()) == {"kty", "use", "alg", "kid", "n", "e"}


def test_the_realm_key_is_one_line_of_base64() -> None:
    shown = key_of("first").public_key_base64()
    assert "\n" not in shown
    assert "-" not in shown
    serialization.load_der_public_key(base64.b64decode(shown, validate=True))


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, password: bytes | None = None) -> str:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption).decode()


def test_keys_that_cannot_sign_rs256_are_refused_without_quoting_them() -> None:
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    unusable = {
        "short": _pem(short),
        "elliptic": _pem(ec.generate_private_key(ec.SECP256R1())),
        "encrypted": _pem(raw_private("first"), b"password"),
        "public": public_pem("first"),
        "cut": pem_of("first")[:400],
        "empty": "",
        "text": "s3cret",
    }
    for name, pem in unusable.items():
        with pytest.raises(UnusableKey) as caught:
            SigningKey(pem)
        assert "s3cret" not in str(caught.value), name
        assert pem[30:90] not in str(caught.value) or not pem[30:90], name


def test_a_signing_key_does_not_show_itself() -> None:
    assert repr(key_of("first")) == f"SigningKey(kid='{key_of('first').kid}')"


@pytest.mark.filterwarnings("ignore:Key size")
def test_jwks_keys_that_are_not_for_rs256_signatures_are_passed_over() -> None:
    jwk = key_of("first").public_jwk()
    other = key_of("second").public_jwk()
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key().public_numbers()
    others: list[Any] = [
        {**other, "use": "enc", "alg": "RSA-OAEP", "kid": "encryption"},
        {**other, "alg": "RS512", "kid": "rs512"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "secret"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "elliptic"},
        {"kty": "RSA", "n": base64url(short.n.to_bytes(128, "big")), "e": "AQAB", "kid": "short"},
        {"kty": "RSA", "n": base64url(short.n.to_bytes(256, "big")), "e": "AQAB", "kid": "short, and padded"},
        {"kty": "RSA", "n": "%" * 342, "e": "AQAB", "kid": "garbled"},
        {"kty": "RSA", "n": 5, "e": None, "kid": "typed"},
        {"kty": "RSA", "kid": "hollow"},
        {"kty": "AKP", "kid": "future"},
        "not a key",
        None,
    ]
    assert VerifyingKeys.from_jwks({"keys": [*others, jwk]}).kids == {key_of("first").kid}
    with pytest.raises(UnusableKey):
        VerifyingKeys.from_jwks({"keys": others})


@pytest.mark.parametrize("jwks", [{}, {"keys": None}, {"keys": {}}, {"keys": []}, {"keys": "x"}])
def test_what_is_not_a_jwk_set_is_refused(jwks: dict[str, Any]) -> None:
    with pytest.raises(UnusableKey):
        VerifyingKeys.from_jwks(jwks)


@pytest.mark.parametrize(
    "text", ["", "not base64!", "AAAA", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"]
)
def test_what_is_not_a_public_key_is_refused(text: str) -> None:
    with pytest.raises(UnusableKey):
        VerifyingKeys.from_public_keys([text])


def test_no_public_key_at_all_is_refused() -> None:
    with pytest.raises(UnusableKey):
        VerifyingKeys.from_public_keys([])


# --- tokens that hold ------------------------------------------------------------------------------------------------


def test_an_access_token_has_what_section_a2_says() -> None:
    claims = check(keys_of("first"), access_token(), scope=contract.SCOPE)
    assert claims["iss"] == claims["aud"] == ISSUER
    assert claims["client_id"] == claims["azp"] == claims["sub"] == GAME
    assert claims["scope"] == contract.SCOPE == signing.SCOPE
    assert claims["exp"] - claims["iat"] == LIFE
    assert claims["jti"] == "j1"
    assert claims["typ"] == "Bearer"


def test_a_webhook_token_is_for_the_game_and_has_no_scope() -> None:
    token = key_of("first").sign(webhook_claims(ISSUER, GAME, NOW, LIFE, "j2"))
    claims = check(keys_of("first"), token, audience=GAME)
    assert claims == {"iss": ISSUER, "aud": GAME, "iat": NOW, "exp": NOW + LIFE, "jti": "j2"}


def test_neither_kind_of_token_passes_for_the_other() -> None:
    webhook = key_of("first").sign(webhook_claims(ISSUER, GAME, NOW, LIFE, "j2"))
    with pytest.raises(Unauthenticated, match="audience"):
        check(keys_of("first"), webhook, scope=contract.SCOPE)
    with pytest.raises(Unauthenticated, match="audience"):
        check(keys_of("first"), access_token(), audience=GAME)
    with pytest.raises(Unauthenticated, match="scope"):
        check(keys_of("first"), webhook, audience=GAME, scope=contract.SCOPE)


def test_the_header_names_the_algorithm_and_the_key() -> None:
    header = json.loads(base64.urlsafe_b64decode(access_token().split(".")[0] + "=="))
    assert header == {"alg": "RS256", "typ": "JWT", "kid": key_of("first").kid}


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(), max_size=6))
def test_any_claims_come_back_as_they_were_signed(extra: dict[str, Any]) -> None:
    claims = {**extra, **GOOD_CLAIMS}
    assert check(keys_of("first"), key_of("first").sign(claims)) == claims


def test_an_audience_may_be_one_of_several() -> None:
    token = key_of("first").sign({**GOOD_CLAIMS, "aud": ["another", ISSUER]})
    assert check(keys_of("first"), token)["sub"] == GAME


def test_unknown_header_parameters_are_ignored() -> None:
    header = {"alg": "RS256", "kid": key_of("first").kid, "x-note": "hello", "x5t": "AAAA"}
    assert check(keys_of("first"), forge(header, GOOD_CLAIMS, signed_by("first"))) == GOOD_CLAIMS


def test_openssl_verifies_a_token_with_the_wrapped_realm_key(tmp_path: Path) -> None:
    """A verifier that shares no code with this one, and is fed only what the platform publishes."""
    signed, _, signature = access_token().rpartition(".")
    (tmp_path / "key.pem").write_text(public_pem("first"))
    (tmp_path / "signed").write_bytes(signed.encode())
    (tmp_path / "signature").write_bytes(base64.urlsafe_b64decode(signature + "=="))
    (tmp_path / "other").write_bytes(signed.encode() + b"x")
    command = ["openssl", "dgst", "-sha256", "-verify", "key.pem", "-signature", "signature"]
    right = subprocess.run([*command, "signed"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (right.returncode, right.stdout.strip()) == (0, "Verified OK"), right.stderr
    wrong = subprocess.run([*command, "other"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert wrong.returncode != 0


# --- tokens that must not --------------------------------------------------------------------------------------------


@given(st.data())
def test_no_character_of_a_token_can_be_changed(data: st.DataObject) -> None:
    token = access_token()
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(min_codepoint=1, max_codepoint=0x2FF).filter(lambda c: c != token[at]))
    with pytest.raises(Unauthenticated):
        check(keys_of("first"), token[:at] + other + token[at + 1 :])


@given(st.text() | st.from_regex(r"[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}", fullmatch=True))
def test_no_text_upsets_the_verifier(token: str) -> None:
    with pytest.raises(Unauthenticated):
        check(keys_of("first"), token)


@pytest.mark.parametrize(
    "header",
    [
        "[]",
        '["alg"]',
        '"alg"',
        "5",
        "null",
        "{}",
        '{"alg":5}',
        '{"alg":["RS256"]}',
        '{"alg":"RS256","kid":5}',
        "[" * 380,
    ],
)
def test_strange_headers_are_refused(header: str) -> None:
    token = f"{base64url(header.encode())}.{base64url(b'{}')}.{base64url(b'x' * 256)}"
    with pytest.raises(Unauthenticated):
        check(keys_of("first"), token)


@pytest.mark.parametrize("payload", [b"[]", b'"text"', b"5", b"null", b"{", b"\xff", b"", b"[" * 50_000])
def test_a_signed_payload_that_is_no_claims_set_is_refused(payload: bytes) -> None:
    signed = f"{base64url(json.dumps({'alg': 'RS256', 'kid': key_of('first').kid}).encode())}.{base64url(payload)}"
    token = f"{signed}.{base64url(signed_by('first')(signed.encode()))}"
    with pytest.raises(Unauthenticated):
        check(keys_of("first"), token)


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", ""])
@pytest.mark.parametrize("signature", [b"", b"x" * 256])
def test_unsigned_tokens_are_refused(alg: str, signature: bytes) -> None:
    header = {"alg": alg, "typ": "JWT", "kid": key_of("first").kid}
    with pytest.raises(Unauthenticated):
        check(keys_of("first"), forge(header, GOOD_CLAIMS, lambda _: signature))


def test_the_public_key_is_no_hmac_secret() -> None:
    """The classic confusion of algorithms: what everyone may know, used as the secret of an HS256 token."""
    shown = key_of("first").public_key_base64()
    jwk = json.dumps(key_of("first").public_jwk())
    for secret in (public_pem("first"), public_pem("first").strip(), shown, jwk):
        for name in ("sha256", "sha384", "sha512"):
            header = {"alg": f"HS{name[3:]}", "kid": key_of("first").kid}
            token = forge(header, GOOD_CLAIMS, lambda data, s=secret, n=name: hmac.digest(s.encode(), data, n))
            for keys in (keys_of("first"), VerifyingKeys.from_public_keys([shown])):
                with pytest.raises(Unauthenticated, match="RS256"):
                    check(keys, token)


def test_other_signatures_of_the_right_key_are_refused() -> None:
    private, kid = raw_private("first"), key_of("first").kid
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    others = {
        "RS512": lambda data: private.sign(data, padding.PKCS1v15(), hashes.SHA512()),
        "RS384": lambda data: private.sign(data, padding.PKCS1v15(), hashes.SHA384()),
        "PS256": lambda data: private.sign(data, pss, hashes.SHA256()),
    }
    for alg, sign in others.items():
        for named in (alg, "RS256"):
            with pytest.raises(Unauthenticated):
                check(keys_of("first"), forge({"alg": named, "kid": kid}, GOOD_CLAIMS, sign))


def test_a_token_cannot_bring_its_own_key() -> None:
    stranger = key_of("stranger").public_jwk()
    for brought in (
        {"jwk": stranger},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/chain"},
        {"x5c": ["AAAA"]},
        {"crit": ["exp"], "exp": NOW},
        {"crit": ["b64"], "b64": False},
        {"b64": True},
    ):
        for name in ("first", "stranger"):
            header = {"alg": "RS256", "kid": key_of("first").kid, **brought}
            with pytest.raises(Unauthenticated):
                check(keys_of("first"), forge(header, GOOD_CLAIMS, signed_by(name)))


def test_a_stranger_cannot_borrow_a_known_kid() -> None:
    token = forge({"alg": "RS256", "kid": key_of("first").kid}, GOOD_CLAIMS, signed_by("stranger"))
    with pytest.raises(Unauthenticated, match="signature") as caught:
        check(keys_of("first"), token)
    assert not isinstance(caught.value, UnknownKey)


def test_an_unknown_kid_is_told_apart_so_that_keys_can_be_fetched_again() -> None:
    with pytest.raises(UnknownKey):
        check(keys_of("first"), access_token("second"))
    assert check(keys_of("first", "second"), access_token("second"))["sub"] == GAME


def test_a_token_without_kid_is_refused_where_keys_have_names() -> None:
    token = forge({"alg": "RS256"}, GOOD_CLAIMS, signed_by("first"))
    with pytest.raises(Unauthenticated, match="does not name its key") as caught:
        check(keys_of("first"), token)
    assert not isinstance(caught.value, UnknownKey)


def test_a_bare_public_key_is_tried_whatever_the_token_calls_it() -> None:
    keys = VerifyingKeys.from_public_keys([public_pem("first")])
    for header in ({"alg": "RS256"}, {"alg": "RS256", "kid": "named-otherwise"}):
        assert check(keys, forge(header, GOOD_CLAIMS, signed_by("first"))) == GOOD_CLAIMS
        with pytest.raises(UnknownKey):
            check(keys, forge(header, GOOD_CLAIMS, signed_by("stranger")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"iss": "http://127.0.0.1:8000/auth/realms/other"}, "issuer"),
        ({"iss": ISSUER + "/"}, "issuer"),
        ({"iss": None}, "issuer"),
        ({"iss": [ISSUER]}, "issuer"),
        ({"aud": "another"}, "audience"),
        ({"aud": None}, "audience"),
        ({"aud": []}, "audience"),
        ({"aud": [[ISSUER], {"x": 1}]}, "audience"),
        ({"aud": {ISSUER: 1}}, "audience"),
        ({"scope": None}, "scope"),
        ({"scope": ["olp-report-api"]}, "scope"),
        ({"scope": "olp-report-api-not"}, "scope"),
        ({"exp": None}, "exp"),
        ({"exp": True}, "exp"),
        ({"exp": str(NOW + LIFE)}, "exp"),
        ({"exp": -5}, "exp"),
        ({"exp": 10**400}, "exp"),
        ({"exp": NOW}, "expired"),
        ({"exp": NOW - 0.5}, "expired"),
        ({"iat": None}, "iat"),
        ({"iat": NOW + 61}, "not valid yet"),
        ({"nbf": NOW + 61}, "not valid yet"),
        ({"nbf": "now"}, "nbf"),
        ({"iat": NOW + 30, "exp": NOW + 10}, "ends before"),
    ],
)
def test_claims_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    token = key_of("first").sign({**GOOD_CLAIMS, **changes})
    with pytest.raises(Unauthenticated, match=message):
        check(keys_of("first"), token, scope=contract.SCOPE)


@pytest.mark.parametrize("endless", ["NaN", "Infinity", "1e999"])
def test_a_token_cannot_live_for_ever(endless: str) -> None:
    claims = json.dumps({**GOOD_CLAIMS, "exp": "EXP"}).replace('"EXP"', endless)
    header = json.dumps({"alg": "RS256", "kid": key_of("first").kid})
    signed = f"{base64url(header.encode())}.{base64url(claims.encode())}"
    with pytest.raises(Unauthenticated, match="exp"):
        check(keys_of("first"), f"{signed}.{base64url(signed_by('first')(signed.encode()))}")


def test_a_token_is_good_until_the_second_it_expires_and_no_longer() -> None:
    keys, token = keys_of("first"), access_token()
    assert check(keys, token, now_seconds=NOW + LIFE - 0.001)
    with pytest.raises(Unauthenticated, match="expired"):
        check(keys, token, now_seconds=NOW + LIFE)
    assert check(keys, token, now_seconds=NOW + LIFE + 9, leeway_seconds=10)
    with pytest.raises(Unauthenticated, match="expired"):
        check(keys, token, now_seconds=NOW + LIFE + 10, leeway_seconds=10)


def test_a_node_whose_clock_lags_takes_the_tokens_of_one_that_runs_ahead() -> None:
    assert check(keys_of("first"), access_token(), now_seconds=NOW - signing.CLOCK_SKEW_SECONDS)


def test_a_token_that_is_too_long_is_refused_before_it_is_parsed() -> None:
    token = key_of("first").sign({**GOOD_CLAIMS, "padding": "x" * signing.MAX_TOKEN_CHARS})
    with pytest.raises(Unauthenticated, match="not a signed JWT"):
        check(keys_of("first"), token)


# --- the cache of verified tokens ------------------------------------------------------------------------------------


class CountingKeys(VerifyingKeys):
    """Counts how often a token is really verified."""

    def __init__(self, *names: str) -> None:
        known = keys_of(*names)
        super().__init__(known._by_kid, known._bare)
        self.verified = 0

    def verify(self, token: str, **wanted: Any) -> dict[str, Any]:
        self.verified += 1
        return super().verify(token, **wanted)


def cache_over(keys: VerifyingKeys, **options: Any) -> VerifiedTokens:
    return VerifiedTokens(keys, issuer=ISSUER, audience=ISSUER, scope=contract.SCOPE, **options)


def test_a_token_is_verified_once_and_then_remembered() -> None:
    keys = CountingKeys("first")
    tokens = cache_over(keys)
    first = tokens.verify(access_token(), NOW)
    assert tokens.verify(access_token(), NOW + 1) is first
    assert keys.verified == 1
    assert first["sub"] == GAME


def test_remembered_claims_cannot_be_changed() -> None:
    claims = cache_over(keys_of("first")).verify(access_token(), NOW)
    with pytest.raises(TypeError):
        claims["client_id"] = "another"  # type: ignore[index]


def test_a_remembered_token_expires_on_time_and_is_dropped() -> None:
    tokens = cache_over(keys_of("first"))
    tokens.verify(access_token(), NOW)
    assert tokens.verify(access_token(), NOW + LIFE - 1)
    with pytest.raises(Unauthenticated, match="expired"):
        tokens.verify(access_token(), NOW + LIFE)
    assert len(tokens) == 0


def test_expired_tokens_make_room_when_others_come() -> None:
    tokens = cache_over(keys_of("first"))
    for age in range(5):
        tokens.verify(access_token(now=NOW + age), NOW + age)
    assert len(tokens) == 5
    tokens.verify(access_token(now=NOW + LIFE + 2), NOW + LIFE + 2)
    assert len(tokens) == 3


def test_the_cache_is_bounded_and_lets_the_oldest_go() -> None:
    keys = CountingKeys("first")
    tokens = cache_over(keys, capacity=3)
    for age in range(5):
        tokens.verify(access_token(now=NOW + age), NOW + age)
    assert len(tokens) == 3
    tokens.verify(access_token(now=NOW + 4), NOW + 4)
    assert keys.verified == 5
    tokens.verify(access_token(now=NOW), NOW + 4)
    assert keys.verified == 6


def test_refused_tokens_are_not_remembered() -> None:
    tokens = cache_over(keys_of("first"))
    for _ in range(3):
        with pytest.raises(UnknownKey):
            tokens.verify(access_token("second"), NOW)
    assert len(tokens) == 0


def test_new_keys_forget_the_tokens_of_withdrawn_ones() -> None:
    tokens = cache_over(keys_of("first"))
    tokens.verify(access_token("first"), NOW)
    tokens.replace_keys(keys_of("second"))
    assert tokens.verify(access_token("second"), NOW)
    with pytest.raises(UnknownKey):
        tokens.verify(access_token("first"), NOW)


def test_a_token_verified_while_the_keys_change_is_not_remembered() -> None:
    class ChangingKeys(CountingKeys):
        def verify(self, token: str, **wanted: Any) -> dict[str, Any]:
            claims = super().verify(token, **wanted)
            tokens.replace_keys(keys_of("second"))
            return claims

    tokens = cache_over(ChangingKeys("first"))
    tokens.verify(access_token("first"), NOW)
    with pytest.raises(UnknownKey):
        tokens.verify(access_token("first"), NOW)


# --- webhook signatures ----------------------------------------------------------------------------------------------

OLD_SECRET = new_webhook_secret(b"o" * 32)
NEW_SECRET = new_webhook_secret(b"n" * 24)


def webhook_headers(
    body: bytes = MATCH_INFO, secrets: tuple[str, ...] = (NEW_SECRET,), webhook_id: str = "msg_1", at: int = NOW
) -> dict[str, str]:
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(at),
        "webhook-signature": sign_webhook(secrets, webhook_id, at, body),
    }


def test_a_secret_has_the_standard_form() -> None:
    assert base64.b64decode(NEW_SECRET.removeprefix("whsec_")) == b"n" * 24
    for size in (0, 23, 65):
        with pytest.raises(ValueError, match="24 to 64"):
            new_webhook_secret(b"x" * size)


@given(st.binary(min_size=24, max_size=64), st.integers(0, 2**32), st.text(max_size=50))
def test_the_signature_is_the_standards_hmac(secret: bytes, at: int, text: str) -> None:
    body = text.encode()
    expected = hmac.digest(secret, b"msg_1.%d." % at + body, "sha256")
    assert sign_webhook([new_webhook_secret(secret)], "msg_1", at, body) == "v1," + base64.b64encode(expected).decode()


def test_the_standards_own_library_takes_the_signature() -> None:
    now = int(time.time())
    assert Webhook(NEW_SECRET).verify(MATCH_INFO, webhook_headers(at=now)) == json.loads(MATCH_INFO)


def test_during_a_rotation_each_secret_signs_and_either_is_enough() -> None:
    headers = webhook_headers(secrets=(OLD_SECRET, NEW_SECRET))
    assert len(headers["webhook-signature"].split(" ")) == 2
    for held in ([OLD_SECRET], [NEW_SECRET], [NEW_SECRET, OLD_SECRET]):
        assert verify_webhook(held, headers, MATCH_INFO, now_seconds=NOW) == "msg_1"
    with pytest.raises(Unauthenticated):
        verify_webhook([new_webhook_secret(b"x" * 32)], headers, MATCH_INFO, now_seconds=NOW)


def test_header_names_are_taken_in_any_case() -> None:
    headers = {name.title(): value for name, value in webhook_headers().items()}
    assert verify_webhook([NEW_SECRET], headers, MATCH_INFO, now_seconds=NOW) == "msg_1"


@given(st.data())
def test_no_byte_of_what_is_signed_can_be_changed(data: st.DataObject) -> None:
    headers, body = webhook_headers(), bytearray(MATCH_INFO)
    what = data.draw(st.sampled_from(["body", "longer", "webhook-id", "webhook-timestamp", "webhook-signature"]))
    if what == "body":
        body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    elif what == "longer":
        body += data.draw(st.binary(min_size=1, max_size=3))
    else:
        text = headers[what]
        at = data.draw(st.integers(0, len(text) - 1))
        other = data.draw(st.characters(max_codepoint=0x2FF).filter(lambda c: c != text[at]))
        headers[what] = text[:at] + other + text[at + 1 :]
    # A change of the signature's "v1" or of its white space leaves no signature that could hold.
    with pytest.raises(Unauthenticated):
        verify_webhook([NEW_SECRET], headers, bytes(body), now_seconds=NOW)


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_each_header_is_needed(missing: str) -> None:
    headers = webhook_headers()
    del headers[missing]
    with pytest.raises(Unauthenticated, match="needed"):
        verify_webhook([NEW_SECRET], headers, MATCH_INFO, now_seconds=NOW)
    with pytest.raises(Unauthenticated, match="needed"):
        verify_webhook([NEW_SECRET], {**headers, missing: ""}, MATCH_INFO, now_seconds=NOW)


def test_the_timestamp_must_be_near_the_present_on_either_side() -> None:
    headers = webhook_headers()
    for near in (NOW - 300, NOW + 300):
        assert verify_webhook([NEW_SECRET], headers, MATCH_INFO, now_seconds=near)
    for far in (NOW - 300.1, NOW + 300.1, 0, NOW * 10):
        with pytest.raises(Unauthenticated, match="present"):
            verify_webhook([NEW_SECRET], headers, MATCH_INFO, now_seconds=far)
    with pytest.raises(Unauthenticated, match="present"):
        verify_webhook([NEW_SECRET], headers, MATCH_INFO, now_seconds=NOW + 11, tolerance_seconds=10)


@pytest.mark.parametrize("stamp", ["soon", "-5", "1e9", f"0{NOW}", f" {NOW}", f"{NOW}.0", "١٨٠٠٠٠٠٠٠٠", "9" * 400])
def test_only_the_plain_spelling_of_a_time_is_taken(stamp: str) -> None:
    with pytest.raises(Unauthenticated, match="Unix time"):
        verify_webhook([NEW_SECRET], {**webhook_headers(), "webhook-timestamp": stamp}, MATCH_INFO, now_seconds=NOW)


@pytest.mark.parametrize("signature", ["v1", "v1,", ",", "v2,AAAA", "v1,AAAA", "v1,%%%", "ü", " ", "v1a,AAAA v1,AAAA"])
def test_strange_signatures_are_refused(signature: str) -> None:
    with pytest.raises(Unauthenticated):
        verify_webhook([NEW_SECRET], {**webhook_headers(), "webhook-signature": signature}, MATCH_INFO, now_seconds=NOW)


def test_signatures_of_other_versions_beside_the_right_one_do_no_harm() -> None:
    headers = webhook_headers()
    headers["webhook-signature"] = f"v1a,AAAA v2,BBBB {headers['webhook-signature']} v1,CCCC"
    assert verify_webhook([NEW_SECRET], headers, MATCH_INFO, now_seconds=NOW) == "msg_1"


def test_no_secret_verifies_nothing() -> None:
    with pytest.raises(Unauthenticated):
        verify_webhook([], webhook_headers(), MATCH_INFO, now_seconds=NOW)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_AAAA", "whsec_%%%", "b" * 44, "whsec_" + "ü" * 40])
def test_a_malformed_secret_is_refused_without_quoting_it(secret: str) -> None:
    with pytest.raises(UnusableKey) as caught:
        sign_webhook([secret], "msg_1", NOW, MATCH_INFO)
    assert not secret.removeprefix("whsec_") or secret not in str(caught.value)


# --- hashes ----------------------------------------------------------------------------------------------------------


def test_a_token_is_hashed_with_sha_256() -> None:
    assert hash_token("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert hash_token("é") == hashlib.sha256(b"\xc3\xa9").hexdigest()


def test_text_that_is_not_valid_unicode_has_a_hash_too() -> None:
    assert len(hash_token("\ud800")) == 64

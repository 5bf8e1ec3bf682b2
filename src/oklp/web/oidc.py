"""The issuer (contract section A2): tokens for games, keys, and the documents that stock OpenID clients read.

Errors here follow RFC 6749 §5.2, not RFC 9457.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote_plus

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from oklp import signing
from oklp.contract import CLIENT_CREDENTIALS, SCOPE
from oklp.errors import InvariantBroken, OklpError, Unauthenticated
from oklp.services import auth
from oklp.services.auth import ClientLogin
from oklp.web import faults
from oklp.web.caller import GAME, form_fields
from oklp.web.context import Asked, Context, context_behind
from oklp.web.problems import NO_STORE, oauth_answer, oauth_problem
from oklp.web.requests import JsonText

FORM = "application/x-www-form-urlencoded"
_CLIENT_ID = re.compile(r"[a-z0-9-]{1,64}")

Handler = Callable[[Asked], Awaitable[Response]]


class OAuthError(Exception):
    """RFC 6749 §5.2. A 401 asks for HTTP Basic, the one scheme that clients may use here."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.error = error
        self.description = description
        self.status = status

    def answer(self) -> Response:
        headers = {"WWW-Authenticate": 'Basic realm="oklp"'} if self.status == 401 else {}
        return oauth_answer(self.error, self.description, self.status, headers)


def _oauth(handler: Handler) -> Handler:
    async def guarded(request: Asked) -> Response:
        try:
            if request.path_params["realm"] != context_behind(request).settings.realm:
                return oauth_answer("invalid_request", "There is no such realm here.", 404)
            return await handler(request)
        except OAuthError as error:
            return error.answer()
        except InvariantBroken:
            raise
        except OklpError as refusal:
            return oauth_problem(refusal)

    return guarded


# --- clients ---------------------------------------------------------------------------------------------------------


async def _form(request: Asked) -> dict[str, str]:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != FORM:
        raise OAuthError("invalid_request", f"The body must be {FORM}.")
    return form_fields(await request.body())


def _credentials(request: Asked, form: dict[str, str]) -> tuple[str, str]:
    """Client id and secret, from HTTP Basic (RFC 6749 §2.3.1: its halves are form-encoded) or from the form."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            text = base64.b64decode(encoded.strip(), validate=True).decode("utf-8")
        except (binascii.Error, ValueError):
            raise OAuthError("invalid_client", "The Basic credentials cannot be read.", 401) from None
        client_id, colon, secret = text.partition(":")
        if not colon:
            raise OAuthError("invalid_client", "The Basic credentials have no secret.", 401)
        client_id, secret = unquote_plus(client_id), unquote_plus(secret)
        if form.get("client_id") not in (None, "", client_id):
            raise OAuthError("invalid_request", "The client_id is given twice, and not the same.")
        return client_id, secret
    client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
    if not client_id:
        raise OAuthError("invalid_client", "The client_id is missing.", 401)
    return client_id, secret


async def _client(request: Asked, context: Context, form: dict[str, str]) -> str:
    client_id, secret = _credentials(request, form)
    refused = OAuthError("invalid_client", "Invalid client or client credentials.", 401)
    if not secret or _CLIENT_ID.fullmatch(client_id) is None:
        raise refused
    if context.settings.sandbox:
        request.scope[GAME] = client_id
    question = ClientLogin(client_id, signing.hash_token(secret), context.clock())
    try:
        request.scope[GAME] = await context.db.read_set(auth.authenticate_clients, question)
    except Unauthenticated:
        raise refused from None
    return client_id


@_oauth
async def token(request: Asked) -> Response:
    """Client credentials → an access token, RS256."""
    context = context_behind(request)
    form = await _form(request)
    client_id = await _client(request, context, form)
    grant = form.get("grant_type", "")
    if not grant:
        raise OAuthError("invalid_request", "The grant_type is missing.")
    if grant != CLIENT_CREDENTIALS:
        raise OAuthError("unsupported_grant_type", f"Only {CLIENT_CREDENTIALS} is supported.")
    life = context.settings.access_token_seconds
    now_seconds = context.clock() // 1000
    stroke = await faults.strike(context, client_id, faults.ISSUER)
    if stroke is not None:
        if (refusal := faults.refusal_of(stroke)) is not None:
            raise refusal
        now_seconds += stroke.offset_seconds or 0
    claims = signing.access_claims(context.settings.issuer, client_id, now_seconds, life, secrets.token_hex(16))
    answer = {
        "access_token": await context.signer.sign(context.keys.current, claims),
        "expires_in": life,
        "refresh_expires_in": 0,
        "token_type": "Bearer",
        "not-before-policy": 0,
        "scope": SCOPE,
    }
    return JsonText(json.dumps(answer), NO_STORE)


@_oauth
async def introspect(request: Asked) -> Response:
    """RFC 7662. A client learns of tokens that this issuer made for it, and that any other is not active."""
    context = context_behind(request)
    form = await _form(request)
    client_id = await _client(request, context, form)
    asked = form.get("token")
    if asked is None:
        raise OAuthError("invalid_request", "The token is missing.")
    try:
        claims = context.tokens.verify(asked, context.clock() / 1000)
    except OklpError:
        return JSONResponse({"active": False}, headers=NO_STORE)
    if claims["client_id"] != client_id:
        return JSONResponse({"active": False}, headers=NO_STORE)
    return JSONResponse({"active": True, "token_type": "Bearer", **claims}, headers=NO_STORE)


# --- documents -------------------------------------------------------------------------------------------------------


@_oauth
async def realm(request: Asked) -> Response:
    """What the public pages' clients read: the key without armour."""
    context = context_behind(request)
    issuer = context.settings.issuer
    return JSONResponse(
        {
            "realm": context.settings.realm,
            "public_key": context.keys.public_key,
            "token-service": f"{issuer}/protocol/openid-connect",
            "account-service": f"{issuer}/account",
            "tokens-not-before": 0,
        }
    )


@_oauth
async def certs(request: Asked) -> Response:
    # A new key signs at once: whoever was answered from a cache could not verify what it has signed.
    return JSONResponse(context_behind(request).keys.jwks, headers={"Cache-Control": "no-cache"})


def discovery_document(issuer: str) -> dict[str, Any]:
    """OpenID Connect Discovery 1.0 §3, as far as an issuer of client credentials has anything to say."""
    base = f"{issuer}/protocol/openid-connect"
    methods = ["client_secret_post", "client_secret_basic"]
    return {
        "issuer": issuer,
        "token_endpoint": f"{base}/token",
        "introspection_endpoint": f"{base}/token/introspect",
        "jwks_uri": f"{base}/certs",
        "grant_types_supported": [CLIENT_CREDENTIALS],
        "response_types_supported": ["none"],  # nobody logs in here; readers refuse an empty list (RFC 8414, section 2)
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_methods_supported": methods,
        "scopes_supported": [SCOPE],
        "claims_supported": ["iss", "aud", "sub", "iat", "exp", "jti", "azp", "client_id", "scope"],
    }


@_oauth
async def discovery(request: Asked) -> Response:
    return JSONResponse(discovery_document(context_behind(request).settings.issuer))


_BASE = "/auth/realms/{realm}"
token_route = Route(f"{_BASE}/protocol/openid-connect/token", token, methods=["POST"])
routes = [
    Route(_BASE, realm, methods=["GET"]),
    Route(f"{_BASE}/", realm, methods=["GET"]),  # as those write it who join addresses to it
    Route(f"{_BASE}/.well-known/openid-configuration", discovery, methods=["GET"]),
    Route(f"{_BASE}/protocol/openid-connect/certs", certs, methods=["GET"]),
    token_route,
    Route(f"{_BASE}/protocol/openid-connect/token/introspect", introspect, methods=["POST"]),
]

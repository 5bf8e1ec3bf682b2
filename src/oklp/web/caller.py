"""Who is calling: access tokens of games, sessions of people; and what they say about retries and pages."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import re
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import datetime
from typing import Annotated, Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import parse_qsl

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ValidationError
from starlette.requests import HTTPConnection
from starlette.responses import Response

from oklp.errors import Forbidden, MalformedRequest, RequestTooLarge, Unauthenticated, invalid
from oklp.services import auth, idempotency
from oklp.services.auth import Person, SessionQuestion
from oklp.services.idempotency import Answer, Claim
from oklp.services.matches import Caller
from oklp.services.staff import Operator
from oklp.signing import hash_token
from oklp.storage.engine import Tx
from oklp.web import problems
from oklp.web.context import Asked, Context, context_of
from oklp.web.live import session_holds

MAX_TOKEN_CHARS = 4_096
MAX_DIGITS = 4_300  # of an integer; the readers of JSON take no more
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
PROVED = "oklp.session"  # in a request's scope: the hash of the session that it was found to have
GAME = "oklp.game"  # in a request's scope: whose log it belongs to
Model = TypeVar("Model", bound=BaseModel)
_KEY = re.compile(r"[\x21-\x7e]{1,255}")

P = ParamSpec("P")

Limit = Annotated[int, Query(ge=1, le=200)]
Cursor = Annotated[str | None, Query(max_length=200)]


def bearer(request: Asked) -> str:
    """The token of `Authorization: Bearer …`. Raises Unauthenticated."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("An Authorization header with a Bearer token is needed.")
    if len(token) > MAX_TOKEN_CHARS:
        raise Unauthenticated("The token is none of ours.", token_refused=True)
    return token


def game_of(request: Asked, context: Context) -> str:
    """The game that calls, by its access token (A2)."""
    token = bearer(request)
    try:
        claims = context.tokens.verify(token, context.clock() / 1000)
    except Unauthenticated as refusal:
        if context.settings.sandbox:  # elsewhere anybody could fill a game's log
            request.scope[GAME] = _claimed(token)
        raise Unauthenticated(refusal.detail, token_refused=True) from None
    request.scope[GAME] = game_id = str(claims["client_id"])
    return game_id


def _claimed(token: str) -> str | None:
    """The game that a refused token says it is of, for its log alone."""
    try:
        payload = token.split(".")[1]
        said = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["client_id"]
    except (IndexError, KeyError, TypeError, ValueError, RecursionError):
        return None
    return said if isinstance(said, str) and said.isascii() and len(said) <= 64 else None


async def person_of(request: Request, context: Context) -> Person:
    token = bearer(request)
    if "." in token:  # a game's JWT: known to be no session without asking the database
        raise Unauthenticated("A session token is needed here.", token_refused=True)
    person = await context.db.read_set(auth.sessions, SessionQuestion(hash_token(token), context.clock()))
    request.scope[PROVED] = hash_token(token)
    return person


async def still_valid(here: Context, request: Request) -> bool:
    """A session that was ended elsewhere ends its streams as well."""
    return await session_holds(here, hash_token(bearer(request)))


# The APIs by the part of their address that names them, and whom each is for.
KINDS = {"player": "player", "studio": "member", "operator": "operator"}
_OTHERS = {"player": "This is for players.", "member": "This is for studios.", "operator": "This is for operators."}


def _kind(request: Request) -> str:
    """Whose API this is: `/api/studio/v1/…` is for members."""
    return KINDS[request.scope["path"].split("/")[2]]


async def _self(request: Request) -> Person:
    person = await person_of(request, context_of(request))
    kind = _kind(request)
    if person.kind != kind:
        raise Forbidden(_OTHERS[kind])
    return person


async def _operator(request: Request, person: Annotated[Person, Depends(_self)]) -> Operator:
    return Operator.of(context_of(request).settings, person)


async def _player(person: Annotated[Person, Depends(_self)]) -> Caller:
    return Caller(person.id, person.username)


async def _here(connection: HTTPConnection) -> Context:
    # Were it no coroutine, the framework would ask for it in another thread, at each request.
    return context_of(connection)


OfKind = Annotated[str, Depends(_kind)]
AsSelf = Annotated[Person, Depends(_self)]
AsPlayer = Annotated[Caller, Depends(_player)]
AsMember = AsSelf
AsOperator = Annotated[Operator, Depends(_operator)]
Here = Annotated[Context, Depends(_here)]


def address_of(request: Request) -> str:
    """The client's address. Behind a proxy that is trusted, the server has put the forwarded one there."""
    return request.client.host if request.client is not None else "unknown"


async def claim_of(request: Request, caller: str) -> Claim | None:
    """The request's `Idempotency-Key`, bound to its caller, route and body; None without one."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if _KEY.fullmatch(key) is None:
        raise invalid("Idempotency-Key", "must be 1 to 255 visible ASCII characters")
    context = context_of(request)
    now = context.clock()
    return Claim(
        key=idempotency.Key(caller, f"{request.method} {request.scope['path']}", key),
        body_hash=hashlib.sha256(await request.body()).hexdigest(),
        now=now,
        valid_since=now - context.settings.idempotency_seconds * 1000,
    )


def answered(answer: Answer) -> Response:
    """An answer that was made, or kept, as text."""
    media_type = "application/json" if answer.status < 400 else problems.MEDIA_TYPE
    headers = {"Idempotent-Replayed": "true"} if answer.replayed else None
    return Response(answer.body, answer.status, headers, media_type)


async def once(
    here: Context,
    request: Request,
    caller: str,
    status: int,
    work: Callable[Concatenate[Tx, P], BaseModel],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> Response:
    """Do `work` in the write lane, or replay the answer that the request's idempotency key has already had.

    `caller` is the id of the person whose key it is.
    """
    claim = await claim_of(request, caller)
    return answered(await here.db.write(idempotency.once, claim, status, work, *args, **kwargs))


async def parsed(request: Asked, model: type[Model]) -> Model:
    """The JSON body as a model, for the plain routes. Raises InvalidRequest or MalformedRequest."""
    body = (await request.body()).removeprefix(BYTE_ORDER_MARK)  # RFC 8259, section 8.1: it may be ignored
    try:
        try:
            return model.model_validate_json(body)
        except ValidationError as error:
            if not problems.is_out_of_range(error):
                raise
            return model.model_validate(_without_long_numbers(body))
    except ValidationError as error:
        raise problems.invalid_fields(error.errors(include_url=False, include_input=False)) from None


def _without_long_numbers(body: bytes) -> Any:
    """JSON in which integers that cannot be read are infinite: the field that has one says that it is no integer."""
    try:
        return json.loads(body, parse_int=lambda digits: int(digits) if len(digits) <= MAX_DIGITS else math.inf)
    except ValueError:
        raise problems.no_json() from None


# --- pages -----------------------------------------------------------------------------------------------------------


def to_cursor(*parts: object) -> str:
    """An opaque cursor."""
    return base64.urlsafe_b64encode(":".join(map(str, parts)).encode()).decode().rstrip("=")


def from_cursor(cursor: str | None, *kinds: type[int] | type[str]) -> tuple[Any, ...] | None:
    """The parts of a cursor. Raises InvalidRequest for one that was not made here."""
    if cursor is None:
        return None
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
        parts = text.split(":")
        if len(parts) != len(kinds) or not text.isprintable():
            raise ValueError(text)
        values = tuple(kind(part) for kind, part in zip(kinds, parts, strict=True))
        if any(isinstance(value, int) and not 0 <= value < 2**63 for value in values):
            raise ValueError(text)
    except (ValueError, binascii.Error):
        raise invalid("cursor", "is not a cursor from an earlier page") from None
    return values


def milliseconds(at: datetime | None) -> int | None:
    """A time as it was given → since the epoch."""
    return None if at is None else math.floor(at.timestamp() * 1000)


# --- bodies ----------------------------------------------------------------------------------------------------------


class BodyLimit:
    """Refuses bodies above a size, counted as they come: a declared length proves nothing."""

    def __init__(self, app: Any, limit_bytes: int, refused: Callable[[Any, Exception], Awaitable[Response]]) -> None:
        self._app = app
        self._limit_bytes = limit_bytes
        self._refused = refused

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if declared.isdigit() and int(declared) > self._limit_bytes:
            answer = await self._refused(Request(scope, receive), too_large(self._limit_bytes))
            await answer(scope, receive, send)
            return
        seen = 0

        async def counted() -> Any:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._limit_bytes:
                raise too_large(self._limit_bytes)
            return message

        await self._app(scope, counted, send)


class EmptyParameters:
    """An empty parameter of the APIs is none, as for clients that write those they have no value for: `?cursor=`."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["query_string"] and scope["path"].startswith("/api/"):
            given = scope["query_string"].split(b"&")
            scope["query_string"] = b"&".join(each for each in given if each.partition(b"=")[2])
        await self._app(scope, receive, send)


def too_large(limit_bytes: int) -> RequestTooLarge:
    return RequestTooLarge(f"The body is limited to {limit_bytes} bytes.")


def form_fields(body: bytes) -> dict[str, str]:
    """An `application/x-www-form-urlencoded` body. Raises MalformedRequest when it is none, or repeats a field."""

    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=100, errors="strict")
    except ValueError:
        raise MalformedRequest("The form cannot be read.") from None
    fields: dict[str, str] = {}
    for name, value in pairs:
        if name in fields:
            raise MalformedRequest(f"The field {name!r} is given twice.")
        fields[name] = value
    return fields

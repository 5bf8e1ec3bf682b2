"""Refusals as `application/problem+json` (RFC 9457; contract B1), under `/auth` in the form of RFC 6749, section 5.2.

No input gives a 500.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from oklp.errors import (
    FieldError,
    InvalidRequest,
    InvariantBroken,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    OklpError,
    Unauthenticated,
)
from oklp.services.idempotency import problem_json

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
SHOWN_FIELDS = 50
ISSUER = "/auth"
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_NOT_IN_OAUTH = re.compile(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]")


def refused(path: str, refusal: OklpError, headers: Mapping[str, str] | None = None) -> Response:
    """The answer to a refusal, in the form that this address answers in."""
    return oauth_problem(refusal, headers) if is_issuer(path) else problem(refusal, headers)


def is_issuer(path: str) -> bool:
    return path == ISSUER or path.startswith(f"{ISSUER}/")


def problem(refusal: OklpError, headers: Mapping[str, str] | None = None) -> Response:
    """The answer to a refusal, with `Retry-After` and `WWW-Authenticate` where HTTP wants them."""
    more = dict(headers or {})
    if refusal.retry_after_seconds is not None:
        more["Retry-After"] = str(refusal.retry_after_seconds)
    if isinstance(refusal, Unauthenticated):
        # RFC 6750, section 3: whoever sent no token is told the scheme alone, and whoever did, that it is no good.
        more.setdefault("WWW-Authenticate", 'Bearer error="invalid_token"' if refusal.token_refused else "Bearer")
    return Response(problem_json(refusal), refusal.status, more, MEDIA_TYPE)


def oauth_problem(refusal: OklpError, headers: Mapping[str, str] | None = None) -> Response:
    """A refusal that OAuth has no word of its own for."""
    more = dict(headers or {})
    if refusal.retry_after_seconds is not None:
        more["Retry-After"] = str(refusal.retry_after_seconds)
    error = "invalid_request" if refusal.status < 500 else "server_error"
    if refusal.status in (429, 503):
        error = "temporarily_unavailable"
    return oauth_answer(error, refusal.detail, refusal.status, more)


def oauth_answer(error: str, description: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """RFC 6749, section 5.2. What its characters do not cover becomes a question mark."""
    body = {"error": error, "error_description": _NOT_IN_OAUTH.sub("?", description)}
    return Response(json.dumps(body), status, {**NO_STORE, **(headers or {})}, "application/json")


def invalid_fields(errors: Sequence[Any]) -> OklpError:
    """Pydantic's findings as a refusal. The input is not echoed: it may hold a secret."""
    located = [(error["loc"], error["msg"], error["type"]) for error in errors[:SHOWN_FIELDS]]
    if any(kind in ("json_invalid", "json_type") for _, _, kind in located):
        return no_json()
    if any(loc and loc[0] == "path" for loc, _, _ in located):
        return NotFound("There is nothing at this address.")
    fields = tuple(FieldError(_dotted(loc), message) for loc, message, _ in located)
    return InvalidRequest("; ".join(f"{each.field}: {each.message}" for each in fields[:3]), errors=fields)


def no_json() -> OklpError:
    return MalformedRequest("The body is not valid JSON.")


def is_out_of_range(error: ValidationError) -> bool:
    """Whether the body is well-formed so far, with a number of more digits than its reader takes."""
    found = error.errors(include_url=False, include_input=False)
    return any(each["type"] == "json_invalid" and "number out of range" in each["msg"] for each in found)


def _dotted(location: Sequence[Any]) -> str:
    parts = [str(part) for part in location]
    if parts and parts[0] in ("body", "query", "header"):
        parts = parts[1:]
    return ".".join(parts) or "body"


# Each is given a request of the framework's, or one of the short way's: of both, `scope` is what is asked for.


async def on_oklp_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, OklpError):
        raise error
    if isinstance(error, InvariantBroken):
        log.error("an invariant is broken: %s", error.detail, exc_info=error)
        error = InvariantBroken("Something went wrong on our side.")
    return refused(request.scope["path"], error)


async def on_validation_error(request: Request, error: Exception) -> Response:
    if isinstance(error, RequestValidationError | ValidationError):
        found = error.errors()
        return refused(request.scope["path"], _no_json(request, found) or invalid_fields(found))
    raise error


def _no_json(request: Request, errors: Sequence[Any]) -> OklpError | None:
    """A body that was sent as something else is read as one text, of which no field is at fault."""
    media_type = Headers(scope=request.scope).get("content-type", "").partition(";")[0].strip().lower()
    if media_type.endswith(("/json", "+json")) or not any(tuple(error["loc"]) == ("body",) for error in errors):
        return None
    return MalformedRequest("The body must be JSON, sent with the header Content-Type: application/json.")


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Unknown addresses, wrong methods, bodies that cannot be parsed."""
    if not isinstance(error, HTTPException):
        raise error
    cause = error.__cause__
    if isinstance(cause, OklpError):  # ours, met while the framework was reading the body
        return refused(request.scope["path"], cause)
    if isinstance(cause, ValueError):  # well-formed JSON that is not read all the same
        why = "is not UTF-8" if isinstance(cause, UnicodeError) else "has a number with too many digits"
        return refused(request.scope["path"], MalformedRequest(f"The body {why}."))
    kinds: dict[int, type[OklpError]] = {404: NotFound, 405: MethodNotAllowed}
    refusal = kinds.get(error.status_code, MalformedRequest)(str(error.detail))
    headers = dict(error.headers or {})
    # The framework names the methods of the first route that the address has, and there may be others.
    if error.status_code == 405 and (allowed := request.app.state.methods.of(request.scope["path"])):
        headers["Allow"] = ", ".join(sorted(allowed))
    return refused(request.scope["path"], refusal, headers)


async def on_recursion(request: Request, _error: Exception) -> Response:
    return refused(request.scope["path"], MalformedRequest("The body is nested too deeply."))


async def on_unforeseen(request: Request, error: Exception) -> Response:
    log.error("unforeseen error", exc_info=error)
    return refused(request.scope["path"], InvariantBroken("Something went wrong on our side."))

"""Refusals as `application/problem+json` (RFC 9457; contract section B1). No input gives a 500."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
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


def problem(refusal: OklpError, headers: Mapping[str, str] | None = None) -> Response:
    """The answer to a refusal, with `Retry-After` and `WWW-Authenticate` where HTTP wants them."""
    more = dict(headers or {})
    if refusal.retry_after_seconds is not None:
        more["Retry-After"] = str(refusal.retry_after_seconds)
    if isinstance(refusal, Unauthenticated):
        more.setdefault("WWW-Authenticate", "Bearer")
    return Response(problem_json(refusal), refusal.status, more, MEDIA_TYPE)


def invalid_fields(errors: Sequence[Any]) -> OklpError:
    """Pydantic's findings as a refusal. The input is not echoed: it may hold a secret."""
    located = [(error["loc"], error["msg"], error["type"]) for error in errors[:SHOWN_FIELDS]]
    if any(kind in ("json_invalid", "json_type") for _, _, kind in located):
        return MalformedRequest("The body is not valid JSON.")
    if any(loc and loc[0] == "path" for loc, _, _ in located):
        return NotFound("There is nothing at this address.")
    fields = tuple(FieldError(_dotted(loc), message) for loc, message, _ in located)
    return InvalidRequest("; ".join(f"{each.field}: {each.message}" for each in fields[:3]), errors=fields)


def _dotted(location: Sequence[Any]) -> str:
    parts = [str(part) for part in location]
    if parts and parts[0] in ("body", "query", "header"):
        parts = parts[1:]
    return ".".join(parts) or "body"


async def on_oklp_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, OklpError):
        raise error
    if isinstance(error, InvariantBroken):
        log.error("an invariant is broken: %s", error.detail, exc_info=error)
        return problem(InvariantBroken("Something went wrong on our side."))
    return problem(error)


async def on_validation_error(_request: Request, error: Exception) -> Response:
    if isinstance(error, RequestValidationError | ValidationError):
        return problem(invalid_fields(error.errors()))
    raise error


async def on_http_exception(_request: Request, error: Exception) -> Response:
    """Unknown addresses, wrong methods, bodies that cannot be parsed."""
    if not isinstance(error, HTTPException):
        raise error
    cause = error.__cause__
    if isinstance(cause, OklpError):  # ours, met while the framework was reading the body
        return problem(cause)
    kinds: dict[int, type[OklpError]] = {404: NotFound, 405: MethodNotAllowed}
    refusal = kinds.get(error.status_code, MalformedRequest)(str(error.detail))
    return problem(refusal, error.headers)


async def on_recursion(_request: Request, _error: Exception) -> Response:
    return problem(MalformedRequest("The body is nested too deeply."))


async def on_unforeseen(_request: Request, error: Exception) -> Response:
    log.error("unforeseen error", exc_info=error)
    return problem(InvariantBroken("Something went wrong on our side."))

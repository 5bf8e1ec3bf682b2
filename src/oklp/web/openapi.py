"""The plain routes in the OpenAPI document, beside those that FastAPI describes itself; and how refusals look."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from oklp import contract

PROBLEM = "application/problem+json"
FORM = "application/x-www-form-urlencoded"

# As they are on the wire: what is read by what it is validated as, what is answered by what it is written as.
_MODELS: tuple[tuple[type[BaseModel], JsonSchemaMode], ...] = (
    (contract.TokenInfoRequest, "validation"),
    (contract.FinishRequest, "validation"),
    (contract.TokenInfo, "serialization"),
    (contract.FinishAnswer, "serialization"),
    (contract.TokenAnswer, "serialization"),
    (contract.Problem, "serialization"),
)


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _problems(*statuses: int) -> dict[str, Any]:
    texts = {
        400: "Cannot be read",
        401: "Not authenticated",
        403: "Not allowed",
        404: "Not found",
        405: "Method not allowed",
        409: "The state does not allow it",
        413: "Too large",
        422: "A field is not valid",
        429: "Too many requests",
        503: "Try again later",
    }
    return {
        str(status): {"description": texts[status], "content": {PROBLEM: {"schema": _ref(contract.Problem)}}}
        for status in statuses
    }


def _hot(summary: str, body: type[BaseModel], answer: type[BaseModel]) -> dict[str, Any]:
    return {
        "post": {
            "tags": ["game"],
            "summary": summary,
            "security": [{"game": []}],
            "requestBody": {"required": True, "content": {"application/json": {"schema": _ref(body)}}},
            "responses": {
                "200": {"description": "Done", "content": {"application/json": {"schema": _ref(answer)}}},
                **_problems(400, 401, 403, 404, 409, 413, 422, 503),
            },
        }
    }


def _form(summary: str, fields: dict[str, bool], answer: dict[str, Any]) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in fields},
        "required": [name for name, required in fields.items() if required],
    }
    oauth_error = {
        "type": "object",
        "properties": {"error": {"type": "string"}, "error_description": {"type": "string"}},
        "required": ["error"],
    }
    refused = {"description": "RFC 6749, section 5.2", "content": {"application/json": {"schema": oauth_error}}}
    return {
        "tags": ["issuer"],
        "summary": summary,
        "requestBody": {"required": True, "content": {FORM: {"schema": schema}}},
        "responses": {
            "200": {"description": "Done", "content": {"application/json": {"schema": answer}}},
            **{str(status): refused for status in (400, 401, 404, 413, 503)},
        },
    }


def _document(summary: str) -> dict[str, Any]:
    answer = {"description": "The document", "content": {"application/json": {"schema": {"type": "object"}}}}
    missing = {"description": "No such realm", "content": {"application/json": {"schema": {"type": "object"}}}}
    return {"get": {"tags": ["issuer"], "summary": summary, "responses": {"200": answer, "404": missing}}}


def _health(summary: str, media_type: str, answer: dict[str, Any], *others: int) -> dict[str, Any]:
    content = {"content": {media_type: {"schema": answer}}}
    responses = {"200": {"description": "Done", **content}}
    responses |= {str(status): {"description": "Not yet, or no longer", **content} for status in others}
    return {"get": {"tags": ["health"], "summary": summary, "responses": responses}}


def _health_paths() -> dict[str, Any]:
    status = {"type": "object", "properties": {"status": {"type": "string"}}, "required": ["status"]}
    return {
        "/healthz": _health("The process answers", "application/json", status),
        "/readyz": _health("The database is reachable and current", "application/json", status, 503),
        "/metrics": _health("Figures for Prometheus", "text/plain", {"type": "string"}),
    }


def _plain_paths() -> dict[str, Any]:
    realm = "/auth/realms/{realm}"
    finish = _hot("Report a result (A7)", contract.FinishRequest, contract.FinishAnswer)
    token_fields = {"grant_type": True, "client_id": False, "client_secret": False, "scope": False}
    issuer = {
        realm: _document("The realm and its public key (A2)"),
        f"{realm}/.well-known/openid-configuration": _document("OpenID Connect Discovery"),
        f"{realm}/protocol/openid-connect/certs": _document("JSON Web Key Set"),
        f"{realm}/protocol/openid-connect/token": {
            "post": _form("Client credentials for an access token (A2)", token_fields, _ref(contract.TokenAnswer))
        },
        f"{realm}/protocol/openid-connect/token/introspect": {
            "post": _form(
                "Token introspection (RFC 7662)",
                {"token": True, "client_id": False, "client_secret": False},
                {"type": "object", "properties": {"active": {"type": "boolean"}}, "required": ["active"]},
            )
        },
    }
    for item in issuer.values():
        item["parameters"] = [{"name": "realm", "in": "path", "required": True, "schema": {"type": "string"}}]
    return {
        "/api/game/v1/token-info": _hot(
            "What a match-token stands for (A6)", contract.TokenInfoRequest, contract.TokenInfo
        ),
        "/api/game/v1/finish": finish,
        "/api/games/v1/finish": finish,
        **issuer,
        **_health_paths(),
    }


def describe(app: FastAPI) -> None:
    """Make `app.openapi()` tell of every route, its callers and its refusals."""
    generated = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        document = generated()
        _, definitions = models_json_schema(_MODELS, ref_template="#/components/schemas/{model}")
        components = document.setdefault("components", {})
        components.setdefault("schemas", {}).update(definitions["$defs"])
        components["securitySchemes"] = {
            "session": {"type": "http", "scheme": "bearer", "description": "A session token (POST …/sessions)"},
            "game": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "An access token (A2)"},
        }
        for path, item in document["paths"].items():
            for operation in item.values():
                _add_common(path, operation)
        document["paths"].update(_plain_paths())
        app.openapi_schema = document
        return document

    app.openapi = openapi  # type: ignore[method-assign]


_OPEN = (
    "/players",
    "/sessions",
    "/studios",
    "/password-resets",
    "/password-resets/confirm",
    "/email-verifications/confirm",
    "/sessions/second-factor",
    "/sessions/passkey",
    "/sessions/passkey/options",
)


def _add_common(path: str, operation: dict[str, Any]) -> None:
    """Problems in place of FastAPI's own 422, and who may call."""
    responses = operation["responses"]
    responses.pop("422", None)
    responses.update(_problems(400, 401, 403, 404, 405, 409, 413, 422, 429, 503))
    is_open = path.endswith(_OPEN) and "requestBody" in operation
    if not is_open:
        operation["security"] = [{"game" if path.startswith("/api/game/") else "session": []}]

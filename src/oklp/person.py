"""Somebody with a session at a platform, over HTTP alone: what the checker and the studios' tools are built on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from oklp import contract

Model = TypeVar("Model", bound=BaseModel)


class ApiFault(Exception):
    """The platform did not do what was asked; the message is for people. `status` is None when it did not answer."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Person:
    """`api` is player, studio or operator. `http` has the platform's address as its base."""

    def __init__(self, http: httpx.AsyncClient, api: str, name: str = "", token: str = "") -> None:
        self.name = name
        self.http = http
        self.base = f"/api/{api}/v1"
        self.token = token

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"} if self.token else {}

    def fault(self, message: str, status: int | None = None) -> Exception:
        """What is raised; those who build on this may have an error of their own."""
        return ApiFault(message, status)

    async def send(
        self, method: str, path: str, body: Any = None, params: Mapping[str, Any] | None = None
    ) -> httpx.Response:
        """The answer, whatever it is. Raises `fault` when there is none."""
        try:
            return await self.http.request(method, self.base + path, json=body, params=params, headers=self.headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self.fault(f"{self.http.base_url} does not answer: {_kind(error)}") from error

    async def call(
        self, method: str, path: str, model: type[Model], body: Any = None, params: Mapping[str, Any] | None = None
    ) -> Model:
        """Raises `fault`, with the platform's own words when it refuses."""
        answer = await self.send(method, path, body, params)
        self.check(answer)
        try:
            return model.model_validate_json(answer.content)
        except ValidationError as error:
            raise self.fault(f"{answer.request.url} answers with something else than OKLP does.") from error

    def check(self, answer: httpx.Response) -> None:
        """Raises `fault` unless the platform did what was asked."""
        if not answer.is_success:
            asked = f"{answer.request.method} {answer.request.url.path}"
            raise self.fault(f"{asked} answered {answer.status_code}: {why(answer)}", answer.status_code)

    async def log_in(self, password: str) -> bool:
        answer = await self.send("POST", "/sessions", {"username": self.name, "password": password})
        if answer.is_success:
            self.token = contract.Session.model_validate_json(answer.content).token
        return answer.is_success


def why(answer: httpx.Response) -> str:
    """What a problem says (contract section B1), or the beginning of what is none."""
    try:
        return contract.Problem.model_validate_json(answer.content).detail
    except ValidationError:
        return " ".join(answer.text[:200].split())


def _kind(error: Exception) -> str:
    said = " ".join(str(error).split())
    return f"{type(error).__name__} {said}".strip()

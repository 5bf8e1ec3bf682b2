"""Second factors over HTTP, the same for players, studios and operators."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pyotp
import pytest

from tests.authenticator import Authenticator
from tests.harness import PASSWORD, Server
from tests.web.staff import log_in
from tests.web.test_account_api import fields, mail_to, person

BACKENDS = ("sqlite",)

KINDS = ["player", "studio", "operator"]


def must(answer: httpx.Response, status: int = 200) -> dict[str, Any]:
    assert answer.status_code == status, (answer.request.url, answer.text)
    found: dict[str, Any] = answer.json()
    return found


def enrol(http: httpx.Client) -> tuple[str, list[str]]:
    """An app, by its owner; its secret and the recovery codes."""
    answer = http.post("/me/totp", json={"password": PASSWORD})
    secret = must(answer)["secret"]
    assert answer.headers["cache-control"] == "no-store"
    added = must(http.post("/me/totp/confirm", json={"code": pyotp.TOTP(secret).now()}))
    assert len(added["recovery_codes"]) == 10
    return secret, added["recovery_codes"]


def api(served: Server, kind: str) -> httpx.Client:
    return httpx.Client(base_url=f"{served.url}/api/{kind}/v1", timeout=30)


def first_step(http: httpx.Client, name: str) -> dict[str, Any]:
    answer = http.post("/sessions", json={"username": name, "password": PASSWORD})
    problem = must(answer, 401)
    assert problem["type"] == "urn:oklp:error:second-factor-required"
    assert "token" not in problem
    assert problem["expires_in"] == 300
    return problem


def device(served: Server, **more: Any) -> Authenticator:
    """In the sandbox of the tests the site is `localhost`, since browsers take no addresses for hosts."""
    return Authenticator(origin=f"http://localhost:{served.port}", rp_id="localhost", **more)


@pytest.mark.parametrize("kind", KINDS)
def test_an_authenticator_app(served: Server, kind: str) -> None:
    name, email, http = person(served, kind)
    other = log_in(served, kind, name)
    assert fields(http.post("/me/totp", json={"password": "a guess"})) == {"password"}
    secret, recovery_codes = enrol(http)
    assert other.get("/me").status_code == 401  # it was opened by a password alone
    assert must(http.get("/me/second-factors")) == {
        "enabled": True,
        "totp": True,
        "passkeys": [],
        "recovery_codes_left": 10,
    }
    assert mail_to(served, email, "factor-added")["recipient"] == email
    door = api(served, kind)
    wrong = door.post("/sessions", json={"username": name, "password": "a guess"})
    assert wrong.json()["type"] == "urn:oklp:error:unauthenticated"
    problem = first_step(door, name)
    assert problem["methods"] == ["totp", "recovery-code"]
    pending = problem["pending_token"]
    assert door.get("/me", headers={"Authorization": f"Bearer {pending}"}).status_code == 401
    # A code counts once, and that of the next step counts already.
    code = pyotp.TOTP(secret).at(int(time.time()) + 30)
    session = must(door.post("/sessions/second-factor", json={"pending_token": pending, "code": code}), 201)
    assert door.get("/me", headers={"Authorization": f"Bearer {session['token']}"}).status_code == 200
    again = door.post("/sessions/second-factor", json={"pending_token": pending, "code": code})
    assert again.status_code == 401
    used = {"pending_token": first_step(door, name)["pending_token"], "code": code}
    assert door.post("/sessions/second-factor", json=used).status_code == 401
    recovery = {"pending_token": used["pending_token"], "recovery_code": recovery_codes[3]}
    must(door.post("/sessions/second-factor", json=recovery), 201)
    assert "9 are left" in mail_to(served, email, "recovery-code-used")["text"]
    assert http.post("/me/totp/remove", json={"password": PASSWORD}).status_code == 204
    log_in(served, kind, name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_passkey(served: Server, kind: str) -> None:
    name, _, http = person(served, kind)
    key = device(served)
    assert fields(http.post("/me/passkeys/options", json={"password": "a guess"})) == {"password"}
    options = must(http.post("/me/passkeys/options", json={"password": PASSWORD}))
    credential = key.create(options)
    made = must(http.post("/me/passkeys", json={"name": "my telephone", "credential": credential}), 201)
    assert len(made["recovery_codes"]) == 10
    assert fields(http.post("/me/passkeys", json={"name": "again", "credential": credential})) == {"credential"}
    door = api(served, kind)
    credential = key.get(must(door.post("/sessions/passkey/options", json={})))
    session = must(door.post("/sessions/passkey", json={"credential": credential}), 201)
    assert door.get("/me", headers={"Authorization": f"Bearer {session['token']}"}).status_code == 200
    assert fields(door.post("/sessions/passkey", json={"credential": credential})) == {"credential"}
    problem = first_step(door, name)
    assert problem["methods"] == ["passkey", "recovery-code"]
    pending = {"pending_token": problem["pending_token"]}
    credential = key.get(must(door.post("/sessions/passkey/options", json=pending)))
    must(door.post("/sessions/second-factor", json={**pending, "credential": credential}), 201)
    assert door.post("/sessions/passkey/options", json=pending).status_code == 401
    [shown] = must(http.get("/me/second-factors"))["passkeys"]
    assert (shown["name"], shown["passkey_id"]) == ("my telephone", made["passkey_id"])
    remove = f"/me/passkeys/{made['passkey_id']}/remove"
    assert http.post(remove, json={"password": PASSWORD}).status_code == 204
    assert http.post(remove, json={"password": PASSWORD}).status_code == 404
    log_in(served, kind, name)


def test_a_key_of_another_kind_of_person_opens_nothing(served: Server) -> None:
    _, _, http = person(served, "player")
    key = device(served)
    credential = key.create(must(http.post("/me/passkeys/options", json={"password": PASSWORD})))
    must(http.post("/me/passkeys", json={"name": "a player's", "credential": credential}), 201)
    door = api(served, "operator")
    credential = key.get(must(door.post("/sessions/passkey/options", json={})))
    assert fields(door.post("/sessions/passkey", json={"credential": credential})) == {"credential"}


def test_a_second_step_names_one_way(served: Server) -> None:
    door = api(served, "player")
    for body in ({}, {"code": "123456", "recovery_code": "a" * 16}):
        assert door.post("/sessions/second-factor", json={"pending_token": "x", **body}).status_code == 422
    for code in ("12345", "1234567", "12345a", "\uff11\uff12\uff13\uff14\uff15\uff16"):
        body = {"pending_token": "x", "code": code}
        assert fields(door.post("/sessions/second-factor", json=body)) == {"code"}
    unknown = door.post("/sessions/second-factor", json={"pending_token": "x", "code": "123456"})
    assert unknown.status_code == 401

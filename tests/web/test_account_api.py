"""One's own account over HTTP, the same for players, studios and operators."""

from __future__ import annotations

import itertools
import os
import re
import time
from typing import Any

import httpx
import pytest

from tests.harness import PASSWORD, PlayerClient, Server
from tests.web.staff import log_in

BACKENDS = ("sqlite",)

_numbers = itertools.count(1)
NEW_PASSWORD = "battery staple"
PAGES = {"player": "", "studio": "/studio", "operator": "/operator"}


def unique() -> str:
    return f"a{next(_numbers)}-{os.getpid()}"


def person(served: Server, kind: str) -> tuple[str, str, httpx.Client]:
    """Somebody new with an address: name, address, a client that is logged in."""
    name = unique()
    email = f"{name}@example.org"
    if kind == "player":
        PlayerClient(served.url, name, deposit=0)
    elif kind == "studio":
        body = {"name": name, "username": name, "email": email, "password": PASSWORD}
        assert httpx.post(f"{served.url}/api/studio/v1/studios", json=body).status_code == 201
    else:
        served.cli("operator", "create", "--username", name, "--password", PASSWORD, "--email", email)
    return name, email, log_in(served, kind, name)


def mail_to(served: Server, email: str, kind: str, seconds: float = 20) -> dict[str, Any]:
    """The newest mail of this kind, once it is sent: as the operator of a sandbox reads it."""
    until = time.monotonic() + seconds
    while True:
        answer = served.operator.get("/mails", params={"recipient": email, "state": "sent"})
        assert answer.status_code == 200, answer.text
        for mail in answer.json()["mails"]:
            if mail["kind"] == kind:
                return dict(mail)
        assert time.monotonic() < until, f"no mail of kind {kind} to {email}"
        time.sleep(0.02)


def token_in(served: Server, mail: dict[str, Any], page: str) -> str:
    found = re.search(rf"{re.escape(served.url)}{page}\?token=([A-Za-z0-9_-]+)", mail["text"])
    assert found is not None, mail["text"]
    return found[1]


def fields(answer: httpx.Response) -> set[str]:
    assert answer.status_code == 422, answer.text
    return {each["field"] for each in answer.json()["errors"]}


@pytest.mark.parametrize("kind", ["player", "studio", "operator"])
def test_a_forgotten_password(served: Server, kind: str) -> None:
    name, email, http = person(served, kind)
    api = httpx.Client(base_url=f"{served.url}/api/{kind}/v1", timeout=30)
    answers = [api.post("/password-resets", json={"name_or_email": asked}) for asked in (email.upper(), "nobody")]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].content == answers[1].content
    token = token_in(served, mail_to(served, email, "password-reset"), f"{PAGES[kind]}/reset-password")
    assert fields(api.post("/password-resets/confirm", json={"token": token, "password": "short"})) == {"password"}
    confirmed = api.post("/password-resets/confirm", json={"token": token, "password": NEW_PASSWORD})
    assert confirmed.status_code == 204, confirmed.text
    assert http.get("/me").status_code == 401
    assert api.post("/sessions", json={"username": name, "password": PASSWORD}).status_code == 401
    again = log_in(served, kind, name, NEW_PASSWORD)
    assert again.get("/me").json()["email_verified"] is True
    assert fields(api.post("/password-resets/confirm", json={"token": token, "password": PASSWORD})) == {"token"}
    assert email in mail_to(served, email, "password-changed")["recipient"]


@pytest.mark.parametrize("kind", ["player", "studio", "operator"])
def test_a_changed_password_and_the_sessions(served: Server, kind: str) -> None:
    name, _, http = person(served, kind)
    other = log_in(served, kind, name)
    third = log_in(served, kind, name)
    listed = http.get("/sessions").json()["sessions"]
    assert [each["current"] for each in listed].count(True) == 1
    assert len(listed) >= 3
    assert {each["address"] for each in listed} == {"127.0.0.1"}
    assert all(each["user_agent"].startswith("python-httpx/") for each in listed)
    [shown] = [each["session_id"] for each in third.get("/sessions").json()["sessions"] if each["current"]]
    assert http.delete(f"/sessions/{shown}").status_code == 204
    assert third.get("/me").status_code == 401
    assert http.delete(f"/sessions/{shown}").status_code == 404
    change = {"current_password": "a guess", "password": NEW_PASSWORD}
    assert fields(http.post("/me/password", json=change)) == {"current_password"}
    assert other.get("/me").status_code == 200
    assert http.post("/me/password", json={**change, "current_password": PASSWORD}).status_code == 204
    assert [client.get("/me").status_code for client in (http, other)] == [200, 401]
    fourth = log_in(served, kind, name, NEW_PASSWORD)
    assert http.delete("/sessions").status_code == 204
    assert [client.get("/me").status_code for client in (http, fourth)] == [200, 401]


def test_an_address_is_proved_and_changed(served: Server) -> None:
    _, email, http = person(served, "player")
    assert http.get("/me").json()["email_verified"] is False
    api = f"{served.url}/api/player/v1/email-verifications/confirm"
    token = token_in(served, mail_to(served, email, "email-verification"), "/verify-email")
    assert httpx.post(api, json={"token": token}).status_code == 204
    assert http.get("/me").json()["email_verified"] is True
    new = f"{unique()}@example.org"
    assert fields(http.post("/me/email", json={"email": new, "password": "a guess"})) == {"password"}
    assert http.post("/me/email", json={"email": new, "password": PASSWORD}).status_code == 202
    assert http.get("/me").json()["email"] == email
    token = token_in(served, mail_to(served, new, "email-verification"), "/verify-email")
    assert httpx.post(api, json={"token": token}).status_code == 204
    assert http.get("/me").json()["email"] == new
    assert fields(httpx.post(api, json={"token": token})) == {"token"}
    assert new not in mail_to(served, email, "email-changed")["text"]


def test_the_log_of_a_sandbox_shows_its_mails_to_people(served: Server) -> None:
    _, email, _ = person(served, "player")
    mail = mail_to(served, email, "email-verification")
    shown = served.log.read_text()
    assert f"Mail to {email}\nSubject: {mail['subject']}\n" in shown
    assert mail["text"].rstrip() in shown

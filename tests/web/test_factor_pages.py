"""Second factors on the site, the same for players, studios and operators."""

from __future__ import annotations

import html
import json
import re
import time

import httpx
import pyotp
import pytest

from tests.authenticator import Authenticator
from tests.harness import PASSWORD, Server
from tests.web.test_account_api import PAGES, person
from tests.web.test_account_pages import COOKIES, KINDS, enter, send
from tests.web.test_factor_api import device
from tests.web.test_pages import browser, tokens

BACKENDS = ("sqlite",)

HIDDEN = re.compile(r'name="(pending_token|methods|next)" value="([^"]*)"')
CODE = re.compile(r"<code>([a-z2-7-]{19})</code>")


def enrol(site: httpx.Client, at: str) -> tuple[str, list[str]]:
    """An authenticator app, by the pages; its secret and the recovery codes."""
    wrong = send(site, at, f"{at}/totp", factor_password="a guess")
    assert (wrong.status_code, "This is not your password." in wrong.text) == (422, True)
    shown = send(site, at, f"{at}/totp", factor_password=PASSWORD)
    assert (shown.status_code, "<svg" in shown.text) == (200, True)
    found = re.search(r'name="secret" value="([A-Z2-7]{32})"', shown.text)
    assert found is not None
    secret = found[1]
    form = {**tokens(shown.text), "secret": secret}
    again = site.post(f"{at}/totp/confirm", data={**form, "code": "000000"})
    assert (again.status_code, secret in again.text) == (422, True), "the same secret is shown once more"
    done = site.post(f"{at}/totp/confirm", data={**form, "code": pyotp.TOTP(secret).now()})
    assert done.status_code == 200, done.text
    codes = CODE.findall(done.text)
    assert len(codes) == 10
    return secret, codes


def first_step(site: httpx.Client, at: str, name: str, after: str = "") -> tuple[httpx.Response, dict[str, str]]:
    """The page of the second step, and the fields of its form."""
    form = {**tokens(site.get(f"{at}/log-in").text), "username": name, "password": PASSWORD, "next": after}
    answer = site.post(f"{at}/log-in", data=form)
    assert (answer.status_code, "Your password is right." in answer.text) == (200, True)
    return answer, {**tokens(answer.text), **{key: html.unescape(value) for key, value in HIDDEN.findall(answer.text)}}


@pytest.mark.parametrize("kind", KINDS)
def test_a_log_in_has_a_second_step_from_the_first_app_on(served: Server, kind: str) -> None:
    name, _, http = person(served, kind)
    at = PAGES[kind]
    site = enter(served, kind, name)
    secret, codes = enrol(site, f"{at}/security")
    assert http.get("/me").status_code == 401, "it was opened by a password alone"
    new = browser(served)
    new.cookies.set(COOKIES[kind], "planted-by-somebody-else", domain="127.0.0.1", path="/")
    answer, form = first_step(new, at, name, f"{at}/security")
    assert COOKIES[kind] not in answer.headers.get("set-cookie", ""), "there is no session yet"
    step = f"{at}/log-in/second-step"
    wrong = new.post(step, data={**form, "code": "000000"})
    assert (wrong.status_code, "This is not right" in wrong.text) == (401, True)
    assert new.post(step, data={**form, "_csrf": "0" * 64, "code": pyotp.TOTP(secret).now()}).status_code == 400
    # A code counts once, and that of the next step counts already.
    done = new.post(step, data={**form, "code": pyotp.TOTP(secret).at(int(time.time()) + 30)})
    assert (done.status_code, done.headers["location"]) == (303, f"{at}/security")
    cookie = next(each for each in done.headers.get_list("set-cookie") if each.startswith(COOKIES[kind]))
    assert "planted" not in cookie
    assert form["pending_token"] not in cookie
    assert "Second factors" in new.get(f"{at}/security").text
    over = browser(served)
    _, other = first_step(over, at, name, "//evil.example")
    done = over.post(step, data={**other, "next": "//evil.example", "recovery_code": codes[0].upper()})
    assert (done.status_code, done.headers["location"]) == (303, "/games" if kind == "player" else at)
    late = over.post(step, data={**tokens(over.get(f"{at}/security").text), "pending_token": form["pending_token"],
                                 "code": pyotp.TOTP(secret).now()})  # fmt: skip
    assert (late.status_code, "Log in once more" in late.text) == (401, True)
    renewed = send(new, f"{at}/security", f"{at}/security/recovery-codes", factor_password=PASSWORD)
    assert not set(CODE.findall(renewed.text)) & set(codes)
    removed = send(new, f"{at}/security", f"{at}/security/totp/remove", factor_password=PASSWORD)
    assert removed.status_code == 303
    enter(served, kind, name)


def credential(site: httpx.Client, key: Authenticator, path: str, form: dict[str, str], made: bool = False) -> str:
    answer = site.post(path, data=form)
    assert answer.status_code == 200, answer.text
    return json.dumps(key.create(answer.json()) if made else key.get(answer.json()))


@pytest.mark.parametrize("kind", KINDS)
def test_a_passkey_is_registered_named_used_alone_and_as_a_second_step_and_removed(served: Server, kind: str) -> None:
    name, _, _ = person(served, kind)
    at, key = PAGES[kind], device(served)
    site = enter(served, kind, name)
    form = tokens(site.get(f"{at}/security").text)
    guess = site.post(f"{at}/security/passkeys/options", data={**form, "factor_password": "a guess"})
    assert guess.json() == {"refused": "This is not your password."}
    said = credential(site, key, f"{at}/security/passkeys/options", {**form, "factor_password": PASSWORD}, made=True)
    made = site.post(f"{at}/security/passkeys", data={**form, "passkey_name": "<b>mine</b>", "credential": said})
    assert (made.status_code, len(CODE.findall(made.text))) == (200, 10)
    form = tokens(site.get(f"{at}/security").text)
    again = site.post(f"{at}/security/passkeys", data={**form, "passkey_name": "again", "credential": said})
    assert again.status_code == 422
    text = site.get(f"{at}/security").text
    assert "&lt;b&gt;mine&lt;/b&gt;" in text
    alone = browser(served)
    form = tokens(alone.get(f"{at}/log-in").text)
    said = credential(alone, key, f"{at}/log-in/passkey-options", form)
    assert alone.post(f"{at}/log-in/passkey", data={**form, "credential": said}).status_code == 303
    assert browser(served).post(f"{at}/log-in/passkey", data={"credential": said}).status_code == 400
    new = browser(served)
    _, form = first_step(new, at, name)
    said = credential(new, key, f"{at}/log-in/passkey-options", form)
    assert new.post(f"{at}/log-in/second-step", data={**form, "credential": said}).status_code == 303
    passkey_id = re.search(rf"{at}/security/passkeys/([0-9a-f-]{{36}})/remove", text)
    assert passkey_id is not None
    path = f"{at}/security/passkeys/{passkey_id[1]}/remove"
    assert send(site, f"{at}/security", path, factor_password=PASSWORD).status_code == 303
    enter(served, kind, name)


def test_what_is_no_passkey_is_told_so(served: Server) -> None:
    name, _, _ = person(served, "player")
    site = enter(served, "player", name)
    form = tokens(site.get("/security").text)
    for said in ("", "{", "[]", "null", '{"id": 5}', "[" * 5_000):
        answer = site.post("/security/passkeys", data={**form, "passkey_name": "x", "credential": said})
        assert answer.status_code == 422, said
        stranger = browser(served)
        start = tokens(stranger.get("/log-in").text)
        assert stranger.post("/log-in/passkey", data={**start, "credential": said}).status_code == 401, said

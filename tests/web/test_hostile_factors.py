"""Second factors on a running platform against somebody who has a session, the password, or the mails of an account."""

from __future__ import annotations

import json

import httpx
import pyotp
import pytest

from oklp.web import pages
from oklp.web.pages.visit import OPERATOR, PLAYER, STUDIO
from tests.harness import PASSWORD, Server
from tests.web.test_account_api import NEW_PASSWORD, PAGES, mail_to, person, token_in
from tests.web.test_account_pages import COOKIES, KINDS, send
from tests.web.test_factor_api import api, device, enrol, must
from tests.web.test_factor_pages import first_step
from tests.web.test_pages import browser, tokens

REALMS = {"player": PLAYER, "studio": STUDIO, "operator": OPERATOR}
# Whoever has the session may end sessions, and send its owner the mail once more; each of the others asks for a proof.
HARMLESS = ("/sessions", "/sessions/{session_id}/end", "/email-again")


@pytest.mark.parametrize("kind", KINDS)
def test_a_stolen_session_changes_neither_password_nor_address_nor_factors(served: Server, kind: str) -> None:
    """By every route below *Security* that changes something, with no password, a wrong one, and half of a ceremony."""
    name, email, http = person(served, kind)
    realm = REALMS[kind]
    key = device(served)
    options = must(http.post("/me/passkeys/options", json={"password": PASSWORD}))
    made = must(http.post("/me/passkeys", json={"name": "mine", "credential": key.create(options)}), 201)
    site = enter_by_recovery(served, kind, name, made["recovery_codes"][0])
    before = must(http.get("/me/second-factors"))
    routes = [
        route.path
        for route in pages.routes
        if "POST" in (route.methods or ())
        and route.path.startswith(f"{realm.security}/")
        and route.path.removeprefix(realm.security) not in HARMLESS
    ]
    assert len(routes) >= 9, "where are the routes?"
    form = tokens(site.get(realm.security).text)
    fields = {"email": "thief@evil.example", "new_password": NEW_PASSWORD, "code": "123456", "passkey_name": "theirs"}
    for route in routes:
        path = route.format(passkey_id=made["passkey_id"])
        answer = site.post(path, data={**form, **fields, "credential": "{}"})
        assert answer.status_code in (409, 422) or "refused" in answer.json(), path
    for path, proof in (("totp", "factor_password"), ("password", "current_password"), ("email", "email_password")):
        answer = site.post(f"{realm.security}/{path}", data={**form, **fields, proof: "a guess"})
        assert answer.status_code == 422, path
    after = must(http.get("/me/second-factors"))
    assert {**after, "passkeys": 1} == {**before, "passkeys": 1}
    assert [each["name"] for each in after["passkeys"]] == ["mine"]
    assert must(http.get("/me"))["email"] == email


def enter_by_recovery(served: Server, kind: str, name: str, code: str) -> httpx.Client:
    site = browser(served)
    _, form = first_step(site, PAGES[kind], name)
    assert site.post(f"{PAGES[kind]}/log-in/second-step", data={**form, "recovery_code": code}).status_code == 303
    return site


@pytest.mark.parametrize("kind", KINDS)
def test_codes_are_guessed_by_the_page_and_by_the_api_on_one_account(served: Server, kind: str) -> None:
    name, _, http = person(served, kind)
    secret, codes = enrol(http)
    site, door = browser(served), api(served, kind)
    _, form = first_step(site, PAGES[kind], name)
    problem = must(door.post("/sessions", json={"username": name.upper(), "password": PASSWORD}), 401)
    step = f"{PAGES[kind]}/log-in/second-step"
    for _ in range(5):
        assert site.post(step, data={**form, "code": "000000"}).status_code == 401
        body = {"pending_token": problem["pending_token"], "code": "000000"}
        assert door.post("/sessions/second-factor", json=body).status_code == 401
    right = pyotp.TOTP(secret).now()
    shut = site.post(step, data={**form, "code": right})
    assert (shut.status_code, "Too many tries" in shut.text) == (429, True)
    assert COOKIES[kind] not in shut.headers.get("set-cookie", "")
    for given in ({"code": right}, {"recovery_code": codes[0]}):
        late = door.post("/sessions/second-factor", json={"pending_token": problem["pending_token"], **given})
        assert (late.status_code, int(late.headers["retry-after"]) > 0) == (429, True)
    assert door.post("/sessions", json={"username": name, "password": PASSWORD}).status_code == 429


@pytest.mark.parametrize("kind", KINDS)
def test_whoever_reads_the_mails_of_an_account_has_its_password_and_no_session(served: Server, kind: str) -> None:
    name, email, http = person(served, kind)
    enrol(http)
    at, site = PAGES[kind], browser(served)
    send(site, f"{at}/forgot-password", f"{at}/forgot-password", name_or_email=name)
    token = token_in(served, mail_to(served, email, "password-reset"), f"{at}/reset-password")
    link = f"{at}/reset-password?token={token}"
    done = send(site, link, f"{at}/reset-password", token=token, password=NEW_PASSWORD)
    assert (done.status_code, done.headers["location"]) == (303, f"{at}/log-in")
    form = {**tokens(site.get(f"{at}/log-in").text), "username": name, "password": NEW_PASSWORD}
    answer = site.post(f"{at}/log-in", data=form)
    assert (answer.status_code, "Your password is right." in answer.text) == (200, True)
    assert COOKIES[kind] not in site.cookies
    problem = must(api(served, kind).post("/sessions", json={"username": name, "password": NEW_PASSWORD}), 401)
    assert "totp" in problem["methods"]


def test_a_passkey_opens_its_own_account_alone(served: Server) -> None:
    """Not another's second step, not another surface, not from another site, and an answer once."""
    name, _, http = person(served, "player")
    other, _, theirs = person(served, "player")
    key, their_key = device(served), device(served)
    for client, each in ((http, key), (theirs, their_key)):
        credential = each.create(must(client.post("/me/passkeys/options", json={"password": PASSWORD})))
        must(client.post("/me/passkeys", json={"name": "a key", "credential": credential}), 201)
    site = browser(served)
    _, form = first_step(site, "", name)
    options = site.post("/log-in/passkey-options", data=form).json()
    said = json.dumps(their_key.get(options | {"allowCredentials": []}))
    assert site.post("/log-in/second-step", data={**form, "credential": said}).status_code == 422
    own = json.dumps(key.get(options))
    assert site.post("/log-in/second-step", data={**form, "credential": own}).status_code == 422, "it was answered"
    fresh = site.post("/log-in/passkey-options", data=form).json()
    liar = device(served)
    vars(liar).update(vars(key) | {"origin": "https://evil.example"})
    said = json.dumps(liar.get(fresh))
    assert site.post("/log-in/second-step", data={**form, "credential": said}).status_code == 422
    door = browser(served)
    start = tokens(door.get("/studio/log-in").text)
    said = json.dumps(key.get(door.post("/studio/log-in/passkey-options", data=start).json()))
    assert door.post("/studio/log-in/passkey", data={**start, "credential": said}).status_code == 401
    assert "oklp_player" not in site.cookies
    assert "oklp_studio" not in door.cookies
    done = json.dumps(key.get(site.post("/log-in/passkey-options", data=form).json()))
    assert site.post("/log-in/second-step", data={**form, "credential": done}).status_code == 303
    assert enter_fails(served, other)


def enter_fails(served: Server, name: str) -> bool:
    """A password alone opens nothing."""
    site = browser(served)
    first_step(site, "", name)
    return site.cookies.get("oklp_player") is None

"""Every route of every page against requests that no page has sent. The routes are asked for: none is left out."""

from __future__ import annotations

import csv
import io
import re
from types import SimpleNamespace
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response

from oklp.settings import Settings
from oklp.web import pages
from oklp.web.pages.visit import OPERATOR, PLAYER, STUDIO, Realm, Visit, local_path, realm_of
from tests.harness import PASSWORD, GameClient, PlayerClient, Server, paid_match
from tests.web.test_account_api import unique
from tests.web.test_authorisation import REPORT
from tests.web.test_pages import OPEN_TO_ALL as OPEN_TO_PLAYERS
from tests.web.test_pages import browser, tokens
from tests.web.test_studio_pages import OPEN_TO_ALL as OPEN_TO_STUDIOS
from tests.web.test_studio_pages import hidden

BACKENDS = ("sqlite",)

API = {PLAYER.kind: "player", STUDIO.kind: "studio", OPERATOR.kind: "operator"}
OPEN_TO_ALL = {
    *OPEN_TO_PLAYERS,
    *OPEN_TO_STUDIOS,
    *(f"/operator{path}" for path in ("/log-in", "/log-in/second-step", "/log-in/passkey", "/log-in/passkey-options",
                                      "/forgot-password", "/reset-password", "/verify-email")),
}  # fmt: skip
LOG_INS = {f"{realm.log_in}{step}" for realm in (PLAYER, STUDIO, OPERATOR) for step in ("", "/second-step", "/passkey")}
NOBODY = "00000000-0000-4000-8000-000000000000"
STREAMS = re.compile(r"/live$")


class Scene(NamedTuple):
    """Somebody logged in on each surface, and things that there are."""

    players: tuple[PlayerClient, PlayerClient]
    sites: dict[str, httpx.Client]  # by the kind of person
    ids: dict[str, str]  # what stands in the addresses of routes

    def path(self, template: str, **others: str) -> str:
        """The address of a route, whose parts need not all be of things that there are."""
        known = {**self.ids, **others}
        return re.sub(r"\{(\w+)\}", lambda part: known.get(part[1], NOBODY), template)


_scenes: dict[str, Scene] = {}


def _site(served: Server, realm: Realm, authorization: str) -> httpx.Client:
    """A browser with the session of a client of the API."""
    site = browser(served)
    site.cookies.set(realm.cookie, authorization.removeprefix("Bearer "), domain="127.0.0.1", path="/")
    return site


@pytest.fixture
def scene(served: Server) -> Scene:
    """Made once for each server."""
    if served.url not in _scenes:
        one, two = PlayerClient(served.url), PlayerClient(served.url)
        game = served.register(discovery="pull")
        match_id = paid_match(one, two, game.client_id)
        backend = GameClient(served.url, game)
        assert backend.finish(backend.report(match_id, one.user_id)).status_code == 200
        pushed = served.register("http://127.0.0.1:9/match").client_id
        delivery = served.studio.post(f"/games/{pushed}/test-event").json()["delivery_id"]
        report = served.studio.post(f"/games/{pushed}/conformance-reports", json=REPORT)
        assert report.status_code == 201, report.text
        ids = {
            "game_id": pushed, "match_id": match_id, "delivery_id": delivery, "report_id": report.json()["report_id"],
            "user_id": one.user_id, "username": one.username, "action": "join", "name": "site.css",
        }  # fmt: skip
        sites = {
            PLAYER.kind: _site(served, PLAYER, one.http.headers["Authorization"]),
            STUDIO.kind: _site(served, STUDIO, served.studio.headers["Authorization"]),
            OPERATOR.kind: _site(served, OPERATOR, served.operator.headers["Authorization"]),
        }
        _scenes[served.url] = Scene((one, two), sites, ids)
    return _scenes[served.url]


def routes(method: str) -> list[str]:
    return [route.path for route in pages.routes if method in (route.methods or ())]


def form_of(site: httpx.Client, realm: Realm) -> dict[str, str]:
    """The hidden fields that every form of this visitor's has."""
    page = site.get(realm.security if site.cookies.get(realm.cookie) else realm.log_in)
    return {"_csrf": tokens(page.text)["_csrf"]}


# --- another site's forms --------------------------------------------------------------------------------------------

FORGERIES: tuple[tuple[str, dict[str, str], dict[str, str]], ...] = (
    ("no token", {}, {"_csrf": ""}),
    ("another's token", {}, {"_csrf": "0" * 64}),
    ("another origin", {"Origin": "https://evil.example"}, {}),
    ("an origin that is hidden", {"Origin": "null"}, {}),
    ("another site, as the browser says", {"Sec-Fetch-Site": "cross-site"}, {}),
    ("another host of this site", {"Sec-Fetch-Site": "same-site"}, {}),
)


def test_no_form_of_another_site_does_anything(served: Server, scene: Scene) -> None:
    strangers = {realm.kind: browser(served) for realm in (PLAYER, STUDIO, OPERATOR)}
    forms: dict[tuple[int, str], dict[str, str]] = {}
    wrong = []
    for template in routes("POST"):
        realm = realm_of(template)
        others = [strangers[realm.kind]] if template in OPEN_TO_ALL else []
        for site in (scene.sites[realm.kind], *others):
            if (id(site), realm.kind) not in forms:
                forms[id(site), realm.kind] = form_of(site, realm)
            form = forms[id(site), realm.kind]
            inside = site is scene.sites[realm.kind]
            for said, headers, fields in FORGERIES:
                answer = site.post(scene.path(template), data={**form, **fields}, headers=headers)
                expected = {403} if inside or headers else {400, 401, 403}
                if inside and not headers and template in LOG_INS:  # led on: there is nothing more to it
                    expected = {303}
                if template == "/unsubscribe" and not headers:  # proved by the link of a mail (RFC 8058), not by a form
                    expected |= {404}
                if answer.status_code not in expected or realm.cookie in answer.headers.get("set-cookie", ""):
                    wrong.append(f"{template} by {'a session' if inside else 'nobody'}, {said}: {answer.status_code}")
    assert not wrong, "\n".join(wrong)
    assert len(routes("POST")) > 60, "where are the routes?"


def test_the_apis_take_no_cookies(scene: Scene) -> None:
    """So that no form and no script of another site reaches them as somebody."""
    for kind, site in scene.sites.items():
        assert site.get(f"/api/{API[kind]}/v1/me").status_code == 401
        assert site.delete(f"/api/{API[kind]}/v1/sessions").status_code == 401
        assert site.get(f"/api/{API[kind]}/v1/sessions").status_code == 401


def test_a_match_is_not_entered_from_another_site(scene: Scene) -> None:
    site = scene.sites[PLAYER.kind]
    for said in ("cross-site", "same-site"):
        answer = site.get(scene.path("/matches/{match_id}/play"), headers={"Sec-Fetch-Site": said})
        assert answer.status_code == 403


# --- who may see it --------------------------------------------------------------------------------------------------


def test_every_page_asks_strangers_and_people_of_other_surfaces_to_log_in(served: Server, scene: Scene) -> None:
    """Exports, streams and files too. A session counts on its own surface alone, whatever cookie it comes in."""
    strangers = {None: browser(served)}
    for realm in (PLAYER, STUDIO, OPERATOR):
        for kind, site in scene.sites.items():
            if kind != realm.kind:
                own = next(each for each in (PLAYER, STUDIO, OPERATOR) if each.kind == kind)
                strangers[realm.kind, kind] = _site(served, realm, site.cookies[own.cookie])  # type: ignore[index]
    wrong = []
    for method in ("GET", "POST"):
        for template in set(routes(method)) - OPEN_TO_ALL:
            realm = realm_of(template)
            for key, site in strangers.items():
                if key is not None and key[0] != realm.kind:
                    continue
                answer = site.request(method, scene.path(template))
                asked = f'action="{realm.log_in}"' in answer.text and answer.headers["content-type"].startswith(
                    "text/html"
                )
                expected = 401 if method == "POST" or STREAMS.search(template) else 200
                if answer.status_code != expected or not (asked or STREAMS.search(template)):
                    wrong.append(f"{method} {template} by {key}: {answer.status_code}")
    assert not wrong, "\n".join(wrong)


def test_what_is_anothers_is_not_there_whatever_part_of_its_address_is_ones_own(served: Server, scene: Scene) -> None:
    """By every route: the other studio's game, and its deliveries and reports below one's own game."""
    theirs = served.new_studio()
    own_game = theirs.post("/games", json={"name": unique(), "webhook_url": "http://127.0.0.1:9/m"}).json()["game_id"]
    site = _site(served, STUDIO, theirs.headers["Authorization"])
    form = form_of(site, STUDIO)
    wrong = []
    for method in ("GET", "POST"):
        for template in routes(method):
            others = [name for name in ("delivery_id", "report_id") if f"{{{name}}}" in template]
            if realm_of(template) is not STUDIO or "{game_id}" not in template:
                continue
            for game_id in ([own_game] if others else []) + [scene.ids["game_id"]]:
                answer = site.request(
                    method, scene.path(template, game_id=game_id), data=form if method == "POST" else None
                )
                if answer.status_code != 404:
                    wrong.append(f"{method} {template} of {game_id}: {answer.status_code}")
    assert not wrong, "\n".join(wrong)
    members = served.studio.get("/members").json()["members"]
    owner = next(each for each in members if each["role"] == "owner")
    for path, more in (("/studio/members/role", {"role": "viewer"}), ("/studio/members/remove", {})):
        assert site.post(path, data={**form, "member": owner["member_id"], **more}).status_code == 404
    fault = served.studio.post(f"/games/{scene.ids['game_id']}/faults", json={"kind": "finish_503"}).json()["fault_id"]
    cleared = site.post(f"/studio/games/{own_game}/faults/clear", data={**form, "fault": fault})
    assert cleared.status_code in (303, 404)
    assert served.studio.get(f"/games/{scene.ids['game_id']}/faults").json()["faults"], "the other's fault is there"


def test_a_private_match_is_not_there_for_others_by_any_route(served: Server, scene: Scene) -> None:
    one, _ = scene.players
    match_id = one.create(served.register("", discovery="pull").client_id, 100)
    stranger = _site(served, PLAYER, PlayerClient(served.url).http.headers["Authorization"])
    form = form_of(stranger, PLAYER)
    for method in ("GET", "POST"):
        for template in routes(method):
            if realm_of(template) is not PLAYER or "{match_id}" not in template:
                continue
            actions = ("join", "decline", "leave", "cancel", "invite") if "{action}" in template else ("",)
            for action in actions:
                more = {**form, "usernames": one.username}
                path = scene.path(template, match_id=match_id, action=action)
                answer = stranger.request(method, path, data=more if method == "POST" else None)
                assert answer.status_code == 404, (method, path)
    assert one.match(match_id)["status"] == "pending"


# --- headers ---------------------------------------------------------------------------------------------------------


def _faults_of(answer: httpx.Response) -> list[str]:
    headers = answer.headers
    faults = [] if headers.get("x-content-type-options") == "nosniff" else ["may be taken for another type"]
    if "no-store" not in headers.get("cache-control", ""):
        faults.append("is kept by caches")
    is_page = headers.get("content-type", "").startswith("text/html")
    if not is_page or headers.get("content-disposition", "").startswith("attachment"):
        return faults
    policy = headers.get("content-security-policy", "")
    if headers.get("x-frame-options") != "DENY" or "frame-ancestors 'none'" not in policy:
        faults.append("can be framed")
    if "default-src 'none'" not in policy or "unsafe" in policy or "form-action 'self'" not in policy:
        faults.append("runs what it should not")
    return faults


def test_every_answer_of_every_page_keeps_others_out(served: Server, scene: Scene) -> None:
    wrong = []
    for method in ("GET", "POST"):
        for template in routes(method):
            if template.startswith("/assets/"):
                continue
            realm = realm_of(template)
            for site in (scene.sites[realm.kind], browser(served)):
                with site.stream(method, scene.path(template)) as answer:
                    faults = _faults_of(answer) if not STREAMS.search(template) or answer.status_code == 200 else []
                wrong += [f"{method} {template} ({answer.status_code}): {fault}" for fault in faults]
    assert not wrong, "\n".join(wrong)


def test_the_document_of_the_apis_is_not_framed(served: Server) -> None:
    headers = httpx.get(f"{served.url}/docs").headers
    assert headers["x-frame-options"] == "DENY"


def test_every_cookie_is_out_of_the_reach_of_scripts_and_of_other_sites(served: Server) -> None:
    site = browser(served)
    answers = [site.get("/sign-up"), site.get("/?theme=dark"), site.get("/?language=de")]
    name = unique()
    fields = {"username": name, "email": f"{name}@example.org", "password": PASSWORD, "date_of_birth": "1990-05-17",
              "country": "DE"}  # fmt: skip
    answers.append(site.post("/sign-up", data={**tokens(answers[0].text), **fields}))
    answers.append(site.post("/log-out", data=tokens(site.get("/settings").text)))
    cookies = [cookie for answer in answers for cookie in answer.headers.get_list("set-cookie")]
    names = {cookie.partition("=")[0] for cookie in cookies}
    assert names == {"oklp_visit", "oklp_theme", "oklp_language", "oklp_player", "oklp_notices"}
    for cookie in cookies:
        assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; ")), cookie


def test_over_https_cookies_are_of_this_host_alone() -> None:
    """`__Host-`: set over TLS, for this host, and so by no neighbour of it."""
    here: Any = SimpleNamespace(settings=Settings(public_url="https://play.example"))
    visit = Visit(Request({"type": "http", "headers": []}), here, PLAYER, "en", "auto")
    visit.set_cookie(PLAYER.cookie, "token")
    visit.drop_cookie("oklp_visit")
    for cookie in visit.finish(Response()).headers.getlist("set-cookie"):
        assert cookie.startswith("__Host-oklp_")
        assert {"HttpOnly", "Path=/", "SameSite=lax", "Secure"} <= set(cookie.split("; "))
        assert "domain" not in cookie.lower()


# --- where it leads --------------------------------------------------------------------------------------------------

ELSEWHERE = [
    "https://evil.example", "http:evil.example", "//evil.example", "///evil.example", "/\\evil.example",
    "\\\\evil.example", "/\t/evil.example", "\t//evil.example", " //evil.example", "/\n/evil.example",
    "javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x", "/games\r\nSet-Cookie: a=b", "evil.example",
    "//127.0.0.1@evil.example", "/\x00/evil.example", "/.//evil.example", "/%2f%2fevil.example", "/%5cevil.example",
    "/games/..//evil.example", "https:/evil.example", "", "/" + "a" * 3_000,
]  # fmt: skip


def _stays(target: str) -> bool:
    """Whether a browser that is sent there stays. It reads backslashes as slashes, and no tabs or line ends."""
    read = re.sub(r"[\t\r\n]", "", target.strip()).replace("\\", "/")
    parts = urlsplit(urljoin("http://here.example/log-in", read))
    return (parts.scheme, parts.netloc) == ("http", "here.example")


@pytest.mark.parametrize("target", ELSEWHERE)
def test_what_is_taken_for_an_address_of_ours_is_one(target: str) -> None:
    assert local_path(target) is None or _stays(target)


def test_no_way_in_leads_out(served: Server) -> None:
    name = unique()
    PlayerClient(served.url, name, deposit=0)
    for target in ELSEWHERE:
        site = browser(served)
        form = {**tokens(site.get("/log-in", params={"next": target}).text), "username": name, "password": PASSWORD}
        answers = [site.post("/log-in", data={**form, "next": target})]
        answers.append(site.get("/log-in", params={"next": target}))
        answers.append(site.get("/join", params={"link": target}))
        answers.append(site.get("/join", params={"link": f"{served.url}{target}"}))
        for answer in answers:
            assert answer.status_code in (303, 404), target
            location = answer.headers.get("location", "/")
            assert location.startswith("/"), (target, location)
            assert _stays(location), (target, location)


# --- other methods ---------------------------------------------------------------------------------------------------


def test_a_page_answers_its_own_methods_alone(scene: Scene) -> None:
    """And no header and no field makes another method of a request."""
    known: dict[str, set[str]] = {}
    for route in pages.routes:
        known.setdefault(route.path, set()).update(route.methods or ())
    for template, methods in known.items():
        site, path = scene.sites[realm_of(template).kind], scene.path(template)
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"} - methods:
            answer = site.request(method, path)
            assert answer.status_code in (403, 404, 405), (method, template)
    one, _ = scene.players
    before = one.available()
    form = {**form_of(scene.sites[PLAYER.kind], PLAYER), "kind": "withdrawal", "amount": "5", "_method": "POST"}
    headers = {"X-HTTP-Method-Override": "POST", "X-HTTP-Method": "POST", "X-Method-Override": "POST"}
    site = scene.sites[PLAYER.kind]
    assert site.get("/wallet", params=form, headers=headers).status_code == 200
    assert site.head("/wallet", params=form, headers=headers).content == b""
    assert one.available() == before


# --- fields that nobody asked for ------------------------------------------------------------------------------------


def test_fields_that_no_form_has_change_nothing(served: Server, scene: Scene) -> None:
    greed = {
        "role": "owner", "status": "active", "verified": "1", "email_verified_at": "1", "user_id": scene.ids["user_id"],
        "studio_id": "x", "id": "x", "kind": "operator", "balance": "1000000", "second_factor": "0", "person": "x",
        "actor": "operator:olga", "vetting": "approved", "studio_share_bps": "10000", "fee_bps": "0", "session": "x",
    }  # fmt: skip
    site, name = browser(served), unique()
    fields = {"username": name, "email": f"{name}@example.org", "password": PASSWORD, "date_of_birth": "1990-05-17",
              "country": "DE"}  # fmt: skip
    assert site.post("/sign-up", data={**tokens(site.get("/sign-up").text), **greed, **fields}).status_code == 303
    me = httpx.get(f"{served.url}/api/player/v1/me", headers=_bearer(site, PLAYER)).json()
    assert (me["username"], me["email_verified"]) == (name, False)
    assert me["user_id"] != scene.ids["user_id"]
    one, _ = scene.players
    before = one.available()
    paid = {**tokens(site.get("/wallet").text), **greed, "kind": "deposit", "amount": "1", "currency": "EUR"}
    assert site.post("/wallet", data=paid).status_code == 303
    assert one.available() == before
    portal, owner = browser(served), unique()
    entry = {"name": owner, "username": owner, "email": f"{owner}@example.org", "password": PASSWORD}
    signed = portal.post("/studio/sign-up", data={**hidden(portal.get("/studio/sign-up").text), **greed, **entry})
    assert signed.status_code == 303
    api = httpx.Client(base_url=f"{served.url}/api/studio/v1", headers=_bearer(portal, STUDIO))
    assert [each["username"] for each in api.get("/members").json()["members"]] == [owner]
    made = api.post("/games", json={"name": owner, "webhook_url": "http://127.0.0.1:9/m"}).json()
    path = f"/studio/games/{made['game_id']}/settings"
    page = portal.get(path).text
    rules = {
        "name": owner, "discovery": "push", "webhook_url": "http://127.0.0.1:9/m", "start_retries": "0", "mode": "sync",
        "score_order": "high", "entry_fee_min": "0", "entry_fee_max": "10", "fee": "10", "teams_min": "2",
        "teams_max": "2", "team_size_min": "1", "team_size_max": "1", "results_due_seconds": "60",
    }  # fmt: skip
    assert portal.post(path, data={**hidden(page), **greed, **rules}).status_code == 303
    game = api.get(f"/games/{made['game_id']}").json()
    assert game["studio_id"] == made["studio_id"]
    assert (game["settings"]["studio_share_bps"], game["settings"]["fee_bps"]) == (5_000, 1_000)


def _bearer(site: httpx.Client, realm: Realm) -> dict[str, str]:
    return {"Authorization": f"Bearer {site.cookies[realm.cookie]}"}


# --- spreadsheets ----------------------------------------------------------------------------------------------------


def test_no_spreadsheet_takes_a_cell_for_a_formula(scene: Scene) -> None:
    """Of every file for spreadsheets, as it is and with hostile arguments. A number may be below zero."""
    found = [template for template in routes("GET") if template.endswith(".csv")]
    assert len(found) >= 3
    for template in found:
        site = scene.sites[realm_of(template).kind]
        for text in ("", "=1+1", "@SUM(1)", "+1", "-1", "\t=1", '"=1"', f"player:{scene.ids['user_id']}"):
            answer = site.get(scene.path(template), params={"account": text, "days": text} if text else {})
            assert answer.status_code == 200, template
            assert answer.headers["content-disposition"].startswith("attachment"), template
            rows = list(csv.reader(io.StringIO(answer.text)))
            assert len(rows) > 0
            for cell in (cell for row in rows for cell in row):
                formula = cell[:1] in ("=", "+", "-", "@", "\t", "\r")
                assert not formula or re.fullmatch(r"-\d+(\.\d+)?", cell), (template, cell)

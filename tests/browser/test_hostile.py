"""Hostile text in every field that takes text, and every page of every surface opened on it in one browser."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
from playwright.sync_api import Browser, Dialog

from oklp.web import pages
from tests.answering import answering
from tests.authenticator import Authenticator
from tests.browser.test_site import enter, visitor
from tests.harness import PASSWORD, GameClient, GameConfig, PlayerClient, Server, paid_match
from tests.web.staff import await_delivery
from tests.web.test_authorisation import REPORT

# Out of text, an attribute, a style, a title, a `pre`, a script, a template; and what a spreadsheet would work out.
PAYLOADS = (
    "\"'></title></textarea></pre></script><script>alert(1)</script>",
    "<img src=x onerror=alert(2)><svg/onload=alert(3)>",
    "\" autofocus onfocus=alert(4) x='` onmouseover=alert(5)",
    "{{7*7}}${7*7}<%=7*7%>%(name)s{name}",
    '=HYPERLINK("javascript:alert(6)") javascript:alert(7)//',
)
ALL = " ".join(PAYLOADS)
# URLs have no brackets and quotes of the one kind; mails no blanks.
IN_URL = "?'onclick=alert(8)//&javascript:alert(9)=%3Cscript%3Ealert(10)%3C/script%3E"
EMAIL = "<script>alert(11)</script>\"'><img/src=x/onerror=alert(12)>@evil.example"

# Texts that are shown to nobody, and why. Every other one of the document of the APIs is in `Written.fields`.
NOT_SHOWN = {
    "password", "current_password", "client_id", "client_secret", "token", "grant_type", "scope",  # secrets and words
    "join_code", "name_or_email", "username",  # compared, and never kept
    "participants[].id", "teams[].id",  # of a roster, or refused
}  # fmt: skip


# --- which texts there are -------------------------------------------------------------------------------------------


def _texts(schemas: dict[str, Any], schema: dict[str, Any], name: str, seen: frozenset[str]) -> Iterator[str]:
    """The names of the fields of a schema that take text of no certain form."""
    if "$ref" in schema:
        of = schema["$ref"].rpartition("/")[2]
        if of not in seen:
            yield from _texts(schemas, schemas[of], name, seen | {of})
        return
    for each in (*schema.get("anyOf", ()), *schema.get("allOf", ())):
        yield from _texts(schemas, each, name, seen)
    if schema.get("type") == "string" and not {"pattern", "enum", "const", "format"} & schema.keys():
        yield name
    for field, each in schema.get("properties", {}).items():
        yield from _texts(schemas, each, f"{name}.{field}".lstrip("."), seen)
    for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(schema.get(key), dict):
            yield from _texts(schemas, schema[key], f"{name}{mark}", seen)


def fields_of(document: dict[str, Any]) -> set[str]:
    bodies = [
        content["schema"]
        for item in document["paths"].values()
        for method, route in item.items()
        if method != "parameters"
        for content in route.get("requestBody", {}).get("content", {}).values()
    ]
    return {name for body in bodies for name in _texts(document["components"]["schemas"], body, "", frozenset())}


# --- writing them ----------------------------------------------------------------------------------------------------


def must(answer: httpx.Response, *statuses: int) -> Any:
    assert answer.status_code in (statuses or (200, 201, 202)), (answer.request.url, answer.text)
    return answer.json()


class Written:
    """What was written: fields as the document of the APIs names them, and what stands in the addresses of pages."""

    def __init__(self, platform: Server, url: str) -> None:
        self.platform = platform
        self.url = url
        self.fields: set[str] = set()
        self.ids: dict[str, str] = {}
        self.tokens: dict[str, str] = {}

    def _note(self, *fields: str) -> None:
        self.fields |= set(fields)

    def everything(self) -> None:
        self._people()
        self._game()
        self._deliveries()
        self._report()
        self._matches()
        self._decisions()
        for kind, http in (("player", self.player.http), ("studio", self.studio), ("operator", self.platform.operator)):
            self._passkey(http, f"/api/{kind}/v1")

    def _people(self) -> None:
        self.studio = httpx.Client(base_url=f"{self.platform.url}/api/studio/v1", timeout=30)
        body = {"name": PAYLOADS[0][:80], "username": "hostile", "email": EMAIL, "password": PASSWORD}
        must(self.studio.post("/studios", json=body))
        session = must(self.studio.post("/sessions", json={"username": "hostile", "password": PASSWORD},
                                        headers={"User-Agent": PAYLOADS[1]}))  # fmt: skip
        self.studio.headers["Authorization"] = f"Bearer {session['token']}"
        must(self.studio.post("/members", json={"username": "second", "email": EMAIL, "role": "viewer"}))
        self.player, self.other = PlayerClient(self.platform.url), PlayerClient(self.platform.url)
        must(self.player.http.post("/api/player/v1/me/email", json={"email": EMAIL, "password": PASSWORD}))
        self.ids |= {"username": self.player.username, "user_id": self.player.user_id}
        self._note("name")

    def _game(self) -> None:
        urls = {
            "browser": f"http://127.0.0.1:9/play{IN_URL}", "android": f"javascripts://x/{IN_URL}",
            "ios": f"myapp://x/{IN_URL}", "steam": "steam://run/480//-'onclick=alert(1)// {match-token}",
        }  # fmt: skip
        for n, name in enumerate(PAYLOADS[1:]):
            body = {"name": name[:80], "game_id": f"hostile-{n}", "webhook_url": self.url, "launch_urls": urls}
            made = must(self.studio.post("/games", json=body | {"settings": {"discovery": "pull" if n else "push"}}))
        self.game = GameConfig(made["developer_config"])  # the last one asks for its matches
        self.ids["game_id"] = "hostile-0"
        self._note("webhook_url", *(f"launch_urls.{name}" for name in urls))

    def _deliveries(self) -> None:
        """A game's answers, by its server and by a listener; and its own calls."""
        sent = must(self.studio.post("/games/hostile-0/test-event"))
        self.ids["delivery_id"] = sent["delivery_id"]
        await_delivery(self.studio, sent["delivery_id"])
        listener = {"listener": str(uuid.uuid4())}
        with self.studio.stream("GET", "/games/hostile-0/listen", params=listener) as stream:
            other = must(self.studio.post("/games/hostile-0/test-event"))["delivery_id"]
            lines = stream.iter_lines()
            assert next(line for line in lines if line == "event: delivery")
        answer = {
            "status": 500,
            "headers": {"x-hostile": ALL},
            "body": ALL,
            "error": ALL[:500],
            "forwarded_to": ALL[:300],
        }
        must(self.studio.post(f"/games/hostile-0/listen/{other}/1", json=answer))
        self.studio.delete("/games/hostile-0/listen", params=listener)
        self.second_delivery = other
        self._note("body", "error", "forwarded_to", "headers{}")
        backend = GameClient(self.platform.url, self.game)
        backend.http.get(f"/api/game/v1/matches/{PAYLOADS[1]}", headers={"X-Request-ID": "<b>x</b>"})

    def _report(self) -> None:
        report = json.loads(json.dumps(REPORT))
        report["oklp_version"] = PAYLOADS[1][:64]
        urls = dict.fromkeys(("browser", "android", "ios", "steam"), ALL)
        report["game"] |= {
            "game_id": PAYLOADS[0][:64],
            "build": PAYLOADS[2][:80],
            "webhook_url": ALL,
            "launch_urls": urls,
        }
        report["results"][0] |= {"title": ALL, "section": PAYLOADS[1][:40], "reason": ALL, "fix": ALL, "detail": ALL}
        report["results"].append({**report["results"][0], "id": "webhook.abort", "verdict": "fail"})
        report["problems"] = [ALL]
        made = must(self.studio.post("/games/hostile-0/conformance-reports", json=report))
        self.ids["report_id"] = made["report_id"]
        self._note("oklp_version", "game.build", "game.game_id", "game.webhook_url", "problems[]")
        self._note(*(f"game.launch_urls.{name}" for name in urls))
        self._note(*(f"results[].{name}" for name in ("title", "section", "reason", "fix", "detail")))

    def _matches(self) -> None:
        operator, reason = self.platform.operator, ALL[:500]
        game_id = self.game.client_id
        self.ids["match_id"] = match_id = paid_match(self.player, self.other, game_id)
        backend = GameClient(self.platform.url, self.game)
        assert backend.finish(backend.report(match_id, self.player.user_id)).status_code == 200
        assert backend.finish(backend.report(match_id, self.other.user_id)).status_code in (200, 409)
        waiting = self.player.create(game_id, 100, invite=[self.other.username])
        must(operator.post(f"/matches/{waiting}/abort", json={"reason": reason}))
        live = paid_match(self.player, self.other, game_id)
        teams = [
            {"id": each["id"], "score": n, "ranking": n + 1} for n, each in enumerate(self.player.match(live)["teams"])
        ]
        must(operator.post(f"/matches/{live}/settle", json={"reason": reason, "teams": teams}))
        self.more_matches = [waiting, live]
        self._note("reason")

    def _decisions(self) -> None:
        operator, reason = self.platform.operator, {"reason": ALL[:500]}
        must(operator.post("/games/hostile-1/vetting", json={"decision": "suspend", **reason}))
        must(operator.post(f"/players/{self.other.user_id}", json={"action": "suspend", **reason}))
        self.ids["operator_id"] = must(operator.get("/me"))["operator_id"]

    def _passkey(self, http: httpx.Client, at: str) -> None:
        base = f"{self.platform.url}{at}"
        key = Authenticator(origin=f"http://localhost:{self.platform.port}", rp_id="localhost")
        options = must(http.post(f"{base}/me/passkeys/options", json={"password": PASSWORD}))
        must(http.post(f"{base}/me/passkeys", json={"name": PAYLOADS[2][:80], "credential": key.create(options)}))


# --- reading them ----------------------------------------------------------------------------------------------------

# What is no page: streams, files, doors out.
NO_PAGE = re.compile(r"/live$|\.csv$|\.json$|/report\.html$|/play$|^/assets/|^/join$")
# With nothing in its address each of these is a refusal; and the log-ins lead on whoever is in.
NOTHING_THERE = re.compile(r"/(reset-password|verify-email|unsubscribe)$")
ARGUMENTS = (
    "q",
    "match",
    "subject",
    "account",
    "next",
    "invite",
    "fee",
    "show",
    "status",
    "done",
    "game",
    "code",
)


QUERY = httpx.QueryParams(dict.fromkeys(ARGUMENTS, ALL[:190]))


def _paths(written: Written) -> list[str]:
    """Every page that there is, with what was written in its address."""
    found = []
    for route in pages.routes:
        if "GET" not in (route.methods or ()) or NO_PAGE.search(route.path) or NOTHING_THERE.search(route.path):
            continue
        ids = written.ids
        if route.path.startswith("/studio/games/{game_id}/matches/{match_id}"):
            ids = ids | {"game_id": written.game.client_id}
        found.append(route.path.format(**ids))
    found += [f"/operator/matches/{match_id}" for match_id in written.more_matches]
    found += [f"/matches/{match_id}" for match_id in written.more_matches]
    found += [
        f"/studio/games/hostile-0/webhooks/{written.second_delivery}",
        f"/operator/deliveries/{written.second_delivery}",
    ]
    found += ["/games/hostile-2", "/operator/games/hostile-1", f"/studio/games/{written.game.client_id}/log"]
    return found + _reasons(written)


def _reasons(written: Written) -> list[str]:
    """Where it stands why an operator decided against a game and against a player."""
    return ["/studio/games/hostile-1", f"/operator/players/{written.other.user_id}"]


def test_hostile_text_in_every_field_is_text_on_every_page(platform: Server, browser: Browser) -> None:
    with answering(500, ALL, {"X-Hostile": PAYLOADS[1], "Content-Type": f"text/html; x={PAYLOADS[2]}"}) as url:
        written = Written(platform, f"{url}{IN_URL}")
        written.everything()
        missing = fields_of(httpx.get(f"{platform.url}/openapi.json").json()) - written.fields - NOT_SHOWN
        assert missing == set(), "texts that nobody wrote hostile things into"
        with visitor(browser) as somebody:
            page = somebody.page

            def close(dialog: Dialog) -> None:
                somebody.faults.append(f"a dialog: {dialog.message}")
                dialog.dismiss()

            page.on("dialog", close)
            who = (("player", written.player.http), ("studio", written.studio), ("operator", platform.operator))
            for kind, http in who:
                enter(page, kind, http)
            seen = {}
            for path in _paths(written):
                bare = path.count("/") < 4 and not any(each in path for each in written.ids.values())
                # The addresses of pages with filters and fields, which come from anybody's link.
                for address in (path, f"{path}?{QUERY}") if bare else (path,):
                    answer = page.goto(f"{platform.url}{address}")
                    assert answer is not None
                    assert answer.status < 400, (address, answer.status)
                    foreign = page.locator(
                        "main :is(script, img, svg[onload], iframe, object, base, [onfocus], [onclick])"
                    )
                    assert foreign.count() == 0, address
                    links = page.locator("a").evaluate_all("(all) => all.map((each) => each.protocol)")
                    assert set(links) <= {"http:", "https:", "data:", "otpauth:"}, (address, links)
                seen[path] = page.locator("main").inner_text()
            assert len(seen) > 55, "where are the pages?"
            assert [path for path in _reasons(written) if PAYLOADS[0] not in seen[path]] == []
    shown = "\n".join(seen.values())
    for payload in (
        PAYLOADS[0][:60],
        PAYLOADS[1][:40],
        PAYLOADS[2][:60],
        PAYLOADS[3][:30],
        "<script>alert(11)</script>",
    ):
        assert payload in shown, f"nobody has seen {payload}"

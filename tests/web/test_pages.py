"""The site by itself: what it lets nobody do, and what it says without a browser around it."""

from __future__ import annotations

import html
import re

import httpx
import pytest

from oklp.web import pages
from oklp.web.pages import words
from oklp.web.pages.frame import TEMPLATES
from oklp.web.pages.visit import PLAYER, local_path, realm_of
from tests.harness import PASSWORD, PlayerClient, Server

BACKENDS = ("sqlite",)

PAGE = {"Accept": "text/html"}
FIELD = re.compile(r'name="(_csrf|_once)" value="([^"]+)"')


def browser(served: Server, **headers: str) -> httpx.Client:
    return httpx.Client(base_url=served.url, timeout=30, headers={**PAGE, **headers})


def tokens(text: str) -> dict[str, str]:
    """The hidden fields of a page's first form."""
    found: dict[str, str] = {}
    for name, value in FIELD.findall(text):
        found.setdefault(name, value)
    return found


def logged_in(served: Server, player: PlayerClient) -> httpx.Client:
    site = browser(served)
    form = tokens(site.get("/log-in").text)
    answer = site.post("/log-in", data={**form, "username": player.username, "password": PASSWORD})
    assert answer.status_code == 303, answer.text
    return site


def test_every_page_has_the_headers_that_keep_others_out(served: Server) -> None:
    site = logged_in(served, PlayerClient(served.url))
    for path in ("/games", "/wallet", "/nowhere"):
        headers = site.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "private, no-store"


OPEN_TO_ALL = {
    "/",
    "/log-in",
    "/sign-up",
    "/style",
    "/games",
    "/games/{game_id}",
    "/assets/{version}/{name}",
    "/forgot-password",
    "/reset-password",
    "/verify-email",
    "/unsubscribe",
    "/log-in/second-step",
    "/log-in/passkey",
    "/log-in/passkey-options",
}


# Macros that draw no component of their own: sentences, names, the frame around a page, and a form of one button.
NOT_COMPONENTS = {
    *("abort_why", "called_off", "vetting_reason", "nobody_went", "fee", "span", "shape", "platforms", "entry_kind"),
    *("brand", "notices", "act"),
    "match_row",  # a row of a list, which is shown
    "vetting",  # a tag, which is shown
}
# Components that are markup and a class.
DRAWN = (
    *("toast", "offline", "count", "subnav", "steps", "tick", "tick-box", "extra", "rows", "row-link", "facts", "sums"),
    *("total", "card", "stack", "two", "actions", "working", "skeleton", "statement", "big-money", "mono"),
)


def test_every_component_is_shown_on_the_page_of_styles(served: Server) -> None:
    macros = set(re.findall(r"{% macro (\w+)", (TEMPLATES / "parts.html").read_text()))
    style = (TEMPLATES / "style.html").read_text()
    used = {name for name in macros if re.search(rf"{{[{{%] ?(call )?{name}\(", style)}
    assert macros - used == NOT_COMPONENTS
    shown = browser(served).get("/style").text.split("<main")[1]
    classes = {name for names in re.findall(r'class="([^"]+)"', shown) for name in names.split()}
    assert set(DRAWN) - classes == set()
    assert "<progress" in shown


def test_pages_of_players_are_shown_to_players_alone(served: Server) -> None:
    """Everybody else is asked to log in: a stranger, and whoever has a session of another kind or a token of a game."""
    strangers = [browser(served)]
    for other in (served.studio, served.operator):
        strangers.append(browser(served))
        token = other.headers["Authorization"].removeprefix("Bearer ")
        strangers[-1].cookies.set("oklp_player", token, domain="127.0.0.1", path="/")
    for route in pages.routes:
        if realm_of(route.path) is not PLAYER:
            continue  # of a surface with tests of its own
        parts = {"game_id": "none", "match_id": "0" * 24, "action": "join", "version": "0", "name": "none"}
        path = route.path.format(**parts, session_id="0", username="none", passkey_id="0")
        for stranger in strangers:
            for method in (route.methods or set()) - {"HEAD"}:
                if route.path in OPEN_TO_ALL:
                    continue
                answer = stranger.request(method, path)
                if route.path == "/live":
                    assert answer.status_code == 401
                    continue
                assert answer.status_code == (200 if method == "GET" else 401), (method, path)
                assert 'action="/log-in"' in answer.text, (method, path)


def test_a_page_that_asks_for_itself_again_is_told_that_its_session_is_over(served: Server) -> None:
    """By its status: what was shown would be emptied by the page of the log-in, which has none of its parts."""
    player = PlayerClient(served.url, deposit=0)
    site, game = logged_in(served, player), served.register(discovery="pull").client_id
    again = {"Oklp-Refresh": "person"}  # as whom it was shown
    own, open_to_all = "/wallet", f"/games/{game}"
    assert [site.get(path, headers=again).status_code for path in (own, open_to_all)] == [200, 200]
    ended = {"Authorization": f"Bearer {site.cookies['oklp_player']}"}
    assert player.http.delete("/api/player/v1/sessions/current", headers=ended).status_code == 204
    for path in (own, open_to_all):
        answer = site.get(path, headers=again)
        assert (answer.status_code, 'action="/log-in"' in answer.text) == (401, True), path
    assert [site.get(path).status_code for path in (own, open_to_all)] == [200, 200], "people are asked to log in"
    stranger = browser(served)
    again = {"Oklp-Refresh": "stranger"}
    assert [stranger.get(path, headers=again).status_code for path in (own, open_to_all)] == [401, 200]


def test_a_page_that_asks_for_itself_again_is_told_of_a_log_out_in_another_tab(served: Server) -> None:
    site, game = logged_in(served, PlayerClient(served.url, deposit=0)), served.register(discovery="pull").client_id
    assert site.post("/log-out", data=tokens(site.get("/settings").text)).status_code == 303
    again = {"Oklp-Refresh": "person"}
    assert [site.get(path, headers=again).status_code for path in ("/wallet", f"/games/{game}")] == [401, 401]


def test_session_cookies_are_out_of_the_reach_of_scripts_and_new_at_each_log_in(served: Server) -> None:
    player = PlayerClient(served.url)
    site = browser(served)
    site.cookies.set("oklp_player", "planted-by-somebody-else", domain="127.0.0.1", path="/")
    form = tokens(site.get("/log-in").text)
    answer = site.post("/log-in", data={**form, "username": player.username, "password": PASSWORD})
    cookie = next(each for each in answer.headers.get_list("set-cookie") if each.startswith("oklp_player="))
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "planted-by-somebody-else" not in cookie
    first = re.search(r"oklp_player=([^;]+)", cookie)
    assert first is not None
    again = browser(served)
    again.cookies.set("oklp_player", first[1], domain="127.0.0.1", path="/")
    assert again.get("/wallet").status_code == 200
    form = tokens(again.get("/settings").text)
    assert again.post("/log-out", data=form).status_code == 303
    still = browser(served)
    still.cookies.set("oklp_player", first[1], domain="127.0.0.1", path="/")
    assert "/log-in" in still.get("/wallet").text


@pytest.mark.parametrize(
    ("headers", "keep_token"),
    [
        ({"Origin": "https://evil.example"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Sec-Fetch-Site": "same-site"}, True),
        ({}, False),
    ],
)
def test_another_sites_form_moves_no_money(served: Server, headers: dict[str, str], keep_token: bool) -> None:
    player = PlayerClient(served.url)
    site = logged_in(served, player)
    form = tokens(site.get("/wallet").text)
    if not keep_token:
        form["_csrf"] = "0" * 64
    answer = site.post("/wallet", data={**form, "kind": "withdrawal", "amount": "5"}, headers=headers)
    assert answer.status_code == 403
    assert player.available() == 10_000


def test_anothers_token_is_no_token(served: Server) -> None:
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    theirs = tokens(logged_in(served, two).get("/wallet").text)
    answer = logged_in(served, one).post("/wallet", data={**theirs, "kind": "withdrawal", "amount": "5"})
    assert answer.status_code == 403
    assert one.available() == two.available() == 10_000


def test_a_log_in_form_from_elsewhere_logs_nobody_in(served: Server) -> None:
    player = PlayerClient(served.url)
    site = browser(served)
    answer = site.post("/log-in", data={"_csrf": "0" * 64, "username": player.username, "password": PASSWORD})
    assert answer.status_code == 400
    assert "oklp_player" not in site.cookies


def test_a_form_that_is_sent_twice_does_its_work_once(served: Server) -> None:
    player = PlayerClient(served.url)
    site = logged_in(served, player)
    form = {**tokens(site.get("/wallet").text), "kind": "deposit", "amount": "12.34"}
    assert [site.post("/wallet", data=form).status_code for _ in range(3)] == [303, 303, 303]
    assert player.available() == 11_234


@pytest.mark.parametrize("amount", ["", "abc", "-5", "0", "1.001", "NaN", "1e999999", "99999999999999999999", "\uff15"])
def test_what_is_no_amount_is_said_beside_the_field(served: Server, amount: str) -> None:
    player = PlayerClient(served.url)
    site = logged_in(served, player)
    form = {**tokens(site.get("/wallet").text), "kind": "deposit", "amount": amount}
    answer = site.post("/wallet", data=form)
    assert answer.status_code == 422
    assert 'aria-invalid="true"' in answer.text
    assert 'class="error"' in answer.text
    assert player.available() == 10_000


@pytest.mark.parametrize(
    "target",
    ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/\t/evil.example", "evil"],
)
def test_a_log_in_leads_nowhere_else(served: Server, target: str) -> None:
    assert local_path(target) is None
    player = PlayerClient(served.url)
    site = browser(served)
    form = tokens(site.get("/log-in", params={"next": target}).text)
    answer = site.post("/log-in", data={**form, "username": player.username, "password": PASSWORD, "next": target})
    assert answer.headers["Location"] == "/games"


def test_what_studios_write_is_text_and_no_markup(served: Server) -> None:
    name = "<script>alert(1)</script>\"'&{{7*7}}"
    body = {"name": name, "launch_urls": {"browser": "http://127.0.0.1:9/play"}, "settings": {"discovery": "pull"}}
    answer = served.studio.post("/games", json=body)
    assert answer.status_code == 201, answer.text
    game_id = answer.json()["game_id"]
    site = logged_in(served, PlayerClient(served.url))
    for path in (f"/games/{game_id}", f"/matches/new?game={game_id}&fee=%22%3E%3Cscript%3E&invite=%3Cb%3E"):
        text = site.get(path).text
        assert "<script>alert" not in text
        assert "{{7*7}}" in text
        assert '"><script>' not in text
        assert "<b>" not in text


def test_people_get_pages_and_programs_get_problems(served: Server) -> None:
    page = browser(served).get("/nowhere")
    assert page.status_code == 404
    assert "There is nothing here" in page.text
    assert page.headers["Content-Type"].startswith("text/html")
    for path, accept in (("/nowhere", "*/*"), ("/api/player/v1/nowhere", "text/html")):
        problem = httpx.get(served.url + path, headers={"Accept": accept})
        assert problem.status_code == 404
        assert problem.headers["Content-Type"] == "application/problem+json"


def test_a_private_match_is_seen_with_its_code_alone(served: Server) -> None:
    game = served.register("", discovery="pull")
    owner = PlayerClient(served.url)
    match_id = owner.create(game.client_id, 100)
    code = owner.match(match_id)["join_code"]
    stranger = logged_in(served, PlayerClient(served.url))
    assert stranger.get(f"/matches/{match_id}").status_code == 404
    assert stranger.get(f"/matches/{match_id}", params={"code": "wrong"}).status_code == 404
    assert stranger.get(f"/matches/{match_id}", params={"code": code}).status_code == 200


def test_the_language_is_the_browsers_until_one_is_chosen(served: Server) -> None:
    site = browser(served, **{"Accept-Language": "fr, de-AT;q=0.8, en;q=0.5"})
    assert 'lang="de"' in site.get("/").text
    assert site.get("/?language=en&theme=dark").headers["Location"] == "/"
    text = site.get("/").text
    assert 'lang="en"' in text
    assert 'data-theme="dark"' in text
    assert 'lang="en"' in browser(served, **{"Accept-Language": ";;q=x,,*"}).get("/").text
    for wanted, language in (
        ("fr, de; q=0.9, en; q=0.1", "de"),
        ("en;Q=0.2,de-DE ;Q=0.9", "de"),
        ("de;q=0, en;q=0.1", "en"),
        ("de;q=0.8571, en;q=0.85", "de"),
        ("en;q=.8, de;q=.9", "de"),
        ("en;q=., de;q=0.1", "de"),
        ("de;q=inf, en;q=0.5", "en"),
    ):
        told = browser(served, **{"Accept-Language": wanted}).get("/").headers["Content-Language"]
        assert told == language, wanted


def choices(text: str) -> list[str]:
    """Where the links of the footer lead that choose a language or a theme."""
    foot = text.partition('<ul class="foot-links">')[2].partition("</ul>")[0]
    return [html.unescape(href) for href in re.findall(r'href="([^"]*)"', foot) if href != "/docs"]


def test_a_language_is_chosen_without_losing_the_address(served: Server) -> None:
    site = browser(served)
    text = site.get("/log-in?next=%2Fmatches%3Fshow%3Dopen%26x%3D%C3%BC&theme=sepia&b=1&b=2").text
    rest = "next=%2Fmatches%3Fshow%3Dopen%26x%3D%C3%BC&b=1&b=2"
    assert choices(text) == [
        f"?{rest}&{chosen}" for chosen in ("language=en", "language=de", "theme=light", "theme=dark")
    ]
    answer = site.get(f"/log-in{choices(text)[1]}")
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/log-in?{rest}")
    german = site.get(answer.headers["Location"])
    assert german.headers["Content-Language"] == "de"
    assert 'value="/matches?show=open&amp;x=ü"' in german.text


def test_what_answers_a_form_is_not_left_by_choosing_a_language(served: Server) -> None:
    """At its address there is nothing to come back to: what was typed, or is shown this once, would be gone."""
    player = PlayerClient(served.url)
    site = logged_in(served, player)
    shown = site.get("/wallet").text
    assert len(choices(shown)) == 4
    refused = site.post("/wallet", data={**tokens(shown), "kind": "deposit", "amount": "much"})
    assert (refused.status_code, choices(refused.text)) == (422, [])
    assert choices(site.post("/matches/new").text) == []


def test_assets_are_kept_by_browsers_for_as_long_as_they_do_not_change(served: Server) -> None:
    site = browser(served)
    address = re.search(r'href="(/assets/[^"]+site\.css)"', site.get("/").text)
    assert address is not None
    style = site.get(address[1])
    assert "immutable" in style.headers["Cache-Control"]
    assert site.get("/assets/0000/site.css").headers["Cache-Control"] == "no-cache"
    assert site.get("/assets/0000/..%2fframe.py").status_code == 404


@pytest.mark.parametrize(
    ("text", "currency", "language", "units"),
    [
        ("12.50", "USD", "en", 1250),
        ("1,234.50", "USD", "en", 123450),
        ("12,50", "EUR", "de", 1250),
        ("12.50", "EUR", "de", 1250),
        ("1.234,50", "EUR", "de", 123450),
        ("500", "JPY", "en", 500),
        ("0.5", "JPY", "en", None),
        ("0.001", "USD", "en", None),
        ("-1", "USD", "en", None),
        ("", "USD", "en", None),
        ("Infinity", "USD", "en", None),
        ("1_000", "USD", "en", None),
        ("1_000.5", "USD", "de", None),
        ("1e3", "USD", "en", None),
        ("+5", "USD", "de", None),
        (".", "USD", "en", None),
        (",", "EUR", "de", None),
        ("1.2.3", "USD", "en", None),
    ],
)
def test_amounts_as_people_type_them(text: str, currency: str, language: str, units: int | None) -> None:
    assert words.minor_units(text, currency, language) == units


@pytest.mark.parametrize(
    ("amount", "currency", "text"), [(123450, "USD", "1234.50"), (5000, "KWD", "5.000"), (7, "JPY", "7")]
)
def test_amounts_in_addresses_are_read_as_they_were_written(amount: int, currency: str, text: str) -> None:
    assert words.money_in_address(amount, currency) == text
    assert words.units_of_address(text, currency) == amount


def test_what_a_form_has_done_is_said_once(served: Server) -> None:
    site = logged_in(served, PlayerClient(served.url))
    assert site.post("/log-out", data=tokens(site.get("/settings").text)).headers["Location"] == "/"
    unseen = site.get("/", headers={"Oklp-Refresh": "person"}).text
    assert "You are logged out." not in unseen, "of a page that is open already nobody would see it"
    assert "You are logged out." in site.get("/").text
    assert "You are logged out." not in site.get("/").text


@pytest.mark.parametrize("value", ["%00", "W10", "eyJhIjoxfQ==", "bnVsbA==", "WzEsMl0=", "W1tbW1tb", "x" * 3_000])
def test_a_notice_that_cannot_be_read_is_none(served: Server, value: str) -> None:
    answer = httpx.get(f"{served.url}/", headers={**PAGE, "Cookie": f"oklp_notices={value}"})
    assert answer.status_code == 200
    assert 'class="notice' not in answer.text


@pytest.mark.parametrize(("path", "place"), [("/studio/nowhere", "Studios"), ("/operator/nowhere", "Operators")])
def test_refusals_come_in_the_frame_of_their_surface(served: Server, path: str, place: str) -> None:
    """And a player is nobody there."""
    answer = logged_in(served, PlayerClient(served.url)).get(path)
    assert answer.status_code == 404
    assert f'<span class="place">{place}</span>' in answer.text
    assert 'href="/wallet"' not in answer.text

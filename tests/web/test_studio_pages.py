"""The studio portal by itself: whom it shows what, what it lets nobody do, and what hostile text comes to."""

from __future__ import annotations

import html
import json
import os
import re
from datetime import UTC, datetime, timedelta, timezone
from itertools import count
from urllib.parse import parse_qs

import httpx
import pytest

from oklp.domain.faults import KINDS
from oklp.web import pages
from oklp.web.pages.visit import STUDIO, realm_of
from tests.answering import answering
from tests.harness import PASSWORD, GameClient, GameConfig, PlayerClient, Server, paid_match
from tests.web.listening import await_true
from tests.web.test_account_api import mail_to, token_in
from tests.web.test_authorisation import REPORT

BACKENDS = ("sqlite",)

PAGE = {"Accept": "text/html"}
HIDDEN = re.compile(r'<input[^>]*type="hidden" name="([^"]+)" value="([^"]*)"')
OPEN_TO_ALL = {
    "/studio",
    "/studio/log-in",
    "/studio/sign-up",
    "/studio/forgot-password",
    "/studio/reset-password",
    "/studio/verify-email",
    "/studio/log-in/second-step",
    "/studio/log-in/passkey",
    "/studio/log-in/passkey-options",
}
_numbers = count(1)


def hidden(text: str) -> dict[str, str]:
    """The hidden fields of a page, of those that are there twice the first."""
    found: dict[str, str] = {}
    for name, value in HIDDEN.findall(text):
        found.setdefault(name, html.unescape(value))
    return found


def visitor(served: Server) -> httpx.Client:
    return httpx.Client(base_url=served.url, timeout=30, headers=PAGE)


def owner(served: Server) -> httpx.Client:
    """Somebody who has just signed a studio up on the site."""
    site = visitor(served)
    name = f"portal-{os.getpid()}-{next(_numbers)}"
    form = {"name": name, "username": name, "email": f"{name}@example.org", "password": PASSWORD}
    answer = site.post("/studio/sign-up", data={**hidden(site.get("/studio/sign-up").text), **form})
    assert answer.status_code == 303, answer.text
    return site


def member(served: Server, site: httpx.Client, role: str) -> httpx.Client:
    """Another one of the same studio, by the API."""
    token = site.cookies["oklp_studio"]
    name = f"portal-{role}-{os.getpid()}-{next(_numbers)}"
    body = {"username": name, "email": f"{name}@example.org", "password": PASSWORD, "role": role}
    added = httpx.post(f"{served.url}/api/studio/v1/members", json=body, headers={"Authorization": f"Bearer {token}"})
    assert added.status_code == 201, added.text
    other = visitor(served)
    form = hidden(other.get("/studio/log-in").text)
    answer = other.post("/studio/log-in", data={**form, "username": name, "password": PASSWORD})
    assert answer.status_code == 303
    return other


def register(served: Server, site: httpx.Client, name: str = "", webhook_url: str = "http://127.0.0.1:9/m") -> str:
    """A game of the site's studio, by the API."""
    body = {"name": name or f"Game {next(_numbers)}-{os.getpid()}", "webhook_url": webhook_url}
    headers = {"Authorization": f"Bearer {site.cookies['oklp_studio']}"}
    answer = httpx.post(f"{served.url}/api/studio/v1/games", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["game_id"])


RULES = {
    "mode": "sync",
    "score_order": "high",
    "entry_fee_min": "0",
    "entry_fee_max": "100",
    "fee": "12.5",
    "teams_min": "2",
    "teams_max": "4",
    "team_size_min": "1",
    "team_size_max": "2",
    "results_due_seconds": "600",
}


DECIDING = (
    "How is it played?",
    "Which score wins?",
    "How does your game hear of a match?",
    "Tries again before a start counts as failed",
    "Results are due after",
)


def facts(text: str) -> dict[str, str]:
    """What a page states of something, by its label."""
    return dict(re.findall(r"<dt>([^<]+)</dt><dd>([^<]*)</dd>", text))


def test_a_game_is_registered_step_by_step_and_its_secrets_are_shown_once(served: Server) -> None:
    site = owner(served)
    name = f"Über <b>Rush</b> {next(_numbers)}-{os.getpid()}"
    steps: list[dict[str, str]] = [
        {"name": name, "game_id": ""},
        {"discovery": "push", "webhook_url": "http://127.0.0.1:9/match", "start_retries": "1"},
        {"browser": "http://127.0.0.1:9/play?t={match-token}", "android": "", "ios": "", "steam": ""},
        {**RULES, "score_order": "low", "results_due_seconds": "5400"},
    ]
    answer = site.get("/studio/new-game")
    for fields in steps:
        answer = site.post("/studio/new-game", data={**hidden(answer.text), **fields, "go": "next"})
        assert answer.status_code == 200, answer.text
    looked_over = facts(answer.text)
    assert [looked_over[name] for name in DECIDING] == [
        "At the same time",
        "The lowest",
        "It is told",
        "1",
        "90 minutes",
    ]
    last = {**hidden(answer.text), "go": "register"}
    made = site.post("/studio/new-game", data=last)
    assert made.status_code == 201
    assert "whsec_" in made.text
    assert "<b>Rush" not in made.text
    assert made.headers["Cache-Control"] == "private, no-store"
    again = site.post("/studio/new-game", data=last)  # reloaded, or pressed twice: no second game, no second look
    assert again.status_code == 303
    page = site.get(again.headers["Location"])
    assert "whsec_" not in page.text
    assert "client_secret" not in page.text
    config = site.get(f"{again.headers['Location']}/developer-config.json")
    assert "client_secret" not in config.text
    game = served.operator.get(f"/games/{config.json()['authentication']['client_id']}").json()
    assert game["name"] == name
    assert game["settings"]["fee_bps"] == 1_250
    shown = facts(page.text)
    assert [shown[name] for name in DECIDING] == [looked_over[name] for name in DECIDING]
    assert game["settings"]["start_retries"] == 1
    assert game["launch_urls"]["browser"] == "http://127.0.0.1:9/play?t={match-token}"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("webhook_url", "ftp://127.0.0.1/m"),
        ("webhook_url", "http://169.254.169.254/latest"),
        ("webhook_url", ""),
        ("browser", "javascript:alert(1)"),
        ("android", "data:text/html,x"),
        ("fee", "40.01"),
        ("fee", "NaN"),
        ("entry_fee_max", "-1"),
        ("teams_max", "1"),
        ("game_id", "Not An Id"),
        ("results_due_seconds", "99999999"),
    ],
)
def test_what_is_wrong_is_said_while_typing_and_again_beside_the_field(served: Server, field: str, value: str) -> None:
    site = owner(served)
    start = hidden(site.get("/studio/new-game").text)
    urls = {"browser": "", "webhook_url": "http://127.0.0.1:9/m", "start_retries": "0"}
    sound = {**start, **RULES, **urls, "name": f"Sound {next(_numbers)}", "step": "5", "go": "register"}
    assert site.post("/studio/check-game", data=sound).json()["errors"] == {}
    typed = {**sound, field: value}
    assert set(site.post("/studio/check-game", data=typed).json()["errors"]) == {field}
    answer = site.post("/studio/new-game", data=typed)
    assert answer.status_code == 422
    assert f'id="e-{field}"' in answer.text


def test_pages_of_studios_are_shown_to_their_members_alone(served: Server) -> None:
    """Strangers, players and operators are asked to log in; other studios are told that there is no such game."""
    game_id = register(served, owner(served))
    strangers = [visitor(served)]
    for token in (PlayerClient(served.url).http.headers["Authorization"], served.operator.headers["Authorization"]):
        strangers.append(visitor(served))
        strangers[-1].cookies.set("oklp_studio", token.removeprefix("Bearer "), domain="127.0.0.1", path="/")
    other = owner(served)
    form = hidden(other.get("/studio/you").text)
    for route in pages.routes:
        if realm_of(route.path) is not STUDIO or route.path in OPEN_TO_ALL:
            continue
        zero = "00000000-0000-4000-8000-000000000000"
        path = re.sub(r"\{(?!game_id)[a-z_]+\}", zero, route.path).format(game_id=game_id)
        for method in (route.methods or set()) - {"HEAD"}:
            for stranger in strangers:
                answer = stranger.request(method, path)
                if path.endswith("/live"):
                    assert answer.status_code == 401
                    continue
                assert answer.status_code == (200 if method == "GET" else 401), (method, path)
                assert 'action="/studio/log-in"' in answer.text, (method, path)
            if "{game_id}" in route.path:
                answer = other.request(method, path, data=form if method == "POST" else None)
                assert answer.status_code == 404, (method, path)


def test_every_page_that_shows_what_happens_is_kept_up_to_date(served: Server) -> None:
    site = owner(served)
    base = f"/studio/games/{register(served, site)}"
    live = {base, *(f"{base}/{name}" for name in ("webhooks", "matches", "log"))}
    asks = {"/studio", "/studio/members", *(f"{base}/{name}" for name in ("figures", "conformance", "faults"))}
    for path in live | asks:
        text = site.get(path).text
        assert re.search(r' id="[a-z]+"[^>]* data-refresh', text.partition("<main")[2]), path
        ids = re.findall(r' id="([^"]+)"', text)
        assert sorted(ids) == sorted(set(ids)), path
        assert set(re.findall(r'<label for="([^"]+)"', text)) <= set(ids), path
        assert (f'data-live="{path}/live"' in text) == (path in live), path
        assert ("data-poll=" in text) == (path in asks), path


def test_the_page_of_a_game_hears_of_its_review_at_once(served: Server) -> None:
    site = owner(served)
    game_id = register(served, site)
    path = f"/studio/games/{game_id}"
    with site.stream("GET", f"{path}/live", headers={"Accept": "text/event-stream"}, timeout=10) as stream:
        lines = stream.iter_lines()
        assert "event: change" in lines  # as it is
        decision = {"decision": "suspend", "reason": "for a test"}
        assert served.operator.post(f"/games/{game_id}/vetting", json=decision).status_code == 200
        assert "event: change" in lines
    assert "for a test" in site.get(path).text


def test_viewers_change_nothing_and_are_offered_nothing_to_change(served: Server) -> None:
    site = owner(served)
    game_id = register(served, site)
    viewer = member(served, site, "viewer")
    page = viewer.get(f"/studio/games/{game_id}")
    assert page.status_code == 200
    assert "Rotate the secrets" in site.get(f"/studio/games/{game_id}").text
    assert "Rotate the secrets" not in page.text
    form = hidden(viewer.get("/studio/you").text)
    for path in (f"/studio/games/{game_id}/secrets", f"/studio/games/{game_id}/settings", "/studio/new-game"):
        assert viewer.post(path, data=form).status_code == 403, path


def test_rotated_secrets_are_shown_once_and_the_old_ones_work_on(served: Server) -> None:
    site = owner(served)
    game_id = register(served, site)
    form = hidden(site.get(f"/studio/games/{game_id}").text)
    answer = site.post(f"/studio/games/{game_id}/secrets", data=form)
    assert answer.status_code == 201
    secret = re.search(r"client_secret&#34;: &#34;([^&]+)", answer.text)
    assert secret is not None
    url = f"{served.url}/auth/realms/oklp/protocol/openid-connect/token"
    credentials = {"client_id": game_id, "client_secret": secret[1], "grant_type": "client_credentials"}
    assert httpx.post(url, data=credentials).status_code == 200
    forged = site.post(f"/studio/games/{game_id}/secrets", data={**form, "_csrf": "0" * 64})
    assert forged.status_code == 403


# --- the inspector ---------------------------------------------------------------------------------------------------

HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}\"'"


def delivered(site: httpx.Client, path: str, attempt: int = 1) -> str:
    """The page of a delivery, once this attempt has come back: by its own stream, which says when to look."""
    with site.stream("GET", f"{path}/live", headers={"Accept": "text/event-stream"}, timeout=20) as stream:
        assert stream.status_code == 200
        for line in stream.iter_lines():
            if line == "event: change":
                page = site.get(path).text
                if f"Attempt {attempt}" in page and ("Failed" in page or "Delivered" in page):
                    return page
    raise AssertionError("the stream ended")


def test_what_games_answer_is_text_and_no_markup(served: Server) -> None:
    site = owner(served)
    headers = {"X-Hostile": "<script>alert(2)</script>", "Content-Type": "text/html"}
    with answering(500, HOSTILE, headers) as url:
        game_id = register(served, site, webhook_url=url)
        form = {**hidden(site.get(f"/studio/games/{game_id}/webhooks").text)}
        fields = {"event": "match.started", "participants": "4", "teams": "2"}
        sent = site.post(f"/studio/games/{game_id}/test-event", data={**form, **fields})
        assert sent.status_code == 303, sent.text
        path = sent.headers["Location"]
        page = delivered(site, path)
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "&lt;script&gt;alert(1)" in page
        assert "{{7*7}}" in page
        assert "&lt;script&gt;alert(2)" in page
        assert "webhook-signature" in page
        assert "Bearer" not in page
        listed = site.get(f"/studio/games/{game_id}/webhooks", params={"state": "failed", "event": "test"}).text
        assert path in listed
        assert "<script>alert" not in listed
        for other in ({"state": "delivered"}, {"event": "match.started"}, {"until": "2020-01-01T00:00"}):
            assert path not in site.get(f"/studio/games/{game_id}/webhooks", params=other).text, other
        again = site.post(f"{path}/resend", data=hidden(site.get(path).text))
        assert again.headers["Location"] == path
        assert "answered 500" in delivered(site, path, 2)


@pytest.mark.parametrize("value", ["x" * 24, "' OR 1=1 --", HOSTILE, "\x00", "99999-99-99T99:99"])
def test_a_filter_that_makes_no_sense_is_said_and_shown_as_text(served: Server, value: str) -> None:
    site = owner(served)
    game_id = register(served, site)
    names = ("state", "event", "match", "since", "until")
    answer = site.get(f"/studio/games/{game_id}/webhooks", params=dict.fromkeys(names, value))
    assert answer.status_code == 200
    assert "<script>alert" not in answer.text
    assert 'id="e-match"' in answer.text
    assert site.get(f"/studio/games/{game_id}/webhooks", params={"cursor": value}).status_code == 422


def test_a_filter_by_time_takes_a_zone_and_is_kept_on_further_pages(served: Server) -> None:
    site = owner(served)
    game_id = register(served, site)
    path = f"/studio/games/{game_id}/webhooks"
    programs = api(served, site)
    for _ in range(31):
        assert programs.post(f"/games/{game_id}/test-event").status_code == 201
    since = datetime.now(timezone(timedelta(hours=2))).replace(microsecond=0) - timedelta(hours=1)
    page = site.get(path, params={"since": since.isoformat(), "event": "test"}).text
    in_utc = since.astimezone(UTC).replace(tzinfo=None)
    assert f'value="{in_utc.isoformat()}"' in page
    kept = parse_qs(re.search(r'href="\?([^"]*cursor=[^"]+)"', page)[1].replace("&amp;", "&"))  # type: ignore[index]
    assert (kept["since"], kept["event"]) == ([in_utc.isoformat()], ["test"])
    over = datetime.now(timezone(timedelta(hours=-2))) - timedelta(hours=1)
    assert "Nothing here" in site.get(path, params={"until": over.isoformat(timespec="seconds")}).text


def test_a_delivery_is_shown_under_its_own_game_alone(served: Server) -> None:
    site = owner(served)
    one, two = (register(served, site) for _ in range(2))
    form = hidden(site.get(f"/studio/games/{one}/webhooks").text)
    fields = {"event": "match.aborted", "participants": "2", "teams": "2"}
    path = site.post(f"/studio/games/{one}/test-event", data={**form, **fields}).headers["Location"]
    assert site.get(path).status_code == 200
    assert site.get(path.replace(one, two)).status_code == 404
    assert site.post(f"{path.replace(one, two)}/resend", data=form).status_code == 404
    stranger = owner(served)
    assert stranger.get(path).status_code == 404
    assert stranger.get(f"{path}/live").status_code == 404


def test_a_refused_test_event_leaves_the_page_at_its_own_address_and_live(served: Server) -> None:
    site = owner(served)
    page = f"/studio/games/{register(served, site)}/webhooks"
    form = hidden(site.get(page).text)
    refused = site.post(page.replace("webhooks", "test-event"), data={**form, "participants": "3", "teams": "2"})
    assert refused.status_code == 422
    assert "2 to 16 teams, filled evenly" in refused.text
    assert f'data-address="{page}"' in refused.text
    assert f'data-live="{page}/live"' in refused.text


# --- what happens in a game, and whether it holds -------------------------------------------------------------------


def api(served: Server, site: httpx.Client) -> httpx.Client:
    """The API with the session of somebody on the site."""
    headers = {"Authorization": f"Bearer {site.cookies['oklp_studio']}"}
    return httpx.Client(base_url=f"{served.url}/api/studio/v1", headers=headers, timeout=30)


def test_matches_and_figures_are_those_of_the_api(served: Server) -> None:
    site = owner(served)
    body = {
        "name": f"Counted {next(_numbers)}-{os.getpid()}",
        "settings": {"discovery": "pull"},
        "launch_urls": {"browser": "http://127.0.0.1:9/play?token={match-token}"},
    }
    config = GameConfig(api(served, site).post("/games", json=body).json()["developer_config"])
    base = f"/studio/games/{config.client_id}"
    tiles = re.compile(r"<dt>([^<]+)</dt><dd>([^<]+)<")
    empty = tiles.findall(site.get(f"{base}/figures").text)
    assert [value for _, value in empty] == ["0"] * 4 + ["0.00\u00a0XTS"] * 4
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    match_id = paid_match(one, two, config.client_id, 500)
    one.must(200, "POST", f"/matches/{match_id}/launch", {"platform": "browser"})
    backend = GameClient(served.url, config)
    assert backend.finish(backend.report(match_id, one.user_id)).status_code == 200
    waiting = one.create(config.client_id, 100)
    listed = site.get(f"{base}/matches").text
    assert match_id in listed
    assert waiting in listed
    assert one.username in listed
    finished = site.get(f"{base}/matches", params={"status": "finished"}).text
    assert match_id in finished
    assert waiting not in finished
    one_match = site.get(f"{base}/matches/{match_id}").text
    assert one.user_id in one_match
    assert "+9.00\u00a0XTS" in one_match  # the winner
    (launch,) = served.operator.get(f"/matches/{match_id}").json()["launches"]
    assert launch["user_id"] == one.user_id
    assert one.username in one_match.partition("Who went to play")[2]
    assert "0.50\u00a0XTS" in one_match  # the studio
    assert waiting in site.get(f"{base}/matches/{waiting}").text
    strangers = owner(served)
    other = register(served, strangers)
    for path in (f"{base}/matches/{match_id}", f"/studio/games/{other}/matches/{match_id}"):
        assert strangers.get(path).status_code == 404, path
        assert strangers.get(f"{path}/live").status_code == 404, path
    assert site.get(f"{base}/matches/{'0' * 24}").status_code == 404
    figures = site.get(f"{base}/figures", params={"days": "7"}).text
    assert "10.00\u00a0XTS" in figures  # fees that were paid in
    assert "0.50\u00a0XTS" in figures  # the studio's half of ten per cent
    assert [name for name, _ in tiles.findall(figures)] == [name for name, _ in empty], "the page keeps its shape"
    table = site.get(f"{base}/figures.csv", params={"days": "7"})
    assert table.headers["Content-Type"].startswith("text/csv")
    assert table.text.splitlines()[1].endswith(",2,2,XTS,1000,900,50,50")
    assert site.get(f"{base}/figures", params={"days": "' OR 1=1"}).status_code == 200


def test_who_went_to_play_is_said_as_far_as_it_is_known(served: Server) -> None:
    site = owner(served)
    body = {
        "name": f"Asked {next(_numbers)}-{os.getpid()}",
        "settings": {"discovery": "pull"},
        "launch_urls": {"browser": "http://127.0.0.1:9/play?token={match-token}", "steam": "steam://run/7"},
    }
    config = GameConfig(api(served, site).post("/games", json=body).json()["developer_config"])
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    waiting, match_id = one.create(config.client_id, 0), paid_match(one, two, config.client_id, 0)
    operator = httpx.Client(base_url=served.url, timeout=30, headers=PAGE)
    token = served.operator.headers["Authorization"].removeprefix("Bearer ")
    operator.cookies.set("oklp_operator", token, domain="127.0.0.1", path="/")

    def said(match: str) -> set[str]:
        texts = (
            site.get(f"/studio/games/{config.client_id}/matches/{match}").text,
            operator.get(f"/operator/matches/{match}").text,
        )
        return {
            re.sub(r"<[^>]*>", "", text.partition("Who went to play")[2].partition("</section>")[0]).strip()
            for text in texts
        }

    def launch() -> dict[str, str]:
        (found,) = served.operator.get(f"/matches/{match_id}").json()["launches"]
        return dict(found)

    assert said(waiting) == {"Nobody yet."}
    one.act(match_id, "launch", {"platform": "steam"})  # with no token in it, of which nobody keeps anything
    (unknown,) = said(match_id)
    assert unknown.startswith("Nobody that is known.")
    address = one.act(match_id, "launch", {"platform": "browser"})["launch_url"]
    assert launch()["asked_at"] is None
    asked = GameClient(served.url, config).http.post(
        "/api/game/v1/token-info", json={"token": address.partition("token=")[2]}
    )
    assert asked.status_code == 200
    await_true(lambda: launch()["asked_at"] is not None)
    assert all("the game first asked about it:" in text for text in said(match_id))


def test_the_platforms_own_words_are_in_the_readers_language(served: Server) -> None:
    """What a game or the network said comes as it came, and says that it is English."""
    site = owner(served)
    game_id = register(served, site)
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    refused = paid_match(one, two, game_id)
    one.await_status(refused, "aborted")
    cancelled = one.create(game_id, 100)
    one.act(cancelled, "cancel")
    operator = httpx.Client(base_url=served.url, timeout=30, headers=PAGE)
    token = served.operator.headers["Authorization"].removeprefix("Bearer ")
    operator.cookies.set("oklp_operator", token, domain="127.0.0.1", path="/")
    for visit in (site, operator):
        visit.headers["Accept-Language"] = "de"
    base = f"/studio/games/{game_id}"
    detail = one.match(refused)["abort_detail"]
    for visit, path in ((site, f"{base}/matches/"), (operator, "/operator/matches/")):
        text = visit.get(f"{path}{refused}").text
        assert "Das Spiel hat das Match nicht angenommen." in text, path
        assert f'<span class="muted" lang="en">{detail}</span>' in html.unescape(text), path
        text = visit.get(f"{path}{cancelled}").text
        assert "Wer es angelegt hat, hat es abgesagt." in text, path
        assert one.match(cancelled)["abort_detail"] not in text, path
    said = api(served, site).get(f"/games/{game_id}/deliveries").json()["deliveries"][0]["last_error"]
    assert f'<span lang="en">{said}</span>' in html.unescape(site.get(f"{base}/matches/{refused}").text)
    await_true(lambda: f'<span lang="en">{said}</span>' in html.unescape(site.get(f"{base}/log").text))
    listed = site.get(f"{base}/matches").text
    assert "Das Spiel hat das Match nicht angenommen." in listed
    for visit, path in ((site, base), (operator, f"/operator/games/{game_id}")):
        text = visit.get(path).text
        assert "Die Sandbox gibt sofort frei." in text, path
        assert "approves at once" not in text, path


def test_what_faults_do_is_said_in_every_language(served: Server) -> None:
    site = owner(served)
    path = f"/studio/games/{register(served, site)}/faults"
    said = [text for kind in KINDS.values() for text in (kind.help, kind.expect)]
    shown = html.unescape(site.get(path).text)
    assert [text for text in said if text not in shown] == []
    german = html.unescape(site.get(path, headers={"Accept-Language": "de"}).text)
    assert [text for text in said if text in german] == []


def test_reports_are_text_and_their_file_runs_nothing(served: Server) -> None:
    site = owner(served)
    game_id = register(served, site)
    report = json.loads(json.dumps(REPORT).replace("It was answered with 200.", "<script>alert(1)</script>"))
    made = api(served, site).post(f"/games/{game_id}/conformance-reports", json=report)
    assert made.status_code == 201, made.text
    base = f"/studio/games/{game_id}/conformance"
    path = f"{base}/{made.json()['report_id']}"
    assert path in site.get(base).text
    page = site.get(path).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    file = site.get(f"{path}/report.html")
    assert file.headers["Content-Disposition"].startswith("attachment")
    assert file.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert "<script>alert" not in file.text
    assert site.get(f"{base}/{'0' * 8}").status_code == 404


def test_faults_are_armed_and_cleared(served: Server) -> None:
    site = owner(served)
    game_id = register(served, site)
    path = f"/studio/games/{game_id}/faults"
    form = hidden(site.get(path).text)
    assert site.post(path, data={**form, "kind": "finish_503", "times": "3"}).status_code == 303
    (fault,) = api(served, site).get(f"/games/{game_id}/faults").json()["faults"]
    assert (fault["kind"], fault["left"]) == ("finish_503", 3)
    for wrong in ({"kind": "no_such"}, {"times": "0"}, {"times": "x"}):
        answer = site.post(path, data={**form, "kind": "finish_503", "times": "1", **wrong})
        assert answer.status_code == 422, wrong
        assert 'class="error"' in answer.text
    slow = {"kind": "finish_slow", "times": "1"}
    for wrong in ({"delay_seconds": "61"}, {"delay_seconds": "soon"}):
        answer = site.post(path, data={**form, **slow, **wrong})
        assert answer.status_code == 422, wrong
        assert 'id="e-f-finish_slow-delay_seconds"' in answer.text, wrong
    for foreign in ({"offset_seconds": "5"}, {"call": "none"}):  # of other kinds
        assert site.post(path, data={**form, **slow, **foreign}).status_code == 422, foreign
    assert site.post(path, data={**form, **slow, "delay_seconds": "2.5"}).status_code == 303
    faults = api(served, site).get(f"/games/{game_id}/faults").json()["faults"]
    assert [each["delay_seconds"] for each in faults if each["kind"] == "finish_slow"] == [2.5]
    assert "delay_seconds 2.5" in site.get(path).text
    (late,) = (each for each in faults if each["kind"] == "finish_slow")
    assert site.post(f"{path}/clear", data={**form, "fault": late["fault_id"]}).status_code == 303
    assert site.post(f"{path}/clear", data={**form, "fault": "x"}).status_code == 404
    assert site.post(f"{path}/clear", data={**form, "fault": fault["fault_id"]}).status_code == 303
    assert api(served, site).get(f"/games/{game_id}/faults").json()["faults"] == []


def test_members_have_roles_and_a_studio_keeps_an_owner(served: Server) -> None:
    site = owner(served)
    form = hidden(site.get("/studio/members").text)
    name = f"second-{os.getpid()}-{next(_numbers)}"
    fields = {"username": name, "email": f"{name}@example.org", "password": PASSWORD, "role": "viewer"}
    assert site.post("/studio/members", data={**form, **fields}).status_code == 303
    assert site.post("/studio/members", data={**form, **fields}).status_code == 409
    everyone = {each["username"]: each for each in api(served, site).get("/members").json()["members"]}
    second = visitor(served)
    log_in = hidden(second.get("/studio/log-in").text)
    second.post("/studio/log-in", data={**log_in, "username": name, "password": PASSWORD})
    theirs = hidden(second.get("/studio/you").text)
    first = next(each for each in everyone.values() if each["username"] != name)
    change = {"member": first["member_id"], "role": "viewer"}
    assert second.post("/studio/members/role", data={**theirs, **change}).status_code == 403
    assert site.post("/studio/members/role", data={**form, **change}).status_code == 409
    promoted = {"member": everyone[name]["member_id"], "role": "owner"}
    assert site.post("/studio/members/role", data={**form, **promoted}).status_code == 303
    asked = second.post("/studio/members/role", data={**theirs, **change})
    assert asked.status_code == 401, "another role is another log-in"
    second.post("/studio/log-in", data={**hidden(asked.text), "username": name, "password": PASSWORD})
    theirs = hidden(second.get("/studio/you").text)
    assert second.post("/studio/members/role", data={**theirs, **change}).status_code == 303
    form = hidden(site.get("/studio/log-in").text)
    site.post("/studio/log-in", data={**form, "username": first["username"], "password": PASSWORD})
    form = hidden(site.get("/studio/you").text)
    assert site.post("/studio/members/role", data={**form, **promoted}).status_code == 403, "an owner no more"
    assert second.post("/studio/members/remove", data={**theirs, "member": first["member_id"]}).status_code == 303
    assert 'action="/studio/log-in"' in site.get("/studio/members").text, "the sessions are over"


def test_a_member_is_invited_by_mail_and_chooses_his_password(served: Server) -> None:
    site = owner(served)
    name = f"invited-{os.getpid()}-{next(_numbers)}"
    email = f"{name}@example.org"
    form = {**hidden(site.get("/studio/members").text), "username": name, "email": email, "role": "developer"}
    assert site.post("/studio/members", data={**form, "password": ""}).status_code == 303
    assert "a mail is on its way" in site.get("/studio/members").text
    token = token_in(served, mail_to(served, email, "invitation"), "/studio/reset-password")
    confirmation = {"token": token, "password": "a password of my own"}
    public = f"{served.url}/api/studio/v1"
    assert httpx.post(f"{public}/password-resets/confirm", json=confirmation).status_code in (200, 204)
    session = httpx.post(f"{public}/sessions", json={"username": name, "password": "a password of my own"})
    assert session.status_code == 201
    me = httpx.get(f"{public}/me", headers={"Authorization": f"Bearer {session.json()['token']}"}).json()
    assert (me["role"], me["email_verified"]) == ("developer", True)

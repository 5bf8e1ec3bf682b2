"""The studio API as a studio sees it: games, secrets, members, the inspector."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from tests.harness import PASSWORD, GameClient, GameConfig, PlayerClient, Server, paid_match, serving
from tests.web.conftest import fresh_database
from tests.web.staff import await_delivery, log_in
from tests.webhooks.receivers import Receivers

TEMPLATE = "https://studio.example/play?token={match-token}"
_numbers = itertools.count(1)


def unique() -> str:
    return f"s{next(_numbers)}-{os.getpid()}"


def new_studio(served: Server) -> httpx.Client:
    """The owner of a studio that has nothing yet."""
    name = unique()
    body = {"name": f"{name} Games", "username": name, "email": f"{name}@example.org", "password": PASSWORD}
    assert httpx.post(f"{served.url}/api/studio/v1/studios", json=body).status_code == 201
    return log_in(served, "studio", name)


def must(answer: httpx.Response, status: int = 200) -> dict[str, Any]:
    assert answer.status_code == status, (answer.request.method, answer.request.url, answer.text)
    found: dict[str, Any] = answer.json()
    return found


def register(studio: httpx.Client, webhook_url: str = "", **settings: object) -> dict[str, Any]:
    body = {
        "name": f"Game {unique()}",
        "webhook_url": webhook_url or None,
        "launch_urls": {"browser": TEMPLATE},
        "settings": {"discovery": "push" if webhook_url else "pull", **settings},
    }
    return must(studio.post("/games", json=body), 201)


def add_member(served: Server, studio: httpx.Client, role: str) -> tuple[str, httpx.Client]:
    name = unique()
    body = {"username": name, "email": f"{name}@example.org", "password": PASSWORD, "role": role}
    member = must(studio.post("/members", json=body), 201)
    assert (member["username"], member["role"]) == (name, role)
    return str(member["member_id"]), log_in(served, "studio", name)


def fields(answer: httpx.Response) -> set[str]:
    assert answer.status_code == 422, answer.text
    return {each["field"] for each in answer.json()["errors"]}


def ask_token(config: dict[str, Any], secret: str) -> int:
    auth = config["authentication"]
    form = {"client_id": auth["client_id"], "client_secret": secret, "grant_type": "client_credentials"}
    return httpx.post(auth["token_url"], data=form).status_code


# --- signing up ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "   "),
        ("name", "x" * 81),
        ("name", "line\nbreak"),
        ("username", "ab"),
        ("email", "nobody"),
        ("password", "short"),
    ],
)
def test_sign_up_names_the_field(served: Server, field: str, value: str) -> None:
    body = {"name": "Somebody", "username": "somebody", "email": "somebody@example.org", "password": PASSWORD}
    assert fields(httpx.post(f"{served.url}/api/studio/v1/studios", json={**body, field: value})) == {field}


def test_names_of_members_are_unique_over_all_studios(served: Server) -> None:
    studio = new_studio(served)
    name = must(studio.get("/me"))["username"]
    body = {"name": "Others", "username": name.upper(), "email": "others@example.org", "password": PASSWORD}
    answer = httpx.post(f"{served.url}/api/studio/v1/studios", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (409, "username")
    answer = new_studio(served).post("/members", json={**body, "role": "viewer"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (409, "username")


def test_the_session_says_how_long_it_lasts_and_whose_it_is(served: Server) -> None:
    studio = new_studio(served)
    me = must(studio.get("/me"))
    assert (me["name"], me["role"]) == (f"{me['username']} Games", "owner")
    credentials = {"username": me["username"], "password": PASSWORD}
    session = must(httpx.post(f"{served.url}/api/studio/v1/sessions", json=credentials), 201)
    assert session["token"]
    assert session["expires_in"] > 3_600
    wrong = httpx.post(f"{served.url}/api/studio/v1/sessions", json={**credentials, "password": "another one"})
    # A member is no player and no operator, whatever the password.
    others = [httpx.post(f"{served.url}/api/{kind}/v1/sessions", json=credentials) for kind in ("player", "operator")]
    assert [answer.status_code for answer in (wrong, *others)] == [401, 401, 401]


# --- members ---------------------------------------------------------------------------------------------------------


def test_a_removed_member_is_out_at_once(served: Server) -> None:
    studio = new_studio(served)
    member_id, member = add_member(served, studio, "developer")
    assert member.get("/games").status_code == 200
    assert studio.delete(f"/members/{member_id}").status_code == 204
    assert member.get("/games").status_code == 401
    assert studio.delete(f"/members/{member_id}").status_code == 404
    assert [each["role"] for each in must(studio.get("/members"))["members"]] == ["owner"]


def test_the_last_owner_stays(served: Server) -> None:
    studio = new_studio(served)
    own_id = must(studio.get("/me"))["member_id"]
    add_member(served, studio, "developer")
    assert studio.delete(f"/members/{own_id}").status_code == 409
    second_id, second = add_member(served, studio, "owner")
    assert studio.delete(f"/members/{own_id}").status_code == 204
    assert second.delete(f"/members/{second_id}").status_code == 409


def test_owners_who_remove_each_other_leave_one(served: Server) -> None:
    studio = new_studio(served)
    own_id = must(studio.get("/me"))["member_id"]
    other_id, other = add_member(served, studio, "owner")
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda job: job[0].delete(f"/members/{job[1]}"), [(studio, other_id), (other, own_id)]))
    # The loser is refused as the last owner, or is no member any more.
    assert sorted(answer.status_code for answer in answers) in ([204, 401], [204, 409])
    left = studio if studio.get("/me").status_code == 200 else other
    assert [each["role"] for each in must(left.get("/members"))["members"]] == ["owner"]


# --- registration and secrets ----------------------------------------------------------------------------------------


def test_the_secrets_are_shown_once(served: Server) -> None:
    studio = new_studio(served)
    answer = studio.post("/games", json={"name": "Tile Rush!", "settings": {"discovery": "pull"}})
    game = must(answer, 201)
    assert answer.headers["cache-control"] == "no-store"
    assert game["game_id"].startswith("tile-rush")
    config = game["developer_config"]
    assert set(config) == {"okletsplay_url", "authentication"}
    expected = {"client_id", "client_secret", "webhook_secret", "public_key_url", "token_url"}
    assert set(config["authentication"]) == expected
    assert config["authentication"]["client_id"] == game["game_id"]
    assert config["authentication"]["webhook_secret"].startswith("whsec_")
    assert ask_token(config, config["authentication"]["client_secret"]) == 200

    path = f"/games/{game['game_id']}"
    again = studio.get(f"{path}/developer-config")
    kept = {name: value for name, value in config["authentication"].items() if not name.endswith("_secret")}
    assert must(again) == {"okletsplay_url": config["okletsplay_url"], "authentication": kept}
    assert again.headers["content-disposition"] == 'attachment; filename="developer-config.json"'
    for secret in ("client_secret", "webhook_secret"):
        text = config["authentication"][secret]
        assert text not in again.text + studio.get(path).text + studio.get("/games").text


def test_a_rotation_overlaps(served: Server, receivers: Receivers) -> None:
    """Both client secrets work, and a webhook is signed with both webhook secrets."""
    url = receivers.url("ok")
    studio = new_studio(served)
    game = register(studio, url)
    answer = studio.post(f"/games/{game['game_id']}/secrets")
    new, old = must(answer, 201), game["developer_config"]
    assert answer.headers["cache-control"] == "no-store"
    secrets = [config["authentication"]["client_secret"] for config in (old, new)]
    assert len(set(secrets)) == 2
    assert [ask_token(new, secret) for secret in secrets] == [200, 200]
    must(studio.post(f"/games/{game['game_id']}/test-event"), 201)
    [request] = receivers.wait(url)
    assert len(request.headers["webhook-signature"].split()) == 2
    for config in (old, new):
        Webhook(config["authentication"]["webhook_secret"]).verify(request.body, request.headers)


def test_the_overlap_ends(production: Server) -> None:
    studio = new_studio(production)
    game = register(studio)
    old = game["developer_config"]["authentication"]["client_secret"]
    new = must(studio.post(f"/games/{game['game_id']}/secrets"), 201)
    until = time.monotonic() + 20
    while ask_token(new, old) == 200:
        assert time.monotonic() < until, "the old secret works for ever"
        time.sleep(0.05)
    assert ask_token(new, old) == 401
    assert ask_token(new, new["authentication"]["client_secret"]) == 200


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": " "}, "name"),
        ({"game_id": "Not A Slug"}, "game_id"),
        ({"webhook_url": None}, "webhook_url"),
        ({"webhook_url": "http://10.0.0.1/match"}, "webhook_url"),
        ({"webhook_url": "http://169.254.169.254/latest"}, "webhook_url"),
        ({"webhook_url": "file:///etc/passwd"}, "webhook_url"),
        ({"launch_urls": {"browser": "javascript:alert(1)"}}, "launch_urls.browser"),
        ({"launch_urls": {"browser": "http://studio.example/play"}}, "launch_urls.browser"),
        ({"launch_urls": {"browser": "https://{match-token}.example/"}}, "launch_urls.browser"),
        ({"launch_urls": {"android": "data:text/html,x"}}, "launch_urls.android"),
        ({"settings": {"fee_bps": 4_001}}, "settings.fee_bps"),
        ({"settings": {"fee_bps": 10.0}}, "settings.fee_bps"),
        ({"settings": {"studio_share_bps": 10_000}}, "settings.studio_share_bps"),
        ({"settings": {"fee_bsp": 500}}, "settings.fee_bsp"),
        ({"settings": {"teams_min": 5, "teams_max": 4}}, "settings.teams_max"),
        ({"settings": {"entry_fee_min": 5, "entry_fee_max": 4}}, "settings.entry_fee_max"),
        ({"settings": {"results_due_seconds": 0}}, "settings.results_due_seconds"),
    ],
)
def test_registration_names_the_field(served: Server, change: dict[str, Any], field: str) -> None:
    body = {"name": f"Game {unique()}", "webhook_url": "http://127.0.0.1:9/match", **change}
    before = len(must(served.studio.get("/games"))["games"])
    assert fields(served.studio.post("/games", json=body)) == {field}
    assert len(must(served.studio.get("/games"))["games"]) == before


def test_a_game_id_is_taken_once(served: Server) -> None:
    game_id = register(served.studio)["game_id"]
    body = {"name": "Another", "game_id": game_id, "settings": {"discovery": "pull"}}
    answer = new_studio(served).post("/games", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (409, "game_id")


# --- configuration ---------------------------------------------------------------------------------------------------


def test_a_change_is_what_was_given_and_is_written_down(served: Server) -> None:
    studio = new_studio(served)
    game = register(studio, "http://127.0.0.1:9/old", fee_bps=500)
    path = f"/games/{game['game_id']}"
    known = {name: value for name, value in game.items() if name != "developer_config"}
    changed = must(studio.patch(path, json={"webhook_url": "http://127.0.0.1:9/new", "settings": {"fee_bps": 700}}))
    assert changed == {
        **known,
        "webhook_url": "http://127.0.0.1:9/new",
        "settings": {**known["settings"], "fee_bps": 700},
    }
    assert must(studio.patch(path, json={"name": game["name"]})) == changed
    assert must(studio.patch(path, json={"settings": changed["settings"]})) == changed
    for refused, value in (("studio_share_bps", 10_000), ("fee_bsp", 500)):
        assert fields(studio.patch(path, json={"settings": {refused: value}})) == {f"settings.{refused}"}
    log = must(served.operator.get("/audit", params={"subject": f"game:{game['game_id']}"}))["entries"]
    actor = f"member:{must(studio.get('/me'))['username']}"
    assert [(each["action"], each["actor"]) for each in log] == [("game.update", actor), ("game.register", actor)]
    assert log[0]["detail"] == {
        "webhook_url": {"from": "http://127.0.0.1:9/old", "to": "http://127.0.0.1:9/new"},
        "settings.fee_bps": {"from": 500, "to": 700},
    }


def test_matches_keep_the_rules_they_were_made_with(served: Server) -> None:
    game = register(served.studio, fee_bps=0)
    player = PlayerClient(served.url)
    before = player.create(game["game_id"], 500)
    must(served.studio.patch(f"/games/{game['game_id']}", json={"settings": {"fee_bps": 4_000, "entry_fee_max": 600}}))
    after = player.create(game["game_id"], 500)
    assert [player.match(each)["fee_bps"] for each in (before, after)] == [0, 4_000]
    dear = {"game_id": game["game_id"], "entry_fee": {"amount": 601, "currency": "XTS"}}
    assert fields(player.call("POST", "/matches", dear)) == {"entry_fee.amount"}


def test_a_game_that_is_pushed_keeps_its_webhook_url(served: Server, receivers: Receivers) -> None:
    """While a match waits that was made to be pushed, there is somewhere to push it to."""
    url = receivers.url("ok")
    game = register(served.studio, url)
    path = f"/games/{game['game_id']}"
    assert fields(served.studio.patch(path, json={"webhook_url": None})) == {"webhook_url"}
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    match_id = one.create(game["game_id"], invite=[two.username])
    to_pull = {"webhook_url": None, "settings": {"discovery": "pull"}}
    assert served.studio.patch(path, json=to_pull).status_code == 409
    two.act(match_id, "join")
    for player in (one, two):
        player.act(match_id, "confirm")
    one.await_status(match_id, "live")
    assert must(served.studio.patch(path, json=to_pull))["webhook_url"] is None
    assert paid_match(one, two, game["game_id"])


# --- the inspector ---------------------------------------------------------------------------------------------------


def test_a_test_event_and_what_the_inspector_shows(served: Server, receivers: Receivers) -> None:
    url = receivers.url("ok")
    game = register(served.studio, url)
    sent = must(served.studio.post(f"/games/{game['game_id']}/test-event"), 201)
    assert (sent["event"], sent["method"], sent["match_id"]) == ("test", "PUT", None)
    [request] = receivers.wait(url)
    assert request.headers["authorization"].startswith("Bearer ")
    shown = await_delivery(served.studio, sent["delivery_id"])
    assert shown["request_body"]["test"] is True
    assert {each["team_id"] for each in shown["request_body"]["participants"]} == {
        each["id"] for each in shown["request_body"]["teams"]
    }
    [attempt] = shown["log"]
    assert (attempt["attempt"], attempt["url"], attempt["status"], attempt["error"]) == (1, url, 200, None)
    headers = {name.lower() for name in attempt["request_headers"]}
    assert {"webhook-id", "webhook-timestamp", "webhook-signature"} <= headers
    assert "authorization" not in headers
    assert request.headers["authorization"].removeprefix("Bearer ") not in str(shown)


def test_a_game_without_a_webhook_has_no_test_event(served: Server) -> None:
    game = register(served.studio)
    assert served.studio.post(f"/games/{game['game_id']}/test-event").status_code == 409


def test_a_resend_goes_where_the_studio_says_now_and_changes_no_match(served: Server, receivers: Receivers) -> None:
    game = register(served.studio, receivers.url("status:500"))
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    match_id = paid_match(one, two, game["game_id"])
    one.await_status(match_id, "aborted")
    path = f"/games/{game['game_id']}/deliveries"
    [failed] = must(served.studio.get(path, params={"state": "failed"}))["deliveries"]
    assert (failed["match_id"], failed["last_status"]) == (match_id, 500)

    url = receivers.url("ok")
    must(served.studio.patch(f"/games/{game['game_id']}", json={"webhook_url": url}))
    again = must(served.studio.post(f"/deliveries/{failed['delivery_id']}/resend"))
    assert again["state"] in ("waiting", "sending")
    [request] = receivers.wait(url)
    assert request.headers["webhook-id"] == failed["delivery_id"]
    shown = await_delivery(served.studio, failed["delivery_id"])
    assert ([each["status"] for each in shown["log"]], shown["state"]) == ([500, 200], "delivered")
    assert one.match(match_id)["status"] == "aborted"
    assert (one.available(), two.available()) == (10_000, 10_000)


def test_what_is_on_its_way_is_not_sent_again(served: Server, receivers: Receivers) -> None:
    game = register(served.studio, receivers.url("hang"))
    sent = must(served.studio.post(f"/games/{game['game_id']}/test-event"), 201)
    assert served.studio.post(f"/deliveries/{sent['delivery_id']}/resend").status_code == 409
    shown = await_delivery(served.studio, sent["delivery_id"])
    assert (shown["state"], shown["attempts"]) == ("failed", 1)


def test_deliveries_by_pages(served: Server) -> None:
    game = register(served.studio, "http://127.0.0.1:9/match")
    path = f"/games/{game['game_id']}/deliveries"
    sent = [must(served.studio.post(f"/games/{game['game_id']}/test-event"), 201) for _ in range(5)]
    for each in sent:
        await_delivery(served.studio, each["delivery_id"])
    seen: list[str] = []
    params: dict[str, Any] = {"limit": 2}
    while True:
        page = must(served.studio.get(path, params=params))
        seen.extend(each["delivery_id"] for each in page["deliveries"])
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    # Those of one millisecond are in the order of their ids.
    expected = sorted(
        sent, key=lambda each: (datetime.fromisoformat(each["created_at"]), each["delivery_id"]), reverse=True
    )
    assert seen == [each["delivery_id"] for each in expected]
    assert must(served.studio.get(path, params={"state": "delivered"}))["deliveries"] == []
    assert fields(served.studio.get(path, params={"state": "lost"})) == {"state"}
    assert fields(served.studio.get(path, params={"cursor": "made up"})) == {"cursor"}


def test_ids_that_are_none_are_not_found(served: Server) -> None:
    for path in ("/deliveries/x", "/deliveries/%00", "/games/%00", "/games/Not-A-Slug/figures"):
        assert served.studio.get(path).status_code == 404, path


# --- matches and figures ---------------------------------------------------------------------------------------------


def test_figures_follow_the_money(served: Server) -> None:
    studio = new_studio(served)
    game = register(studio)
    backend = GameClient(served.url, GameConfig(game["developer_config"]))
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    path = f"/games/{game['game_id']}"
    empty = must(studio.get(f"{path}/figures"))
    assert (empty["players"], empty["money"], set(empty["matches"].values())) == (0, [], {0})
    finished = paid_match(one, two, game["game_id"], 500)
    assert backend.finish(backend.report(finished, one.user_id)).status_code == 200
    called_off = one.create(game["game_id"])
    one.act(called_off, "cancel")
    live = paid_match(two, one, game["game_id"], 500)

    shown = must(studio.get(f"{path}/figures"))
    counts = {"pending": 0, "starting": 0, "live": 1, "finished": 1, "aborted": 1}
    assert (shown["matches"], shown["players"]) == (counts, 2)
    # 10 % of 1,000 is the fee, and the studio has half of it.
    money = {"currency": "XTS", "entry_fees": 1_000, "prizes": 900, "fees": 50, "studio_share": 50}
    assert shown["money"] == [money]
    today = datetime.now(UTC).date().isoformat()
    assert shown["days"] == [{"day": today, "matches": 3, "players": 2, "money": [money]}]
    assert must(studio.get(f"{path}/figures", params={"since": today, "until": today}))["days"] == shown["days"]
    before = must(studio.get(f"{path}/figures", params={"until": "2020-01-01"}))
    assert (before["players"], before["money"], before["days"], set(before["matches"].values())) == (0, [], [], {0})
    table = studio.get(f"{path}/figures", params={"format": "csv"})
    assert table.headers["content-type"].startswith("text/csv")
    assert table.text.splitlines()[1] == f"{today},3,2,XTS,1000,900,50,50"
    assert studio.get(f"{path}/figures", params={"since": today, "until": "2020-01-01"}).status_code == 422
    listed = must(studio.get(f"{path}/matches"))["matches"]
    assert [each["match_id"] for each in listed] == [live, called_off, finished]
    assert [each["match_id"] for each in must(studio.get(f"{path}/matches?status=live"))["matches"]] == [live]
    assert all(each["join_code"] is None for each in listed)


# --- review, where there is one --------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def production(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that is no sandbox, in which old secrets live for a second."""
    folder = tmp_path_factory.mktemp(f"production-{request.param}")
    postgres = request.getfixturevalue("postgres_server") if request.param == "postgresql" else ""
    env = {"OKLP_SANDBOX": "0", "OKLP_SECRET_KEY": "k" * 43, "OKLP_SECRET_OVERLAP_SECONDS": "1"}
    server = Server(fresh_database(request.param, folder, postgres), folder, more_env=env)
    server.cli("migrate")
    with serving(server.database_url, folder, **env) as running:
        yield running


def test_without_a_payment_provider_nothing_is_deposited_and_waiting_does_not_help(production: Server) -> None:
    player = PlayerClient(production.url, deposit=0)
    for path in ("/wallet/deposits", "/wallet/withdrawals"):
        answer = player.call("POST", path, {"amount": 5, "currency": "USD"})
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:oklp:error:conflict")
        assert "retry-after" not in answer.headers


def test_a_game_goes_through_review(production: Server) -> None:
    studio, operator = new_studio(production), production.operator
    game = register(studio)
    path = f"/games/{game['game_id']}"
    assert game["vetting"] == "draft"
    player = PlayerClient(production.url, deposit=0)
    offer = {"game_id": game["game_id"], "entry_fee": {"amount": 0, "currency": "USD"}}
    assert fields(player.call("POST", "/matches", offer)) == {"game_id"}
    assert player.call("GET", path).status_code == 404

    def decide(decision: str) -> httpx.Response:
        return operator.post(f"{path}/vetting", json={"decision": decision, "reason": f"to {decision}"})

    assert [decide(each).status_code for each in ("refuse", "suspend")] == [409, 409]
    assert must(studio.post(f"{path}/review"))["vetting"] == "in-review"
    assert studio.post(f"{path}/review").status_code == 409
    waiting = must(operator.get("/games", params={"vetting": "in-review"}))["games"]
    assert game["game_id"] in [each["game_id"] for each in waiting]
    refused = must(decide("refuse"))
    actor = f"operator:{must(operator.get('/me'))['username']}"
    assert (refused["vetting"], refused["studio"]) == ("draft", must(studio.get("/me"))["name"])
    shown = must(studio.get(path))
    assert (shown["vetting"], shown["vetting_reason"], shown["vetting_by"]) == ("draft", "to refuse", actor)
    must(studio.post(f"{path}/review"))
    assert must(decide("approve"))["vetting"] == "approved"
    assert player.call("POST", "/matches", offer).status_code == 201
    assert player.call("GET", path).status_code == 200


def test_an_approved_game_stays_approved_when_its_urls_change(production: Server) -> None:
    """And every check of a registration is made again."""
    studio, operator = new_studio(production), production.operator
    path = f"/games/{register(studio)['game_id']}"
    must(operator.post(f"{path}/vetting", json={"decision": "approve", "reason": "known"}))
    for url in ("http://studio.example/match", "https://127.0.0.1/match", "https://10.0.0.1/match"):
        assert fields(studio.patch(path, json={"webhook_url": url})) == {"webhook_url"}, url
    loopback = {"launch_urls": {"browser": "http://127.0.0.1/play"}}
    assert fields(studio.patch(path, json=loopback)) == {"launch_urls.browser"}
    moved = {"launch_urls": {"browser": "https://new.example/play"}, "webhook_url": "https://new.example/match"}
    assert must(studio.patch(path, json=moved))["vetting"] == "approved"
    [update, *_] = must(operator.get("/audit", params={"subject": f"game:{path.removeprefix('/games/')}"}))["entries"]
    assert update["detail"] == {
        "launch_urls.browser": {"from": TEMPLATE, "to": "https://new.example/play"},
        "webhook_url": {"from": None, "to": "https://new.example/match"},
    }


def test_nothing_is_sabotaged_in_production(production: Server) -> None:
    studio = new_studio(production)
    path = f"/games/{register(studio)['game_id']}/faults"
    for answer in (
        studio.post(path, json={"kind": "finish_503"}),
        studio.get(path),
        studio.delete(path),
        studio.delete(f"{path}/1"),
    ):
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:oklp:error:conflict")
        assert "sandbox only" in answer.json()["detail"]

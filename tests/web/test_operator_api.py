"""The operator API: every action has its reason and its line in the audit log, and the money stays whole."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from oklp.storage import schema
from oklp.storage.engine import connectable
from oklp.storage.presence import VERIFYING_KEY, Turn
from tests.harness import PASSWORD, GameClient, GameConfig, PlayerClient, Server, enrol, paid_match
from tests.web.staff import log_in
from tests.webhooks.receivers import Receivers

REASON = "because the test says so"


def must(answer: httpx.Response, status: int = 200) -> dict[str, Any]:
    assert answer.status_code == status, (answer.request.method, answer.request.url, answer.text)
    found: dict[str, Any] = answer.json()
    return found


def act(served: Server, path: str, key: str = "", **body: object) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return served.operator.post(path, json={"reason": REASON, **body}, headers=headers)


def verified(served: Server, run_id: str) -> dict[str, Any]:
    """What came of a verification of the books, once it has ended."""
    until = time.monotonic() + 20
    while (run := must(served.operator.get("/books/verification")))["state"] == "running":
        assert time.monotonic() < until
        time.sleep(0.01)
    assert (run["run_id"], run["state"]) == (run_id, "done")
    books: dict[str, Any] = run["books"]
    return books


def audit(served: Server, subject: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = must(served.operator.get("/audit", params={"subject": subject}))["entries"]
    return entries


class Table:
    """Two players and a game that is live as soon as both have paid."""

    def __init__(self, served: Server, mode: str = "sync") -> None:
        self.served = served
        self.game: GameConfig = served.register(discovery="pull", mode=mode)
        self.backend = GameClient(served.url, self.game)
        self.one, self.two = PlayerClient(served.url), PlayerClient(served.url)
        self.actor = f"operator:{must(served.operator.get('/me'))['username']}"

    def live(self, fee: int = 500) -> str:
        return paid_match(self.one, self.two, self.game.client_id, fee)

    def pending(self) -> str:
        """The first has paid, the second has not."""
        match_id = self.one.create(self.game.client_id, invite=[self.two.username])
        self.two.act(match_id, "join")
        self.one.act(match_id, "confirm")
        return match_id

    def report(self, match_id: str, winner: PlayerClient) -> dict[str, Any]:
        return must(self.backend.finish(self.backend.report(match_id, winner.user_id)))

    def settlement(self, match_id: str, winner: PlayerClient) -> dict[str, Any]:
        body = self.backend.report(match_id, winner.user_id)
        return {"participants": body["participants"], "teams": body["teams"]}

    @property
    def available(self) -> tuple[int, int]:
        return self.one.available(), self.two.available()

    def shown(self, match_id: str) -> dict[str, Any]:
        """The match as operators see it. Whatever was done to it, its postings are whole."""
        found = must(self.served.operator.get(f"/matches/{match_id}"))
        sums: dict[str, int] = {}
        for posting in found["postings"]:
            sums[posting["set_id"]] = sums.get(posting["set_id"], 0) + posting["amount"]
        assert set(sums.values()) <= {0}
        return found


@pytest.fixture
def table(served: Server) -> Iterator[Table]:
    made = Table(served)
    yield made
    books = must(served.operator.get("/books"))
    assert (books["clean"], books["faults"]) == (True, [])


# --- reasons ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", [None, "", "   ", "x" * 501, "a\u0000b", 7])
def test_nothing_happens_without_a_reason(table: Table, reason: object) -> None:
    match_id = table.live()
    operator = table.served.operator
    body = {} if reason is None else {"reason": reason}
    requests = {
        f"/matches/{match_id}/abort": {},
        f"/matches/{match_id}/settle": table.settlement(match_id, table.one),
        f"/players/{table.one.user_id}": {"action": "suspend"},
        f"/players/{table.one.user_id}/held-winnings/{match_id}": {"decision": "release"},
        f"/games/{table.game.client_id}/vetting": {"decision": "suspend"},
    }
    for path, more in requests.items():
        problem = must(operator.post(path, json={**more, **body}), 422)
        assert [each["field"] for each in problem["errors"]] == ["reason"], path
    assert table.one.match(match_id)["status"] == "live"
    assert must(operator.get(f"/players/{table.one.user_id}"))["status"] == "active"
    assert must(operator.get(f"/games/{table.game.client_id}"))["vetting"] == "approved"
    assert audit(table.served, f"match:{match_id}") == []


# --- games -----------------------------------------------------------------------------------------------------------


def test_suspending_a_game_refunds_what_waits_and_lets_the_live_finish(table: Table) -> None:
    live, pending = table.live(), table.pending()
    path = f"/games/{table.game.client_id}/vetting"
    assert must(act(table.served, path, decision="suspend"))["vetting"] == "suspended"
    assert act(table.served, path, decision="suspend").status_code == 409
    match = table.one.match(pending)
    assert (match["status"], match["abort_reason"]) == ("aborted", "game-suspended")
    assert REASON not in str(match)
    offer = {"game_id": table.game.client_id, "entry_fee": {"amount": 5, "currency": "XTS"}}
    assert table.one.call("POST", "/matches", offer).status_code == 409
    assert table.report(live, table.two)["match_status"] == "finished"
    assert table.available == (9_500, 10_400)
    assert must(act(table.served, path, decision="approve"))["vetting"] == "approved"
    assert table.one.call("POST", "/matches", offer).status_code == 201
    log = audit(table.served, f"game:{table.game.client_id}")
    expected = [("game.approve", table.actor, REASON), ("game.suspend", table.actor, REASON)]
    assert [(each["action"], each["actor"], each["reason"]) for each in log][:2] == expected


def test_a_suspended_game_has_no_tokens_left_to_use(table: Table) -> None:
    """Read at each request: the token that it has is worth nothing from now on, and neither is a new one.

    A result that was accepted still is when it is sent again, for its answer may have been lost.
    """
    match_id = table.live()
    report = table.backend.report(match_id, table.one.user_id)
    aborted = table.pending()
    token = {"token": table.one.act(match_id, "launch")["launch_url"].split("token=")[1]}
    requests = [
        ("GET", "/api/game/v1/matches", None),
        ("GET", f"/api/game/v1/matches/{match_id}", None),
        ("GET", f"/api/game/v1/users/{table.one.user_id}", None),
        ("POST", "/api/game/v1/token-info", token),
        ("POST", "/api/game/v1/finish", {**report, "match_id": aborted}),
        ("POST", "/api/game/v1/finish", report),
    ]

    def statuses(backend: GameClient) -> list[int]:
        return [backend.http.request(method, path, json=body).status_code for method, path, body in requests]

    must(act(table.served, f"/games/{table.game.client_id}/vetting", decision="suspend"))
    assert statuses(table.backend) == [200] * 4 + [409, 200], "it finishes what is live"
    assert statuses(table.backend) == [403] * 5 + [200]
    another = GameClient(table.served.url, table.game)  # tokens say who it is, not what it may do
    assert statuses(another) == [403] * 5 + [200]
    must(act(table.served, f"/games/{table.game.client_id}/vetting", decision="approve"))
    assert statuses(another) == [200] * 4 + [409, 200]


# --- players ---------------------------------------------------------------------------------------------------------


def suspend(table: Table, player: PlayerClient) -> dict[str, Any]:
    return must(act(table.served, f"/players/{player.user_id}", action="suspend"))


def test_suspending_a_player_holds_his_winnings_until_an_operator_decides(table: Table) -> None:
    first, second, pending = table.live(), table.live(), table.pending()
    shown = suspend(table, table.two)
    assert (shown["status"], shown["status_reason"]) == ("suspended", REASON)
    assert table.one.match(pending)["abort_reason"] == "player-suspended"
    for match_id in (first, second):
        table.report(match_id, table.two)
    assert table.available == (9_000, 9_000)
    path = f"/players/{table.two.user_id}"
    held = must(table.served.operator.get(path))["held_winnings"]
    assert {(each["match_id"], each["amount"], each["state"]) for each in held} == {
        (first, 900, "held"),
        (second, 900, "held"),
    }

    released = must(act(table.served, f"{path}/held-winnings/{first}", decision="release"))
    assert released == {"match_id": first, "amount": 900, "currency": "XTS", "state": "released"}
    kept = must(act(table.served, f"{path}/held-winnings/{second}", decision="confiscate"))
    assert kept["state"] == "confiscated"
    assert table.available == (9_000, 9_900)
    for match_id in (first, second):
        assert act(table.served, f"{path}/held-winnings/{match_id}", decision="release").status_code == 409
    assert act(table.served, f"{path}/held-winnings/{pending}", decision="release").status_code == 404
    log = audit(table.served, f"player:{table.two.user_id}")
    actions = ["held-winnings.confiscate", "held-winnings.release", "player.suspend"]
    assert [(each["action"], each["reason"], each["actor"]) for each in log] == [
        (action, REASON, table.actor) for action in actions
    ]
    assert log[0]["detail"] == {"match_id": second, "amount": 900, "currency": "XTS"}


def test_a_reinstated_player_is_paid_as_before(table: Table) -> None:
    path = f"/players/{table.two.user_id}"
    suspend(table, table.two)
    assert act(table.served, path, action="suspend").status_code == 409
    offer = {"game_id": table.game.client_id, "entry_fee": {"amount": 5, "currency": "XTS"}}
    assert table.two.call("POST", "/matches", offer).status_code == 403
    assert table.two.call("POST", "/wallet/withdrawals", {"amount": 5, "currency": "XTS"}).status_code == 409
    shown = must(act(table.served, path, action="reinstate"))
    assert (shown["status"], shown["status_reason"]) == ("active", None)
    assert act(table.served, path, action="reinstate").status_code == 409
    table.report(table.live(), table.two)
    assert table.available == (9_500, 10_400)
    assert must(act(table.served, path, action="verify"))["verified"] is True


def test_whoever_has_lost_all_factors_is_let_in_by_an_operator(table: Table) -> None:
    served, path = table.served, f"/players/{table.one.user_id}"
    credentials = {"username": table.one.username, "password": PASSWORD}
    player = log_in(served, "player", table.one.username)
    assert act(served, path, action="remove-factors").status_code == 409
    enrol(player)
    assert must(served.operator.get(path))["second_factor"] is True
    waiting = must(player.post("/sessions", json=credentials), 401)
    shown = must(act(served, path, action="remove-factors"))
    assert (shown["second_factor"], shown["status"]) == (False, "active")
    assert player.get("/me").status_code == 401
    step = {"pending_token": waiting["pending_token"], "recovery_code": "0" * 20}
    assert "begin again" in must(player.post("/sessions/second-factor", json=step), 401)["detail"]
    assert must(player.post("/sessions", json=credentials), 201)["token"]
    [entry] = audit(served, f"player:{table.one.user_id}")
    assert (entry["action"], entry["reason"], entry["actor"]) == ("player.remove-factors", REASON, table.actor)
    [mail, *_] = must(served.operator.get("/mails", params={"recipient": f"{table.one.username}@example.org"}))["mails"]
    assert mail["kind"] == "factors-removed"


def test_one_decision_on_held_winnings_counts(table: Table) -> None:
    match_id = table.live()
    suspend(table, table.two)
    table.report(match_id, table.two)
    path = f"/players/{table.two.user_id}/held-winnings/{match_id}"
    decisions = ["release", "confiscate"] * 4
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda decision: act(table.served, path, decision=decision), decisions))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
    [winner] = [answer.json()["state"] for answer in answers if answer.status_code == 200]
    assert table.two.available() == (10_400 if winner == "released" else 9_500)
    assert len(audit(table.served, f"player:{table.two.user_id}")) == 2


# --- matches ---------------------------------------------------------------------------------------------------------


def test_settling_pays_as_a_report_would(table: Table) -> None:
    match_id = table.live()
    body = table.settlement(match_id, table.two)
    settled = must(act(table.served, f"/matches/{match_id}/settle", **body))
    assert settled["status"] == "finished"
    assert settled["winnings"] == [{"user_id": table.two.user_id, "amount": 900}]
    assert table.available == (9_500, 10_400)
    [entry] = audit(table.served, f"match:{match_id}")
    assert settled["audit"] == [entry]
    assert (entry["action"], entry["actor"], entry["reason"]) == ("match.settle", table.actor, REASON)
    assert entry["detail"]["prizes"] == [[table.two.user_id, 900]]
    # The game's own result comes too late: it changes nothing, and the operator can read it.
    late = table.backend.report(match_id, table.one.user_id)
    late["teams"][1]["forfeit"] = True
    assert must(table.backend.finish(late))["accepted"] is False
    [refused] = must(table.served.operator.get(f"/matches/{match_id}/refused-results"))["results"]
    assert table.shown(match_id)["refused_results"] == [refused]
    late["teams"][0]["forfeit"] = False
    assert _sorted(refused["body"]) == _sorted(late), "as games write it"
    assert table.available == (9_500, 10_400)
    assert act(table.served, f"/matches/{match_id}/settle", **body).status_code == 409
    assert act(table.served, f"/matches/{match_id}/abort").status_code == 409


def _sorted(result: dict[str, Any]) -> dict[str, Any]:
    """A result as it is whatever the order of its lists."""
    return {
        name: sorted(value, key=lambda each: str(each["id"])) if isinstance(value, list) else value
        for name, value in result.items()
    }


def test_a_settlement_needs_no_scores(table: Table) -> None:
    match_id = table.live()
    teams = table.settlement(match_id, table.one)["teams"]
    must(act(table.served, f"/matches/{match_id}/settle", teams=teams))
    assert table.available == (10_400, 9_500)


def test_a_settlement_names_the_field_at_fault(table: Table) -> None:
    match_id = table.live()
    teams = table.settlement(match_id, table.one)["teams"]
    stranger = {**teams[0], "id": "f" * 24}
    late = [{**team, "ranking": team["ranking"] + 1} for team in teams]
    for body, field in [
        ({"teams": []}, "teams"),
        ({"teams": teams[:1]}, "teams"),
        ({"teams": [stranger, teams[1]]}, "teams.0.id"),
        ({"teams": late}, "teams.0.ranking"),
        ({"teams": [{**teams[0], "forfeit": True}, teams[1]]}, "teams.0.ranking"),
        ({"teams": teams, "participants": [{"id": "nobody", "score": 1}]}, "participants.0.id"),
        ({"teams": teams, "participants": [{"id": table.two.user_id, "score": 1}] * 2}, "participants.1.id"),
    ]:
        problem = must(act(table.served, f"/matches/{match_id}/settle", **body), 422)
        assert problem["errors"][0]["field"] == field, problem
    assert table.one.match(match_id)["status"] == "live"
    assert audit(table.served, f"match:{match_id}") == []


def test_an_asynchronous_match_is_settled_over_the_results_it_has(served: Server) -> None:
    table = Table(served, mode="async")
    match_id = table.live()
    one = {"match_id": match_id, "participants": [{"id": table.one.user_id, "score": 77}]}
    must(table.backend.finish(one))
    teams = [
        {"id": team["id"], "score": 0, "ranking": 1 if team["members"][0]["user_id"] == table.two.user_id else 2}
        for team in table.one.match(match_id)["teams"]
    ]
    settled = must(act(served, f"/matches/{match_id}/settle", teams=teams))
    scores = {member["user_id"]: member["score"] for team in settled["teams"] for member in team["members"]}
    assert scores == {table.one.user_id: 77, table.two.user_id: None}  # nobody gave one
    assert table.available == (9_500, 10_400)


def test_what_is_above_the_threshold_takes_two_operators(served: Server) -> None:
    table = Table(served)
    rich = [PlayerClient(served.url, deposit=100_000) for _ in range(2)]
    match_id = paid_match(rich[0], rich[1], table.game.client_id, 60_000)
    path = f"/matches/{match_id}/abort"
    proposal = must(act(served, path, key="twice"), 202)
    assert must(act(served, path, key="twice"), 202) == proposal
    assert (proposal["state"], proposal["amount"], proposal["request"]) == ("waiting", 120_000, {"reason": REASON})
    assert (rich[0].match(match_id)["status"], act(served, path).status_code) == ("live", 409)
    waiting = must(served.operator.get("/proposals", params={"waiting": "true"}))["proposals"]
    assert [each for each in waiting if each["match_id"] == match_id] == [
        must(served.operator.get(f"/proposals/{proposal['proposal_id']}"))
    ]
    decision = {"decision": "approve", "reason": REASON}
    own = served.operator.post(f"/proposals/{proposal['proposal_id']}/decision", json=decision)
    assert (own.status_code, own.json()["type"]) == (403, "urn:oklp:error:forbidden")
    another = served.new_operator("--role", "finance")
    withdrawal = f"/proposals/{proposal['proposal_id']}/withdrawal"
    assert another.post(withdrawal, json={"reason": REASON}).status_code == 403
    missing = must(act(served, withdrawal, reason=" "), 422)
    assert [each["field"] for each in missing["errors"]] == ["reason"]
    withdrawn = must(act(served, withdrawal, key="slip"))
    assert (withdrawn["state"], withdrawn["decided_by"]) == ("withdrawn", None)
    assert must(act(served, withdrawal, key="slip")) == withdrawn
    assert act(served, withdrawal).status_code == 409
    assert must(served.operator.get(f"/proposals/{proposal['proposal_id']}")) == withdrawn
    proposal = must(act(served, path), 202)
    assert must(another.post(f"/proposals/{proposal['proposal_id']}/decision", json=decision))["state"] == "approved"
    assert another.post(f"/proposals/{proposal['proposal_id']}/decision", json=decision).status_code == 409
    assert (rich[0].match(match_id)["status"], rich[1].available()) == ("aborted", 100_000)
    newest = must(served.operator.get("/proposals", params={"limit": 1}))
    assert [each["state"] for each in newest["proposals"]] == ["approved"]


def test_an_abort_refunds_whatever_the_match_has_come_to(table: Table) -> None:
    for make, was in ((table.pending, "pending"), (table.live, "live")):
        match_id = make()
        aborted = must(act(table.served, f"/matches/{match_id}/abort"))
        assert (aborted["status"], aborted["abort_reason"]) == ("aborted", "operator")
        assert table.available == (10_000, 10_000)
        shown = table.one.match(match_id)
        assert shown["abort_reason"] == "operator"
        assert REASON not in str(shown)
        [entry] = table.shown(match_id)["audit"]
        assert (entry["action"], entry["reason"], entry["detail"]) == ("match.abort", REASON, {"was": was})
        assert act(table.served, f"/matches/{match_id}/abort").status_code == 409


@pytest.mark.parametrize("behaviour", ["ok", "sequence:hang,ok"])
def test_an_abort_tells_the_game_that_may_know(served: Server, receivers: Receivers, behaviour: str) -> None:
    """Live, or while the PUT is on its way: the DELETE comes after it, and a late answer changes nothing."""
    url = receivers.url(behaviour)
    game = served.register(url)
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    match_id = paid_match(one, two, game.client_id)
    receivers.wait(url)
    if behaviour == "ok":
        one.await_status(match_id, "live")
    aborted = must(act(served, f"/matches/{match_id}/abort"))
    assert aborted["status"] == "aborted"
    assert (one.available(), two.available()) == (10_000, 10_000)
    put, delete = receivers.wait(url, 2)
    assert (put.method, delete.method, put.body) == ("PUT", "DELETE", delete.body)
    assert one.match(match_id)["abort_reason"] == "operator"
    events = {each["event"] for each in must(served.operator.get(f"/matches/{match_id}"))["deliveries"]}
    assert events == {"match.started", "match.aborted"}


def test_one_end_counts_when_all_come_at_once(table: Table) -> None:
    """A settlement, an abort and the game's report, many times each: the money moves once."""
    match_id = table.live()
    body = table.settlement(match_id, table.two)
    report = table.backend.report(match_id, table.one.user_id)
    jobs = [
        lambda: act(table.served, f"/matches/{match_id}/settle", **body),
        lambda: act(table.served, f"/matches/{match_id}/abort"),
        lambda: table.backend.finish(report),
    ] * 5
    with ThreadPoolExecutor(15) as pool:
        answers = [future.result() for future in [pool.submit(job) for job in jobs]]
    assert {answer.status_code for answer in answers} <= {200, 409}
    shown = table.shown(match_id)
    sets = {posting["set_id"] for posting in shown["postings"] if ":hold:" not in posting["set_id"]}
    if shown["status"] == "aborted":
        assert len(sets) == 2  # a refund for each seat
        assert table.available == (10_000, 10_000)
    else:
        assert sets == {f"match:{match_id}:settle"}
        assert sorted(table.available) == [9_500, 10_400]
    done = [answer for answer in answers[0::3] + answers[1::3] if answer.status_code == 200]
    assert len(shown["audit"]) == len(done) <= 1


# --- idempotency keys ------------------------------------------------------------------------------------------------


def test_a_key_replays_the_answer(table: Table) -> None:
    match_id = table.live()
    path = f"/matches/{match_id}/abort"
    key = f"abort-{match_id}"
    first = act(table.served, path, key)
    again = act(table.served, path, key)
    assert must(first) == must(again)
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    other = table.served.operator.post(path, json={"reason": "another"}, headers={"Idempotency-Key": key})
    assert other.json()["type"] == "urn:oklp:error:idempotency-reuse"
    assert len(audit(table.served, f"match:{match_id}")) == 1


def test_keys_of_players_and_operators_do_not_meet(table: Table) -> None:
    match_id = table.pending()
    key = f"key-{match_id}"
    player = table.one.call("POST", f"/matches/{match_id}/cancel", None, **{"Idempotency-Key": key})
    assert player.status_code == 200
    assert act(table.served, f"/matches/{match_id}/abort", key).status_code == 409


# --- lists -----------------------------------------------------------------------------------------------------------


def pages(http: httpx.Client, path: str, name: str, **params: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        page = must(http.get(path, params={**params, "limit": 2}))
        assert 0 < len(page[name]) <= 2
        found.extend(page[name])
        if page["next_cursor"] is None:
            return found
        params["cursor"] = page["next_cursor"]


def test_lists_are_whole_over_their_pages(table: Table) -> None:
    operator = table.served.operator
    made = [table.one.create(table.game.client_id) for _ in range(5)]
    for match_id in made[:3]:
        must(act(table.served, f"/matches/{match_id}/abort"))
    game = {"game_id": table.game.client_id}
    listed = [each["match_id"] for each in pages(operator, "/matches", "matches", **game)]
    assert sorted(listed) == sorted(made)
    aborted = pages(operator, "/matches", "matches", status="aborted", **game)
    assert {each["match_id"] for each in aborted} == set(made[:3])

    games = [each["game_id"] for each in pages(operator, "/games", "games", vetting="approved")]
    assert games == sorted(set(games))
    assert table.game.client_id in games
    prefix = table.one.username[:2]
    people = [each["username"] for each in pages(operator, "/players", "players", query=prefix.upper())]
    assert len(people) == len(set(people)) > 1
    assert all(name.lower().startswith(prefix.lower()) for name in people)
    entries = [int(each["entry_id"]) for each in pages(operator, "/audit", "entries")]
    assert entries == sorted(set(entries), reverse=True)
    assert [each["detail"] for each in audit(table.served, f"match:{made[0]}")] == [{"was": "pending"}]


def test_deliveries_of_all_games(table: Table) -> None:
    operator, studio = table.served.operator, table.served.studio
    game = table.served.register("http://127.0.0.1:9/match")
    sent = must(studio.post(f"/games/{game.client_id}/test-event"), 201)
    listed = must(operator.get("/deliveries", params={"game_id": game.client_id}))["deliveries"]
    assert [each["delivery_id"] for each in listed] == [sent["delivery_id"]]
    shown = must(operator.get(f"/deliveries/{sent['delivery_id']}"))
    assert shown["request_body"]["test"] is True
    assert all("authorization" not in map(str.lower, each["request_headers"]) for each in shown["log"])


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/players?query=%25", "query"),
        ("/players?cursor=nothing", "cursor"),
        ("/audit?subject=everything", "subject"),
        ("/audit?cursor=MTpi", "cursor"),
        ("/audit?limit=0", "limit"),
        ("/matches?status=lost", "status"),
        ("/games?vetting=lost", "vetting"),
        ("/deliveries?state=lost", "state"),
    ],
)
def test_queries_name_the_field(served: Server, path: str, field: str) -> None:
    assert [each["field"] for each in must(served.operator.get(path), 422)["errors"]] == [field]


def test_what_is_not_there_is_not_found(served: Server) -> None:
    nobody, nothing = "00000000-0000-4000-8000-000000000000", "0" * 24
    for path in (f"/players/{nobody}", "/players/x", f"/matches/{nothing}", "/matches/x", "/games/none"):
        assert served.operator.get(path).status_code == 404, path
    assert served.operator.get(f"/matches/{nothing}/refused-results").status_code == 404
    assert act(served, f"/matches/{nothing}/abort").status_code == 404
    assert act(served, f"/matches/{nothing}/settle", teams=[{"id": "x", "score": 0, "ranking": 1}]).status_code == 404
    assert act(served, f"/players/{nobody}", action="suspend").status_code == 404
    assert act(served, f"/players/{nobody}/held-winnings/{nothing}", decision="release").status_code == 404
    assert act(served, "/games/none/vetting", decision="approve").status_code == 404


# --- the platform ----------------------------------------------------------------------------------------------------


def test_health_and_books(table: Table) -> None:
    live = table.live(500)
    health = must(table.served.operator.get("/health"))
    assert (health["schema_current"], health["sandbox"]) == (True, True)
    assert health["database"] == table.served.database_url.partition(":")[0]
    assert health["matches_overdue"] == 0
    books = must(table.served.operator.get("/books"))
    [totals] = books["totals"]
    assert totals["currency"] == "XTS"
    assert totals["escrow"] >= 1_000
    table.report(live, table.one)
    [after] = must(table.served.operator.get("/books"))["totals"]
    assert (after["escrow"], after["platform_fees"]) == (totals["escrow"] - 1_000, totals["platform_fees"] + 50)


def test_what_the_console_shows_programs_are_told_as_well(table: Table) -> None:
    operator = table.served.operator
    match_id = table.live()
    overview = must(operator.get("/overview"))
    assert overview["live"] >= 1
    assert sum(each["amount"] for each in overview["escrow"] if each["currency"] == "XTS") >= 1_000
    assert (len(overview["hours"]), overview["hours"][-1]["made"] >= 1) == (24, True)
    found = must(operator.get("/search", params={"query": table.one.username}))
    assert not found["more"]
    assert {"kind": "player", "id": table.one.user_id, "name": table.one.username} in found["found"]
    path = f"/ledger/postings?account=player:{table.one.user_id}&limit=1"
    page = must(operator.get(path))
    assert [(each["amount"], each["set_id"].split(":")[1]) for each in page["postings"]] == [(-500, match_id)]
    rest = must(operator.get(f"{path}&cursor={page['next_cursor']}"))
    assert [each["amount"] for each in rest["postings"]] == [10_000]
    begun = must(operator.post("/books/verification"), 202)
    assert verified(table.served, begun["run_id"])["clean"]


def test_a_verification_whose_server_has_ended_is_in_nobodys_way(served: Server) -> None:
    engine = connectable(served.database_url)
    run = {"run_id": "of-another-server"}
    begun = {"at": int(time.time() * 1000), "actor": "operator:olga", "subject": "platform:books"}
    with engine.begin() as connection:
        connection.execute(schema.audit.insert(), {**begun, "action": "books.begun", "detail": json.dumps(run)})
    elsewhere = Turn(engine, VERIFYING_KEY)
    if engine.dialect.name == "postgresql":  # SQLite has one server
        assert elsewhere.take()
        assert must(served.operator.get("/books/verification"))["state"] == "running"
        must(served.operator.post("/books/verification"), 409)
        elsewhere.leave()
    lost = must(served.operator.get("/books/verification"))
    assert (lost["run_id"], lost["state"]) == ("of-another-server", "lost")
    assert verified(served, must(served.operator.post("/books/verification"), 202)["run_id"])["clean"]
    engine.dispose()


def test_an_operator_is_made_once(served: Server) -> None:
    username = must(served.operator.get("/me"))["username"]
    again = ("operator", "create", "--username", username.upper(), "--password", "correct horse")
    done = served.cli(*again, check=False)
    assert done.returncode == 1
    assert "taken" in done.stderr
    operator_id = must(served.operator.get("/me"))["operator_id"]
    [entry] = audit(served, f"operator:{operator_id}")
    assert (entry["action"], entry["actor"]) == ("operator.create", "command-line")

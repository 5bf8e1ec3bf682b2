"""`oklp trigger` and `oklp deliveries`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.harness import PlayerClient, Server, paid_match, run_cli
from tests.web.test_login import refusal
from tests.webhooks.receivers import Receivers

BACKENDS = ("sqlite",)


def shell(served: Server) -> dict[str, str]:
    token = str(served.studio.headers["Authorization"]).removeprefix("Bearer ")
    return {**served.env, "OKLP_URL": served.url, "OKLP_STUDIO_TOKEN": token}


def printed(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_triggered_event_is_what_a_match_would_send(served: Server, receivers: Receivers) -> None:
    url = receivers.url("sequence:ok,ok,status:500")
    env, game = shell(served), ("--game", served.register(url).client_id)
    own = ("--set", "match_id=0123456789abcdef01234567")
    started = run_cli(env, "trigger", "match.started", *own, "--set", "participants=4", *game)
    assert "delivered  200" in started.stdout
    aborted = run_cli(env, "trigger", "match.aborted", *own, "--json", *game)
    [told] = printed(aborted.stdout)
    assert (told["event"], told["method"], told["state"], told["last_status"]) == ("test", "DELETE", "delivered", 200)
    put, delete = receivers.wait(url, 2)
    assert (put.method, delete.method) == ("PUT", "DELETE")
    body = json.loads(put.body)
    assert body["match_id"] == "0123456789abcdef01234567" == json.loads(delete.body)["match_id"]
    assert body["test"] is True
    assert [each["team_id"] for each in body["participants"]] == ["test-1", "test-1", "test-2", "test-2"]
    assert len({each["id"] for each in body["participants"]}) == 4
    assert body["teams"] == [{"id": "test-1"}, {"id": "test-2"}]
    failed = run_cli(env, "trigger", "match.started", *game, check=False)
    assert (failed.returncode, failed.stderr) == (1, "")
    assert "failed  500" in failed.stdout
    assert served.books()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("participants=5", "fill the teams evenly"),
        ("participants=many", "--set participants: "),
        ("teams=1", "--set teams: "),
        ("match_id=xyz", "--set match_id: "),
        ("score=3", "match_id, participants, teams"),
        ("teams", "name=value"),
    ],
)
def test_what_cannot_be_set_is_named(served: Server, override: str, said: str) -> None:
    assert said in refusal(shell(served), "trigger", "match.started", "--set", override, "--game", "x")


def test_an_event_about_a_real_match_is_refused(served: Server, receivers: Receivers) -> None:
    game = served.register(receivers.url("ok"))
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    match_id = paid_match(one, two, game.client_id)
    one.await_status(match_id, "live")
    words = ("trigger", "match.aborted", "--set", f"match_id={match_id}", "--game", game.client_id)
    assert "is a match that exists" in refusal(shell(served), *words)
    assert one.match(match_id)["status"] == "live"


def test_deliveries_are_listed_shown_and_sent_again(served: Server, receivers: Receivers) -> None:
    url = receivers.url("sequence:ok,status:503,ok")
    env, game = shell(served), served.register(url)
    words = ("--game", game.client_id)
    assert run_cli(env, "deliveries", "list", *words).stdout == "No deliveries.\n"
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    match_id = paid_match(one, two, game.client_id)
    one.await_status(match_id, "live")
    [test] = printed(run_cli(env, "trigger", "match.started", "--json", *words, check=False).stdout)
    table = run_cli({**env, "COLUMNS": "40"}, "deliveries", "list", *words).stdout.splitlines()
    assert [line.split()[2] for line in table[1:]] == ["test", "match.started"]
    assert test["delivery_id"] in table[1]
    listed = printed(run_cli(env, "deliveries", "list", "--match", match_id, "--json", *words).stdout)
    assert [each["match_id"] for each in listed] == [match_id]
    filtered = printed(
        run_cli(env, "deliveries", "list", "--state", "failed", "--event", "test", "--json", *words).stdout
    )
    assert [each["delivery_id"] for each in filtered] == [test["delivery_id"]]
    assert len(printed(run_cli(env, "deliveries", "list", "--limit", "1", "--json", *words).stdout)) == 1
    again = run_cli(env, "deliveries", "resend", test["delivery_id"])
    assert "delivered  200" in again.stdout
    shown = run_cli(env, "deliveries", "show", test["delivery_id"]).stdout
    for words_shown in ("attempt 1", "answered 503, not 200", "attempt 2", "> webhook-signature: v1,", url):
        assert words_shown in shown
    assert "authorization" not in shown.lower()
    assert "no such delivery" in refusal(env, "deliveries", "show", "0" * 8 + "-0000-0000-0000-" + "0" * 12)
    # An id is one part of an address, whatever is in it, and leads to no other page.
    assert "Not Found" in refusal(env, "deliveries", "show", "../me")

"""Pages of players: profiles, the best of a game."""

from __future__ import annotations

import csv
import io
import re
import time
from datetime import UTC, datetime
from urllib.parse import quote_plus

import httpx
import pytest

from tests.harness import GameClient, PlayerClient, Server, paid_match
from tests.web.test_account_api import mail_to, person, token_in
from tests.web.test_pages import browser, logged_in, tokens

BACKENDS = ("sqlite",)


@pytest.fixture(scope="module")
def played(served: Server) -> tuple[str, PlayerClient, PlayerClient]:
    """A game of two players, of which the first won a match."""
    game = served.register(discovery="pull")
    winner, loser = PlayerClient(served.url), PlayerClient(served.url)
    back_end = GameClient(served.url, game)
    match_id = paid_match(winner, loser, game.client_id)
    assert back_end.finish(back_end.report(match_id, winner.user_id)).status_code == 200
    await_results(winner, 1)
    return game.client_id, winner, loser


def part_of(page: str, name: str) -> str:
    """What is in the part of a page that comes anew when something happens."""
    begin, depth = page.index(f'<div id="{name}"'), 0
    assert " data-refresh>" in page[begin : page.index("\n", begin)]
    for tag in re.finditer(r"<(/?)div\b", page[begin:]):
        depth += -1 if tag[1] else 1
        if not depth:
            return page[begin : begin + tag.start()]
    raise AssertionError(f"{name} does not end")


def await_results(player: PlayerClient, matches: int) -> None:
    """They are counted a moment after they were paid out."""
    until = time.monotonic() + 20
    while player.must(200, "GET", f"/players/{player.username}")["matches"] < matches:
        assert time.monotonic() < until, "the result was not counted"
        time.sleep(0.02)


def test_a_profile_shows_results_to_others_and_money_to_its_player_alone(
    served: Server, played: tuple[str, PlayerClient, PlayerClient]
) -> None:
    game_id, winner, loser = played
    own, others = logged_in(served, winner), logged_in(served, loser)
    path = f"/players/{winner.username}"
    mine, theirs = own.get(path).text, others.get(path).text
    assert "9.00" in mine
    assert "Only you see this" in mine
    assert "100%" in mine
    assert "100%" in theirs
    assert "9.00" not in theirs.split("<main")[1]
    assert 'class="chart"' in theirs
    assert path in others.get(f"/games/{game_id}").text

    live = part_of(mine, "record")
    for shown in ('class="stats"', 'class="chart"', 'id="by-game"', 'id="recent"'):
        assert shown in live, "one match changes all of them"

    answer = own.post("/privacy", data={**tokens(mine), "private": "yes"})
    assert (answer.status_code, answer.headers["Location"]) == (303, path)
    assert "Only you see your results now." in own.get(path).text
    hidden = others.get(path)
    assert hidden.status_code == 200
    assert "Results are private" in hidden.text
    assert "100%" not in hidden.text
    assert path not in others.get(f"/games/{game_id}").text
    assert winner.must(200, "PUT", "/me/privacy", {"private": False}) == {"private": False}
    best = loser.must(200, "GET", f"/games/{game_id}/best-players")["players"]
    assert [(each["username"], each["wins"], each["losses"]) for each in best] == [(winner.username, 1, 0)]
    assert others.get("/players/nobody-of-this-name").status_code == 404
    assert winner.call("PUT", "/me/privacy", {"private": "perhaps"}).status_code in (400, 422)


def test_matches_of_strangers_come_up_without_loading_the_page_again(
    served: Server, played: tuple[str, PlayerClient, PlayerClient]
) -> None:
    """The player's own stream tells of his own matches."""
    game_id, winner, _ = played
    site = logged_in(served, winner)
    paths = ("/matches?show=open", f"/games/{game_id}", "/matches")
    polled = [re.findall(r'id="([a-z]+)" data-refresh data-poll', site.get(path).text) for path in paths]
    assert polled == [["matches"], ["waiting"], []]
    assert "data-poll" not in browser(served).get(f"/games/{game_id}").text


def test_notifications_are_counted_in_the_frame_listed_and_read(served: Server) -> None:
    game = served.register(discovery="pull")
    ada, bea = PlayerClient(served.url), PlayerClient(served.url)
    site = logged_in(served, bea)
    assert "Invitations, results and winnings will stand here." in site.get("/notifications").text
    match_id = ada.create(game.client_id, 500, invite=[bea.username])
    until = time.monotonic() + 20
    while "You are invited to a match for 5.00" not in (page := site.get("/notifications").text):
        assert time.monotonic() < until, "nobody was told"
        time.sleep(0.02)
    assert "1 new notification" in page
    assert f'href="/matches/{match_id}"' in page
    found = bea.must(200, "GET", "/notifications")
    assert [(each["kind"], each["match_id"], each["read"]) for each in found["notifications"]] == [
        ("invited", match_id, False)
    ]
    newest = found["notifications"][0]["notification_id"]
    assert site.post("/notifications", data={**tokens(page), "upto": newest}).status_code == 303
    assert "new notification" not in site.get("/notifications").text
    assert bea.must(200, "GET", "/notifications")["unread"] == 0
    assert ada.must(200, "GET", "/notifications")["notifications"] == []
    assert bea.call("POST", "/notifications/read", {"upto": "all"}).status_code in (400, 422)


def test_a_statement_is_filtered_and_exported_as_it_is_shown(
    served: Server, played: tuple[str, PlayerClient, PlayerClient]
) -> None:
    _, winner, _ = played
    site = logged_in(served, winner)
    match_id = next(each["match_id"] for each in winner.must(200, "GET", "/wallet/entries")["entries"])
    table = re.compile(r"<tbody>.*?</tbody>", re.DOTALL)
    shown = table.findall(site.get("/wallet?kind=winnings").text)[0]
    assert "+9.00" in shown
    assert "104.00" in shown, "the balance after it"
    assert "Deposit" not in shown
    by_link = site.get("/wallet", params={"match": f"{served.url}/matches/{match_id}?code=x"}).text
    assert table.findall(by_link)[0].count("<tr>") == 2
    assert f"/wallet/statement.csv?match={quote_plus(f'{served.url}/matches/{match_id}?code=x')}" in by_link

    def rows(**wanted: str) -> list[list[str]]:
        answer = site.get("/wallet/statement.csv", params=wanted)
        assert answer.headers["Content-Type"].startswith("text/csv")
        head, *rest = csv.reader(io.StringIO(answer.text))
        assert head[2:4] == ["kind", "match"]
        return [[row[2], row[4], row[6]] for row in rest]

    everything = [["settle", "900", "10400"], ["hold", "-500", "9500"], ["deposit", "10000", "10000"]]
    assert rows() == everything
    assert rows(kind="fees", match=match_id) == everything[1:2]
    today = datetime.now(UTC).date().isoformat()
    assert rows(**{"from": "2020-01-01", "to": today}) == everything
    assert rows(**{"from": "2999-01-01"}) == []
    api = winner.must(200, "GET", f"/wallet/entries?kind=hold&kind=settle&match_id={match_id}&limit=1")
    assert [each["balance"] for each in api["entries"]] == [10_400]
    assert api["next_cursor"]
    assert [each["kind"] for each in winner.must(200, "GET", "/wallet/payments")["payments"]] == ["deposit"]
    payments = site.get("/wallet?show=payments").text
    assert "Done" in payments
    assert "100.00" in payments


def test_a_filter_that_makes_no_sense_says_so_beside_the_field(served: Server) -> None:
    player = PlayerClient(served.url)
    site = logged_in(served, player)
    told = site.get("/wallet?kind=none&from=yesterday&to=2026-02-30&match=<b>").text
    assert told.count("This is not a date.") == 2
    assert "its number of 24 digits" in told
    assert "&lt;b&gt;" in told
    assert "+100.00" in told, "what made sense is shown all the same"
    nothing = site.get("/wallet?kind=winnings").text
    assert "Nothing fits" in nothing
    for query, field in (("kind=none", "kind"), ("since=yesterday", "since"), ("match_id=1", "match_id")):
        answer = player.call("GET", f"/wallet/entries?{query}")
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["field"].split(".")[0] == field


def test_what_one_is_told_is_chosen_in_the_settings(served: Server) -> None:
    player = PlayerClient(served.url, deposit=0)
    site = logged_in(served, player)
    path = "/settings/notifications"
    assert f'href="{path}"' in site.get("/settings").text
    shown = site.get(path).text
    assert "addresses that were confirmed" in shown
    assert re.findall(r'name="([a-z.]+)" [^>]*checked', shown) == [
        *("winnings.site", "winnings.mail", "refunded.site", "refunded.mail", "held.site", "held.mail"),
        *("invited.site", "began.site", "lost.site"),
    ]
    wanted = {"winnings.site": "yes", "invited.mail": "yes", "language": "de"}
    assert site.post(path, data={**tokens(shown), **wanted}).status_code == 303
    after = site.get(path).text
    assert "Your choices are kept." in after
    assert re.findall(r'name="([a-z.]+)" [^>]*checked', after) == ["winnings.site", "invited.mail"]
    bad = site.post(path, data={**tokens(after), **wanted, "language": "tlh"})
    assert bad.status_code == 422
    assert re.findall(r'name="([a-z.]+)" [^>]*checked', bad.text) == ["winnings.site", "invited.mail"]
    kept = player.must(200, "GET", "/me/notification-choices")
    assert (kept["language"], kept["topics"]["invited"]) == ("de", {"site": False, "mail": True})
    kept["topics"] = {"invited": {"site": True, "mail": False}}
    changed = player.must(200, "PUT", "/me/notification-choices", kept)["topics"]
    assert (changed["invited"], changed["lost"]["mail"]) == ({"site": True, "mail": False}, False)
    for wrong in ({**kept, "language": "tlh"}, {**kept, "topics": {"none": kept["topics"]["invited"]}}):
        assert player.call("PUT", "/me/notification-choices", wrong).status_code == 422


def test_a_mail_about_money_can_be_stopped_from_the_mail(served: Server) -> None:
    _, email, http = person(served, "player")
    token = token_in(served, mail_to(served, email, "email-verification"), "/verify-email")
    assert http.post("/email-verifications/confirm", json={"token": token}).status_code == 204
    http.post("/wallet/deposits", json={"amount": 1_000, "currency": "XTS"})
    game = served.register(discovery="pull")
    ask = {"game_id": game.client_id, "entry_fee": {"amount": 300, "currency": "XTS"}}
    match_id = http.post("/matches", json=ask).json()["match_id"]
    http.post(f"/matches/{match_id}/confirm")
    assert http.post(f"/matches/{match_id}/cancel").status_code == 200
    text = mail_to(served, email, "notification")["text"]
    assert f"{served.url}/matches/{match_id}\n" in text
    link = re.search(rf"{re.escape(served.url)}(/unsubscribe\?token=\S+)", text)
    assert link is not None
    stranger = browser(served)
    page = stranger.get(link[1])
    assert (page.status_code, "Stop these e-mails?" in page.text) == (200, True)
    assert http.get("/me/notification-choices").json()["topics"]["refunded"]["mail"], (
        "looking at a link changes nothing"
    )
    program = httpx.post(f"{served.url}{link[1]}", data={"List-Unsubscribe": "One-Click"})
    assert program.status_code == 200
    assert not http.get("/me/notification-choices").json()["topics"]["refunded"]["mail"]
    by_button = stranger.post(link[1], data=tokens(page.text))
    assert "No more e-mails about this" in by_button.text
    assert stranger.get("/unsubscribe?token=x").status_code == 404
    assert stranger.get("/settings/notifications").status_code == 200, "the log-in, which leads back"

"""The match room by itself: where a match is played, what it came to for whoever looks, and what is refused in it."""

from __future__ import annotations

import html
import re
import time
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from oklp.errors import GameSuspended, NotVerified, OklpError, WrongState
from oklp.settings import Settings
from oklp.web.pages import refusals
from oklp.web.pages.visit import PLAYER, Visit
from tests.harness import PASSWORD, GameClient, GameConfig, PlayerClient, Server, paid_match
from tests.web.test_account_api import unique
from tests.web.test_error_pages import main_of
from tests.web.test_operator_pages import console
from tests.web.test_pages import browser, logged_in, tokens
from tests.web.test_player_pages import await_results

BACKENDS = ("sqlite",)

REASON = {"reason": "because the test says so"}
LAUNCH = {
    "browser": "http://127.0.0.1:9/play?token={match-token}",
    "steam": "steam://run/480//-token {match-token}",
}


@pytest.fixture(scope="module")
def game(served: Server) -> GameConfig:
    return served.register(discovery="pull")


def on(served: Server, *platforms: str) -> str:
    """A game with launch URLs for these platforms alone."""
    urls = {name: LAUNCH[name] for name in platforms}
    body = {"name": unique(), "launch_urls": urls, "settings": {"discovery": "pull"}}
    answer = served.studio.post("/games", json=body)
    assert answer.status_code == 201, answer.text
    return GameConfig(answer.json()["developer_config"]).client_id


# --- where it is played ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("platforms", [("browser",), ("steam",), ("browser", "steam")])
def test_a_match_has_a_way_in_for_each_platform_of_its_game(served: Server, platforms: tuple[str, ...]) -> None:
    game_id = on(served, *platforms)
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    site = logged_in(served, one)
    named = ", ".join({"browser": "Browser", "steam": "Steam"}[name] for name in platforms)
    assert f"<dt>Played on</dt><dd>{named}</dd>" in main_of(site.get(f"/games/{game_id}"))
    match_id = one.create(game_id, 500, invite=[two.username])
    room = f"/matches/{match_id}"
    assert f"Played on: {named}" in main_of(site.get(room)), "it is known before one pays"
    two.act(match_id, "join")
    one.act(match_id, "confirm")
    two.act(match_id, "confirm")
    shown = main_of(site.get(room))
    assert re.findall(r"/play\?on=(\w+)", shown) == list(platforms)
    assert ("opens in its app" in shown) == ("browser" not in platforms)
    for name in platforms:
        entered = site.get(f"{room}/play", params={"on": name})
        assert entered.status_code == 303
        assert entered.headers["location"].startswith(LAUNCH[name][:20])
    assert site.get(f"{room}/play").headers["location"].startswith(LAUNCH[platforms[0]][:20])
    for wrong in ("ios", "toaster"):
        refused = site.get(f"{room}/play", params={"on": wrong})
        assert (refused.status_code, "The game cannot be played there." in refused.text) == (422, True)
        assert f'data-address="{room}"' in refused.text


def test_who_cannot_enter_a_match_is_told_why_in_its_room(served: Server, game: GameConfig) -> None:
    owner, stranger, guest = (PlayerClient(served.url) for _ in range(3))
    private = owner.create(game.client_id, 500)
    public = owner.create(game.client_id, 500, visibility="public")
    guest.act(public, "join")
    guest.act(public, "leave")

    def entering(player: PlayerClient, match_id: str) -> tuple[int, str]:
        answer = logged_in(served, player).get(f"/matches/{match_id}/play")
        return answer.status_code, answer.text

    status, said = entering(owner, public)
    assert (status, "The match has not begun yet." in said, "moved on" in said) == (409, True, False)
    assert f'data-address="/matches/{public}"' in said
    for player in (stranger, guest):
        status, said = entering(player, public)
        assert (status, "You have no seat in this match." in said, "Entry fee" in said) == (403, True, True)
    status, said = entering(stranger, private)
    assert (status, "You cannot see this match" in said, "no seat" in said) == (404, True, False)
    owner.act(public, "cancel")
    assert "The match has moved on" in entering(owner, public)[1]


def test_a_new_match_says_which_games_are_played_elsewhere_than_in_a_browser(served: Server) -> None:
    steam, both = on(served, "steam"), on(served, "browser", "steam")
    form = logged_in(served, PlayerClient(served.url, deposit=0)).get("/matches/new").text
    named = dict(re.findall(r'<option value="([^"]+)"[^>]*>([^<]+)</option>', form))
    assert named[steam].endswith(" (Steam)")
    assert "(" not in named[both]


# --- what it came to -------------------------------------------------------------------------------------------------


def room_of(served: Server, player: PlayerClient, match_id: str) -> str:
    """What he sees of the match."""
    return html.unescape(main_of(logged_in(served, player).get(f"/matches/{match_id}")))


def finished(served: Server, game: GameConfig, match_id: str, winner: PlayerClient, **teams: object) -> None:
    """Reported by its game; `teams` is put into what it says of each."""
    backend = GameClient(served.url, game)
    result = backend.report(match_id, winner.user_id)
    result["teams"] = [{**team, **teams} for team in result["teams"]]
    answer = backend.finish(result)
    assert (answer.status_code, answer.json()["match_status"]) == (200, "finished"), answer.text


def test_winnings_that_are_held_are_not_said_to_be_in_the_wallet(served: Server, game: GameConfig) -> None:
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    held, kept = (paid_match(one, two, game.client_id) for _ in range(2))
    site, path = logged_in(served, one), f"/players/{one.user_id}"
    assert served.operator.post(path, json={"action": "suspend", **REASON}).status_code == 200
    for match_id in (held, kept):
        finished(served, game, match_id, one)
        room = room_of(served, one, match_id)
        assert "You won" in room
        assert "9.00" in room
        assert "It is held until an operator has decided." in room
        assert "in your wallet" not in room
        assert "+9.00" not in room
    assert len(re.findall(r"9\.00\sXTS held", main_of(site.get("/matches")))) == 2
    assert re.search(r"Held until an operator has decided: 18\.00\sXTS", main_of(site.get("/wallet")))
    assert one.must(200, "GET", "/wallet")["balances"][0]["held"] == 1_800
    await_results(one, 2)
    record = main_of(site.get(f"/players/{one.username}"))
    assert (len(re.findall(r"9\.00\sXTS held", record)), "+9.00" in record) == (2, False)
    assert re.search(r"Prizes</dt>\s*<dd>0\.00\sXTS", record), "what is held is not won yet"

    for match_id, decision in ((held, "release"), (kept, "confiscate")):
        answer = served.operator.post(f"{path}/held-winnings/{match_id}", json={"decision": decision, **REASON})
        assert answer.status_code == 200, answer.text
    paid = room_of(served, one, held)
    assert "+9.00" in paid
    assert "It is in your wallet." in paid
    gone = room_of(served, one, kept)
    assert re.search(r"your winnings of 9\.00\sXTS are not paid out", gone)
    assert "in your wallet" not in gone
    listed = main_of(site.get("/matches"))
    assert (listed.count("+9.00"), "XTS held" in listed) == (1, False)
    record = main_of(site.get(f"/players/{one.username}"))
    assert (record.count("+9.00"), "XTS held" in record) == (1, False)
    assert re.search(r"Prizes</dt>\s*<dd>9\.00\sXTS", record)
    assert "Held until" not in site.get("/wallet").text
    assert "held" not in one.must(200, "GET", "/wallet")["balances"][0]
    until = time.monotonic() + 20
    while "are not paid out" not in (page := main_of(site.get("/notifications"))):
        assert time.monotonic() < until, "nobody was told"
        time.sleep(0.02)
    assert re.search(r"An operator has decided that your winnings of 9\.00\sXTS are not paid out\.", page)
    assert f'href="/matches/{kept}"' in page


def test_a_match_that_everybody_forfeited_has_no_sums(served: Server, game: GameConfig) -> None:
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    match_id = paid_match(one, two, game.client_id)
    finished(served, game, match_id, one, ranking=1, forfeit=True)
    assert (one.available(), two.available()) == (10_000, 10_000)
    room = room_of(served, one, match_id)
    assert "Everybody forfeited." in room
    assert "Every fee that was paid went back whole." in room
    assert "Platform fee" not in room
    assert "For the winners" not in room
    assert "You did not win" not in room
    assert "Winner" not in room, "the trophy"


def test_a_draw_and_a_lower_place_are_not_told_as_a_win(served: Server, game: GameConfig) -> None:
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    drawn = paid_match(one, two, game.client_id)
    finished(served, game, drawn, one, ranking=1)
    for player in (one, two):
        room = room_of(served, player, drawn)
        assert "<h2>A draw</h2>" in room
        assert "You won" not in room
        assert re.search(r"4\.50\sXTS</p>", room)
        assert "+4.50" not in room
        assert re.search(r"You paid 5\.00\sXTS to play", room)
    second = one.create(game.client_id, 500, invite=[two.username], prize_shares_bps=[7_000, 3_000])
    two.act(second, "join")
    for player in (one, two):
        player.act(second, "confirm")
    finished(served, game, second, one)
    assert "<h2>You won</h2>" in room_of(served, one, second)
    room = room_of(served, two, second)
    assert "<h2>You did not win</h2>" in room
    assert re.search(r"2\.70\sXTS</p>", room)
    assert 'class="won"' not in main_of(logged_in(served, two).get("/matches"))


def test_whoever_lost_or_only_looks_sees_who_won(served: Server, game: GameConfig) -> None:
    one, two, other = (PlayerClient(served.url) for _ in range(3))
    match_id = one.create(game.client_id, 500, invite=[two.username], visibility="public")
    two.act(match_id, "join")
    polled = ["data-poll" in room_of(served, player, match_id) for player in (one, two, other)]
    assert polled == [False, False, True], "nobody tells those without a seat of what happens"
    for player in (one, two):
        player.act(match_id, "confirm")
    finished(served, game, match_id, one)
    assert "data-poll" not in room_of(served, other, match_id)
    for player, title in ((two, "You did not win"), (other, "The match is over")):
        room = room_of(served, player, match_id)
        assert f"<h2>{title}</h2>" in room
        assert re.search(rf"{one.username} won 9\.00\sXTS\.", room)
        assert "Share the result" not in room
        assert ("Rematch" in room) == (player is two), "nobody wants another match who was not in this one"
    won = room_of(served, one, match_id)
    assert f"{served.url}/games/{game.client_id}" in won.partition("Share the result")[2]
    free = paid_match(one, two, game.client_id, 0)
    finished(served, game, free, one)
    room = room_of(served, one, free)
    assert "<h2>You won</h2>" in room
    assert "No money was at stake." in room


def test_a_match_that_an_operator_settled_shows_the_scores_that_he_gave(served: Server, game: GameConfig) -> None:
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    match_id = paid_match(one, two, game.client_id)
    page, site = f"/operator/matches/{match_id}", console(served, served.operator)
    given = {"ranking-0": "2", "score-0": "7", "ranking-1": "1", "score-1": "9007199254740991"}
    form = tokens(site.get(page).text)
    assert site.post(f"{page}/settle", data={**form, **given, **REASON}).status_code == 303
    room = room_of(served, two, match_id)
    assert "<h2>You won</h2>" in room
    assert re.findall(r'class="score">([^<]+)<', room) == ["7", "9,007,199,254,740,991"]


# --- on from there ---------------------------------------------------------------------------------------------------


def test_a_rematch_and_another_try_keep_all_terms(served: Server) -> None:
    game_id = served.register(discovery="pull").client_id
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    match_id = one.create(game_id, 750, teams=2, team_size=2, visibility="public")
    two.act(match_id, "join")
    one.act(match_id, "cancel")
    site = logged_in(served, one)
    link = re.search(r'href="(/matches/new[^"]+)">Try again<', site.get(f"/matches/{match_id}").text)
    assert link is not None
    form = site.get(html.unescape(link[1])).text
    for shown in ('name="fee" type="text" value="7.50"', f'value="{two.username}"', 'value="public" checked'):
        assert shown in form
    assert re.search(r'name="teams" type="number" value="2"', form)
    assert re.search(r'name="team_size" type="number" value="2"', form)


def test_an_amount_in_an_address_is_the_same_in_every_language(served: Server) -> None:
    """The links that choose a language keep the rest of the address."""
    game_id = served.register(discovery="pull", entry_fee_max=200_000).client_id
    player = PlayerClient(served.url, deposit=0)
    match_id = player.create(game_id, 123_450, visibility="public")
    german = logged_in(served, player)
    german.headers["Accept-Language"] = "de"
    deposit = re.search(r'href="(/wallet\?deposit=[^"]+)"', german.get(f"/matches/{match_id}").text)
    player.act(match_id, "cancel")
    anew = re.search(r'href="(/matches/new[^"]+)"', german.get(f"/matches/{match_id}").text)
    assert deposit is not None
    assert anew is not None
    for link, field in ((html.unescape(deposit[1]), "amount"), (html.unescape(anew[1]), "fee")):
        for language, shown in (("de", "1.234,50"), ("en", "1,234.50")):
            german.headers["Accept-Language"] = language
            assert re.search(rf'name="{field}"[^>]* value="{re.escape(shown)}"', german.get(link).text), link
    for wrong in ("3,00", "1e3", "-5", "0.001", "٣"):
        form = german.get("/matches/new", params={"game": game_id, "fee": wrong}).text
        assert 'name="fee" type="text" value="5.00"' in form, "the usual fee of the game"
        assert re.search(
            r'id="deposit" name="amount"[^>]* value=""', german.get("/wallet", params={"deposit": wrong}).text
        )


def test_a_rematch_of_a_game_that_is_suspended_by_now_is_not_made_of_another(served: Server, game: GameConfig) -> None:
    suspended = served.register(discovery="pull").client_id
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    over, off = paid_match(one, two, suspended), one.create(suspended, 700, invite=[two.username])
    site = logged_in(served, one)
    one_game = site.get("/matches/new", params={"game": game.client_id}).text
    assert f'<option value="{game.client_id}" selected>' in one_game
    assert "Choose…" not in one_game
    decision = {"decision": "suspend", **REASON}
    assert served.operator.post(f"/games/{suspended}/vetting", json=decision).status_code == 200
    called_off = site.get(f"/matches/{off}").text
    assert "The game was suspended." in called_off
    assert "Try again" not in called_off
    assert 'href="/games">Other games<' in called_off
    assert served.operator.post(f"/matches/{over}/abort", json=REASON).status_code == 200
    link = re.search(r'href="(/matches/new[^"]+)">Try again<', site.get(f"/matches/{over}").text)
    assert link is not None
    anew = site.get(html.unescape(link[1])).text
    assert "This game cannot be played just now. Choose another." in anew
    assert re.findall(r"<option[^>]*>Choose…|<option[^>]* selected>", anew) == ['<option value="" selected>Choose…']
    assert 'name="fee" type="text" value="5.00"' in anew
    status, said = refused_for(site, "/matches/new", game="", fee="5")
    assert (status, "Choose a game." in said, "just now" in said) == (422, True, False)


def test_more_who_are_invited_than_there_are_seats_have_none_of_their_own(served: Server, game: GameConfig) -> None:
    one, two, three = (PlayerClient(served.url, deposit=0) for _ in range(3))
    match_id = one.create(game.client_id, 0, invite=[two.username, three.username])
    roster = room_of(served, one, match_id).partition('id="roster"')[2].partition("</section>")[0]
    seats, _, invited = roster.partition("Invited: whoever joins first has the seat")
    assert (one.username in seats, seats.count("Free seat")) == (True, 1)
    assert [player.username in seats for player in (two, three)] == [False, False]
    assert [player.username in invited for player in (two, three)] == [True, True]
    three.act(match_id, "join")
    roster = room_of(served, one, match_id).partition('id="roster"')[2].partition("</section>")[0]
    seats, _, invited = roster.partition("Invited: whoever joins first has the seat")
    assert (three.username in seats, "Free seat" in seats, two.username in invited) == (True, False, True)


def test_one_chooses_ones_team(served: Server) -> None:
    game_id = served.register(discovery="pull").client_id
    owner, two, three = (PlayerClient(served.url) for _ in range(3))
    match_id = owner.create(game_id, 500, teams=2, team_size=2, visibility="public")
    first, second = (team["id"] for team in owner.match(match_id)["teams"])
    room, site = f"/matches/{match_id}", logged_in(served, three)
    offered = r'name="team" value="([^"]+)"'
    before = site.get(room).text
    assert re.findall(offered, before) == [first, second]
    two.act(match_id, "join", {"team_id": first})
    assert re.findall(offered, site.get(room).text) == [second]
    full = site.post(f"{room}/join", data={**tokens(before), "team": first})
    assert full.status_code == 409
    assert "This team is full. There is a seat in another one." in full.text
    assert site.post(f"{room}/join", data={**tokens(full.text), "team": second}).status_code == 303
    members = {team["id"]: [each["username"] for each in team["members"]] for team in owner.match(match_id)["teams"]}
    assert members[second] == [three.username]
    assert re.findall(offered, site.get(room).text) == []


def test_a_link_to_a_match_has_a_field(served: Server, game: GameConfig) -> None:
    owner, other = PlayerClient(served.url), PlayerClient(served.url)
    match_id = owner.create(game.client_id, 500)
    room = logged_in(served, owner).get(f"/matches/{match_id}").text
    link = re.search(r'value="([^"]+)" aria-label="Link to this match"', room)
    assert link is not None
    site = logged_in(served, other)
    assert 'method="get" action="/join"' in site.get("/matches").text
    led = site.get("/join", params={"link": f" {link[1]} "})
    assert (led.status_code, f"{served.url}{led.headers['location']}") == (303, link[1])
    lost = site.get("/join", params={"link": '"><b>elsewhere'})
    assert lost.status_code == 404
    assert f"One begins with {served.url}/matches/" in lost.text
    assert 'value="&#34;&gt;&lt;b&gt;elsewhere"' in lost.text
    assert 'data-address="/matches"' in lost.text


@pytest.mark.parametrize(
    ("seconds", "english", "german"),
    [(30, "30 seconds", "30 Sekunden"), (5_400, "90 minutes", "90 Minuten"), (2_592_000, "30 days", "30 Tage")],
)
def test_the_time_to_play_is_told_exactly(served: Server, seconds: int, english: str, german: str) -> None:
    game_id = served.register(discovery="pull", results_due_seconds=seconds).client_id
    for language, said in (("en", english), ("de", german)):
        page = browser(served, **{"Accept-Language": language}).get(f"/games/{game_id}").text
        assert f"<dd>{said}</dd>" in page


# --- and out again ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["decline", "leave"])
def test_who_is_out_of_a_private_match_is_offered_no_seat_that_he_cannot_take(
    served: Server, game: GameConfig, way: str
) -> None:
    owner, other = PlayerClient(served.url), PlayerClient(served.url)
    match_id = owner.create(game.client_id, 500, team_size=2, invite=[other.username])
    room, site = f"/matches/{match_id}", logged_in(served, other)
    invited = site.get(room).text
    if way == "leave":
        other.act(match_id, "join")
    answer = site.post(f"{room}/{way}", data=tokens(invited))
    assert (answer.status_code, answer.headers["location"]) == (303, room)
    for address in (room, f"{room}?code=wrong", f"{room}?code=%C3%A9"):
        out = main_of(site.get(address))
        assert "You are not in this match any more" in out
        assert f'action="{room}/join"' not in out
        assert owner.match(match_id)["join_code"] not in out
    link = f"{room}?code={owner.match(match_id)['join_code']}"
    assert main_of(site.get(link)).count(f'action="{room}/join"') == 3, "a seat, or one in either team"


def test_an_invitation_to_a_full_match_can_only_be_declined(served: Server, game: GameConfig) -> None:
    owner, fast, late = (PlayerClient(served.url) for _ in range(3))
    match_id = owner.create(game.client_id, 500, invite=[fast.username, late.username])
    room, site = f"/matches/{match_id}", logged_in(served, late)
    assert f'action="{room}/join"' in site.get(room).text
    fast.act(match_id, "join")
    full = main_of(site.get(room))
    assert "Every seat is taken just now." in full
    assert f'action="{room}/join"' not in full
    assert site.post(f"{room}/decline", data=tokens(full)).status_code == 303


def test_whom_one_may_invite_follows_the_match(served: Server, game: GameConfig) -> None:
    """The script puts parts that have changed in the place of the old ones, those that are empty too."""
    owner, other = PlayerClient(served.url), PlayerClient(served.url)
    match_id = owner.create(game.client_id, 500, invite=[other.username])
    room, site = f"/matches/{match_id}", logged_in(served, owner)

    def part() -> tuple[str, bool]:
        page = main_of(site.get(room))
        found = re.search(r'<div id="invite" data-refresh( hidden)?>', page)
        assert found is not None
        return found[1] or "", f'action="{room}/invite"' in page[found.end() :]

    assert part() == ("", True)
    other.act(match_id, "join")
    assert part() == (" hidden", False), "full"
    other.act(match_id, "leave")
    assert part() == ("", True)
    form = {**tokens(site.get(room).text), "usernames": "nobody-here"}
    refused = site.post(f"{room}/invite", data=form).text
    assert '<div id="invite">' in refused, "what was typed is not taken away"
    owner.act(match_id, "cancel")
    assert part() == (" hidden", False), "over"


def test_leaving_and_calling_off_ask_first_and_say_what_comes_of_it(served: Server, game: GameConfig) -> None:
    owner, other = PlayerClient(served.url), PlayerClient(served.url)
    match_id = owner.create(game.client_id, 500, invite=[other.username])

    def asked(site: httpx.Client) -> dict[str, str]:
        found = re.findall(r'<details class="dialog" id="(\w+)">(.*?)</details>', room_text(site), re.DOTALL)
        for name, text in found:
            assert f'action="/matches/{match_id}/{name}"' in text
        return dict(found)

    def room_text(site: httpx.Client) -> str:
        return html.unescape(main_of(site.get(f"/matches/{match_id}")))

    mine, theirs = logged_in(served, owner), logged_in(served, other)
    alone = asked(mine)
    assert "Your seat becomes free again. Nobody else is in it" in alone["leave"]
    assert "Every fee that was paid goes back whole." in alone["cancel"]
    other.act(match_id, "join")
    assert "Nobody else is in it" not in asked(mine)["leave"]
    assert "Your seat becomes free again. To come back you need its link" in asked(theirs)["leave"]
    other.act(match_id, "confirm")
    assert asked(theirs).keys() == {"leave"}
    assert "Your entry fee comes back at once." in asked(theirs)["leave"]
    for action in ("leave", "cancel"):
        rest = re.sub(r"<details.*?</details>", "", room_text(mine), flags=re.DOTALL)
        assert f'/{action}"' not in rest, "nothing of it at one press"


def test_who_has_left_ones_own_match_cannot_call_it_off_under_those_who_are_in_it(
    served: Server, game: GameConfig
) -> None:
    owner, other = PlayerClient(served.url), PlayerClient(served.url)
    match_id = owner.create(game.client_id, 500, invite=[other.username])
    code = owner.match(match_id)["join_code"]
    other.act(match_id, "join")
    other.act(match_id, "confirm")
    owner.act(match_id, "leave")
    assert owner.call("POST", f"/matches/{match_id}/cancel").status_code == 403
    assert other.match(match_id)["status"] == "pending"
    other.must(200, "POST", f"/matches/{match_id}/invitations", {"usernames": [owner.username]})
    assert owner.call("POST", f"/matches/{match_id}/cancel").status_code == 403, "invited only"
    owner.act(match_id, "join", {"join_code": code})
    owner.act(match_id, "cancel")
    assert other.match(match_id)["status"] == "aborted"


def test_who_came_by_a_link_keeps_it_until_he_has_left(served: Server, game: GameConfig) -> None:
    owner, other = PlayerClient(served.url), PlayerClient(served.url)
    match_id = owner.create(game.client_id, 500)
    code = owner.match(match_id)["join_code"]
    room, site = f"/matches/{match_id}", logged_in(served, other)
    link = f"{room}?code={code}"
    for action in ("join", "confirm", "leave", "join"):
        shown = site.get(link).text
        form = re.search(rf'<form method="post" action="{room}/{action}">.*?</form>', shown, re.DOTALL)
        assert form is not None, action
        assert f'name="code" value="{code}"' in form[0]
        answer = site.post(f"{room}/{action}", data={**tokens(form[0]), "code": code})
        assert (answer.status_code, answer.headers["location"]) == (303, link)


# --- what is refused -------------------------------------------------------------------------------------------------


def test_a_refused_action_leaves_the_room_at_its_own_address(served: Server, game: GameConfig) -> None:
    """The script asks for that again: the address of the action would be a 405, and nothing would be live."""
    owner, friend, late = (PlayerClient(served.url) for _ in range(3))
    match_id = owner.create(game.client_id, 500)
    code = owner.match(match_id)["join_code"]
    room, link = f"/matches/{match_id}", f"/matches/{match_id}?code={code}"
    site, mine = logged_in(served, late), logged_in(served, owner)
    wrong = mine.post(f"{room}/invite", data={**tokens(mine.get(room).text), "usernames": "nobody-here"})
    form = {**tokens(site.get(link).text), "code": code}
    friend.act(match_id, "join", {"join_code": code})
    full = site.post(f"{room}/join", data=form)
    for answer, status, address in ((wrong, 422, room), (full, 409, link)):
        assert answer.status_code == status
        assert f'data-address="{address}"' in answer.text
        assert 'data-live="/live?since=' in answer.text


def test_names_that_nobody_has_are_told(served: Server, game: GameConfig) -> None:
    owner, friend = PlayerClient(served.url), PlayerClient(served.url)
    match_id = owner.create(game.client_id, 500)
    site = logged_in(served, owner)
    form = tokens(site.get(f"/matches/{match_id}").text)
    typed = f"nobody-one, {friend.username} nobody-two"
    invited = site.post(f"/matches/{match_id}/invite", data={**form, "usernames": typed})
    assert invited.status_code == 422
    assert "There is no active player called nobody-one, nobody-two." in invited.text
    status, said = refused_for(site, "/matches/new", game=game.client_id, fee="5", invite=f"{friend.username} <two>")
    assert (status, "There is no active player called <two>." in said) == (422, True)


def test_what_a_game_allows_is_told_beside_the_field(served: Server) -> None:
    game_id = served.register(discovery="pull", entry_fee_min=100, entry_fee_max=2_000, teams_max=2).client_id
    site = logged_in(served, PlayerClient(served.url))
    for fields, told in (
        ({"fee": "0.99"}, r"This game takes from 1\.00\sXTS to 20\.00\sXTS\."),
        ({"fee": "20.01"}, r"This game takes from 1\.00\sXTS to 20\.00\sXTS\."),
        ({"fee": "5", "teams": "3"}, r"This game takes 2\."),
        ({"fee": "much"}, r"An amount of money, such as"),
    ):
        status, said = refused_for(site, "/matches/new", game=game_id, **fields)
        assert (status, re.search(told, said) is not None) == (422, True), fields


def refused_for(site: httpx.Client, page: str, **fields: str) -> tuple[int, str]:
    answer = site.post(page, data={**tokens(site.get("/matches/new").text), **fields})
    return answer.status_code, html.unescape(main_of(answer))


NOT_ACTIVE = "what you win is held until an operator has decided"


def test_a_suspended_player_is_told_what_waits_and_why(served: Server, game: GameConfig) -> None:
    player, friend = PlayerClient(served.url), PlayerClient(served.url)
    site = logged_in(served, player)
    off = player.create(game.client_id, 500, visibility="public")
    player.act(off, "cancel")
    public, asked = (
        friend.create(game.client_id, 500, **how) for how in ({"visibility": "public"}, {"invite": [player.username]})
    )
    rooms = [f"/matches/{match_id}" for match_id in (off, public, asked)]
    pages = (*rooms, "/games", f"/games/{game.client_id}", "/matches", "/wallet", "/settings", "/nowhere")
    offers = ("New match", ">Deposit<", ">Withdraw<", ">Try again<", ">Join<")

    def seen() -> tuple[set[bool], int]:
        """Whether the pages tell him, and how much they offer that waits."""
        shown = [main_of(site.get(page)) for page in pages]
        return {NOT_ACTIVE in page for page in shown}, sum(page.count(offer) for page in shown for offer in offers)

    assert seen() == ({False}, 7)
    path = f"/players/{player.user_id}"
    assert served.operator.post(path, json={"action": "suspend", **REASON}).status_code == 200
    assert seen() == ({True}, 0)
    status, said = refused_for(site, "/matches/new", game=game.client_id, fee="5")
    assert (status, "Your account is suspended. What is being played goes on" in said) == (403, True)
    status, said = refused_for(site, "/wallet", kind="withdrawal", amount="5")
    assert (status, "Payments wait for an operator; your balance stays as it is." in said) == (409, True)
    assert "The match has moved on" not in said
    ask = {"game_id": game.client_id, "entry_fee": {"amount": 5, "currency": "XTS"}}
    for path, body, code in (
        ("/matches", ask, "account-suspended"),
        ("/wallet/withdrawals", {"amount": 5, "currency": "XTS"}, "payments-suspended"),
    ):
        assert player.call("POST", path, body).json()["type"] == f"urn:oklp:error:{code}"
    path = f"/players/{player.user_id}"
    assert served.operator.post(path, json={"action": "reinstate", **REASON}).status_code == 200
    assert seen() == ({False}, 7)


def test_a_suspended_game_is_told_from_a_match_that_has_moved_on(served: Server) -> None:
    game_id = served.register(discovery="pull").client_id
    decision = served.operator.post(f"/games/{game_id}/vetting", json={"decision": "suspend", **REASON})
    assert decision.status_code == 200, decision.text
    player = PlayerClient(served.url)
    status, said = refused_for(logged_in(served, player), "/matches/new", game=game_id, fee="5")
    assert (status, "This game is suspended" in said) == (409, True)
    ask = {"game_id": game_id, "entry_fee": {"amount": 5, "currency": "XTS"}}
    assert player.call("POST", "/matches", ask).json()["type"] == "urn:oklp:error:game-suspended"


def test_what_has_changed_elsewhere_than_in_a_match_is_not_called_one(served: Server) -> None:
    site = logged_in(served, PlayerClient(served.url, deposit=0))
    form = {**tokens(site.get("/security").text), "factor_password": PASSWORD}
    refused = site.post("/security/recovery-codes", data=form)
    assert refused.status_code == 409
    assert "This has changed in the meantime." in refused.text
    assert "The match has moved on" not in refused.text


@pytest.mark.parametrize(
    ("refusal", "path", "said"),
    [
        (NotVerified("x"), "/matches/new", "whom an operator has verified"),
        (GameSuspended("x"), "/matches/600f/confirm", "This game is suspended"),
        (WrongState("x"), "/matches/600f/confirm", "The match has moved on."),
        (WrongState("x"), "/security/totp", "This has changed in the meantime."),
    ],
)
def test_a_refusal_is_told_by_its_code_and_its_place(refusal: OklpError, path: str, said: str) -> None:
    """The sandbox verifies everybody: what production refuses is shown without a server."""
    here: Any = SimpleNamespace(settings=Settings())
    visit = Visit(Request({"type": "http", "path": path, "headers": []}), here, PLAYER, "en", "auto")
    assert said in refusals.sentence(visit, refusal)
    visit.language = "de"
    assert said not in refusals.sentence(visit, refusal)

"""Games that are offered and those that are not any more, and the form for a new match."""

from __future__ import annotations

import html
import json
import re

from tests.harness import PlayerClient, Server, paid_match
from tests.web.test_error_pages import main_of, next_of
from tests.web.test_pages import browser, logged_in, tokens
from tests.web.test_rooms import refused_for

BACKENDS = ("sqlite",)

REASON = "because of the studio's bank account"


def test_a_suspended_game_has_a_page_that_says_so_and_offers_no_match(served: Server) -> None:
    game_id = served.register(discovery="pull", name="Gone for Now").client_id
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    room = f"/matches/{paid_match(one, two, game_id)}"
    site, stranger = logged_in(served, one), browser(served)
    page = f"/games/{game_id}"
    assert "X-Robots-Tag" not in stranger.get(page).headers

    def vet(decision: str) -> None:
        body = {"decision": decision, "reason": REASON}
        assert served.operator.post(f"/games/{game_id}/vetting", json=body).status_code == 200

    vet("suspend")
    assert f'href="{page}"' in site.get(room).text, "the room leads there"
    for visitor, ways in ((site, ["/games", "/matches"]), (stranger, ["/games"])):
        answer = visitor.get(page)
        assert (answer.status_code, answer.headers["X-Robots-Tag"]) == (200, "noindex")
        said = main_of(answer)
        assert "<h1>Gone for Now</h1>" in said
        assert "<h2>Not offered at the moment</h2>" in said
        assert "being played or about to start goes on" in said, "only what is pending was called off"
        assert next_of(answer) == ways
        assert "/matches/new" not in said
        assert REASON not in html.unescape(answer.text)
    # Whoever has the game's page open is told in the part that is asked for again.
    assert re.search(r'<section class="empty" id="waiting" data-refresh>', main_of(site.get(page)))
    german = browser(served, **{"Accept-Language": "de"}).get(page).text
    assert "Zurzeit nicht angeboten" in german
    assert "gespielt wird oder gerade beginnt, geht weiter" in german
    assert one.call("GET", page).status_code == 404, "of what can be played, the API tells"
    vet("approve")
    again = site.get(page)
    assert f'href="/matches/new?game={game_id}"' in again.text
    assert "X-Robots-Tag" not in again.headers


def test_whoever_invites_himself_to_a_new_match_is_told_beside_the_field(served: Server) -> None:
    game_id = served.register(discovery="pull").client_id
    player, friend = PlayerClient(served.url), PlayerClient(served.url)
    own = "You are in the match yourself: invite somebody else."
    nobody = "There is no active player called nobody-here."
    site = logged_in(served, player)
    for typed, told in (
        (player.username.upper(), own),
        (f"{friend.username} nobody-here {player.username}", f"{nobody} {own}"),
    ):
        status, said = refused_for(site, "/matches/new", game=game_id, fee="5", invite=typed)
        assert (status, f'id="e-invite">{told}<' in said) == (422, True), said
    ask = {"game_id": game_id, "entry_fee": {"amount": 500, "currency": "XTS"}}
    answer = player.call("POST", "/matches", {**ask, "invite": [friend.username, player.username]})
    assert (answer.status_code, [each["field"] for each in answer.json()["errors"]]) == (422, ["invite.1"])


def offered(page: str) -> dict[str, tuple[int, ...]]:
    """The value, the least and the most of the fields that say how many play."""
    found = re.findall(r'name="(teams|team_size)" type="number" value="(\d+)"[^>]* min="(\d+)" max="(\d+)"', page)
    return {name: tuple(map(int, numbers)) for name, *numbers in found}


def test_a_new_match_offers_as_many_teams_and_players_as_the_game_takes(served: Server) -> None:
    duel = served.register(discovery="pull", teams_max=2, team_size_max=1).client_id
    relay = served.register(discovery="pull", teams_min=3, teams_max=5, team_size_min=2, team_size_max=4).client_id
    site = logged_in(served, PlayerClient(served.url))
    of_duel, of_relay = (site.get("/matches/new", params={"game": game_id}).text for game_id in (duel, relay))
    assert offered(of_duel) == {"teams": (2, 2, 2), "team_size": (1, 1, 1)}
    assert offered(of_relay) == {"teams": (3, 3, 5), "team_size": (2, 2, 4)}
    # Another game is chosen on the page itself: the script has what each takes.
    shapes = re.search(r"data-shapes='([^']+)'", of_duel)
    assert shapes is not None
    known = json.loads(html.unescape(shapes[1]))
    assert known[relay] == {"teams": [3, 5], "team_size": [2, 4]}
    fees = re.search(r"data-fees='([^']+)'", of_duel)
    assert fees is not None
    told = json.loads(html.unescape(fees[1]))
    assert told[relay]["usual"] == "5.00"
    assert told[relay]["hint"].endswith("0 is a free match. The winner has the pot, less 10%.")
    assert f'id="h-fee">{told[duel]["hint"]}<' in html.unescape(of_duel)
    open_to_any = offered(site.get("/matches/new").text)
    assert open_to_any["teams"][2] >= 5, "no game is chosen yet"
    # What does not fit is in sight: a field that is folded away cannot be put right.
    folded = '<details class="extra">'
    assert folded in of_relay
    assert folded not in site.get("/matches/new", params={"game": relay, "teams": "2"}).text


def test_an_emptied_number_is_the_fewest_that_the_game_takes(served: Server) -> None:
    relay = served.register(discovery="pull", teams_min=3, teams_max=5, team_size_min=2, team_size_max=4).client_id
    player = PlayerClient(served.url)
    site = logged_in(served, player)

    def made(**numbers: str) -> list[int]:
        page = site.get("/matches/new", params={"game": relay}).text
        answer = site.post("/matches/new", data={**tokens(page), "game": relay, "fee": "5", **numbers})
        assert answer.status_code == 303, answer.text
        match = player.call("GET", answer.headers["Location"]).json()
        return [len(match["teams"]), match["team_size"]]

    assert made(teams="", team_size="") == [3, 2]
    assert made(teams="4") == [4, 2]
    status, said = refused_for(site, "/matches/new", game=relay, fee="5", teams="2")
    assert (status, "This game takes from 3 to 5." in said) == (422, True), "what was typed is not made to fit"
    status, said = refused_for(site, "/matches/new", game="", fee="5")
    assert (status, 'id="e-game"' in said) == (422, True), "without a game it is that which is wrong"

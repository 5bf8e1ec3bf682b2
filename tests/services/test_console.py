"""What the operator console reads, on both databases: the overview, the search, postings of a match, the books' job."""

from __future__ import annotations

from oklp import contract
from oklp.errors import WrongState
from oklp.services import books, console, ledger, operators
from oklp.services.staff import Operator
from tests.services.world import HOUR, MINUTE, XTS, World, refused

OLGA = Operator("olga-id", "olga", "admin")


def test_the_overview_counts_what_is_open_and_the_last_day(world: World) -> None:
    game, (one, two) = world.game(discovery="pull"), world.players(2, 5_000)
    gone = world.filled(game, [one, two], 300)
    world.abort(gone.match_id)
    world.now += 30 * HOUR
    aborted = world.filled(game, [one, two], 200)
    world.abort(aborted.match_id)
    live = world.live(game, [one, two], 500)
    found = world.run(console.overview, XTS, world.now)
    assert found.escrow == [(XTS, 1_000)]
    assert found.open_matches == {"pending": 0, "starting": 0, "live": 1}
    assert [match.match_id for match in found.oldest_live] == [live.match_id]
    assert (len(found.hours), sum(hour.made for hour in found.hours)) == (24, 2)
    assert (found.hours[-1].made, found.hours[-1].aborted) == (2, 1)


def test_search_finds_by_id_and_by_the_beginning_of_a_name(world: World) -> None:
    game, ada = world.game(discovery="pull"), world.player(1_000, "Ada")
    adam = world.player(1_000, "adam")
    match = world.filled(game, [ada, adam], 500)

    def found(text: str) -> list[tuple[str, str]]:
        return [(each.kind, each.id) for each in world.run(console.find, text)]

    assert found(f" {match.match_id} ") == [("match", match.match_id)]
    assert found(f"match:{match.match_id}:settle") == [("match", match.match_id)]
    assert found(ada.user_id) == [("player", ada.user_id)]
    assert found("ada") == [("player", ada.user_id), ("player", adam.user_id)]
    assert ("game", game) in found(game)
    assert found("house:fees") == [("account", "house:fees")]
    assert found("") == found("%") == found("' OR 1=1 --") == []


def test_a_match_shows_all_its_postings_and_those_of_what_was_held(world: World) -> None:
    game, (one, two) = world.game(discovery="pull"), world.players(2, 1_000)
    match = world.live(game, [one, two], 500)
    world.suspend(one)
    teams = [
        {"id": team.id, "score": 0, "ranking": 1 if team.members[0].user_id == one.user_id else 2}
        for team in match.teams
    ]
    request = contract.SettleRequest.model_validate({"reason": "told so", "teams": teams})
    world.run(operators.settle, world.settings, OLGA, match.match_id, request, "a proposal", world.now)
    decision = contract.HeldDecision(decision="release", reason="proved")
    arguments = (one.user_id, match.match_id, decision, "a proposal", world.now)
    world.run(operators.decide_held, world.settings, OLGA, *arguments)
    postings = world.run(operators.match, match.match_id).postings
    assert sum(each.amount for each in postings) == 0
    assert [each.amount for each in postings if each.account == f"player:{one.user_id}"] == [-500, 900]
    newest, more = world.run(ledger.account_page, f"player:{one.user_id}", None, 1)
    assert ([each.amount for each in newest], more is not None) == ([900], True)


def test_one_verification_of_the_books_at_a_time(world: World) -> None:
    def begin(run_id: str) -> None:
        world.run(console.begin_books, OLGA, run_id, world.now, 10 * MINUTE)

    assert world.run(console.last_books) is None
    begin("first")
    with refused(WrongState):
        begin("second")
    proved = world.db.run_report(books.verify)
    world.run(console.end_books, OLGA, "first", proved, world.now)
    run = world.run(console.last_books)
    assert run is not None
    assert run.books == proved
    begin("third")
    world.now += 11 * MINUTE  # its server has died
    begin("fourth")
